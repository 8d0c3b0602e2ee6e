"""Logins at a server that wants them: ISOGRID_ADDRESS is its native port, ISOGRID_PASSWORD the
password of its user `app`, ISOGRID_TOKEN the token of its user `ci`."""

import os
import unittest
from typing import Any
from urllib.parse import quote

from isogrid import Client, Failed, Scram, plain, token

ADDRESS = os.environ.get("ISOGRID_ADDRESS", "")
PASSWORD = os.environ.get("ISOGRID_PASSWORD", "")
TOKEN = os.environ.get("ISOGRID_TOKEN", "")


@unittest.skipUnless(PASSWORD, "ISOGRID_PASSWORD does not say how to log in")
class Logins(unittest.TestCase):
    def client(self, login: Any) -> Client:
        client = Client(ADDRESS, timeout=30, login=login)
        self.addCleanup(client.close)
        return client

    def refused(self, name: str, login: Any) -> None:
        with self.assertRaises(Failed) as caught:
            self.client(login).cache("default").get("k")
        self.assertEqual(caught.exception.name, name)

    def test_each_mechanism_gets_in(self) -> None:
        for auth in (lambda: Scram("app", PASSWORD), lambda: plain("app", PASSWORD)):
            cache = self.client(auth).cache("default")
            cache.put("k", "1")
            self.assertEqual(cache.get("k"), b"1")
        cache = self.client(lambda: token(TOKEN)).cache("default")
        self.assertEqual(cache.get("k"), b"1")
        with self.assertRaises(Failed) as caught:
            cache.put("k", "2")
        self.assertEqual(caught.exception.name, "FORBIDDEN")

    def test_a_url_logs_in(self) -> None:
        with Client.from_url(f"isogrid://app:{quote(PASSWORD, '')}@{ADDRESS}?timeout=30s") as client:
            client.cache("default").put("u", "1")

    def test_what_is_wrong_stays_out(self) -> None:
        self.refused("AUTH_FAILED", lambda: Scram("app", "wrong"))
        self.refused("AUTH_FAILED", lambda: plain("app", "wrong"))
        self.refused("AUTH_FAILED", lambda: token("ci.wrong"))
        self.refused("AUTH_REQUIRED", None)
