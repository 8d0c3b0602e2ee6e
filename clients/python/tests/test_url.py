"""Connection URLs."""

import unittest
from unittest import mock

from isogrid import Client
from isogrid.url import Url, of_environment, parse


class Urls(unittest.TestCase):
    def test_a_url_says_where_and_how(self) -> None:
        for text, told in {
            "isogrid://h": Url(("h",), None, None, {}),
            "isogrid://[::1],h:3/c": Url(("[::1]", "h:3"), "c", None, {}),
            "isogrid://user:pass@h1:7400,h2:7400/default?cluster=prod&timeout=2s": Url(
                ("h1:7400", "h2:7400"),
                "default",
                ("user", "pass"),
                {"cluster": "prod", "timeout": 2.0},
            ),
            "isogrid://a%40b:%3a%2F%25@h/gr%C3%BCn?app=x%20y&timeout=250ms&tls=off": Url(
                ("h",), "grün", ("a@b", ":/%"), {"app": "x y", "timeout": 0.25}
            ),
        }.items():
            self.assertEqual(parse(text), told, text)

    def test_what_is_wrong_is_named_and_a_password_is_not(self) -> None:
        for text, why in {
            "http://h": "begins with",
            "isogrid://": "`` is no HOST",
            "isogrid://h:port": "`h:port` is no HOST",
            "isogrid://h:65536": "`h:65536`",
            "isogrid://::1": "`::1`",
            "isogrid://secret@h": "no password",
            "isogrid://u:secret%4@h": "two digits",
            "isogrid://u:secret%ff@h": "UTF-8",
            "isogrid://u:secret@h?time=2s": "`time`",
            "isogrid://u:secret@h?timeout=2": "timeout=2 is",
            "isogrid://u:secret@h?timeout=0s": "timeout=0s",
            "isogrid://u:secret@h?tls=yes": "tls=yes",
            "isogrid://u:secret@h?tls=on": "no TLS",
        }.items():
            with self.subTest(text), self.assertRaises(ValueError) as caught:
                parse(text)
            self.assertIn(why, str(caught.exception), text)
            self.assertNotIn("secret", str(caught.exception))

    def test_the_environment_says_it(self) -> None:
        with mock.patch.dict("os.environ", {"ISOGRID_URL": "isogrid://h:1?timeout=3s"}):
            self.assertEqual(of_environment().addresses, ("h:1",))
            with Client.from_url() as client:
                self.assertEqual(client.timeout, 3.0)
        with mock.patch.dict("os.environ", clear=True):
            self.assertEqual(of_environment().addresses, ("127.0.0.1:7400",))
