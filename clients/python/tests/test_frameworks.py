"""The backends of Django and Flask, against a server: ISOGRID_ADDRESS. Needs both frameworks."""

import asyncio
import os
import time
import unittest
import uuid
from datetime import timedelta
from typing import Any
from unittest import mock

ADDRESS = os.environ.get("ISOGRID_ADDRESS", "")
if not ADDRESS:
    raise unittest.SkipTest("ISOGRID_ADDRESS does not say where a server is")
try:
    import django
    from flask import Flask, request, session
except ImportError:
    raise unittest.SkipTest("pip install django flask") from None

from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import ImproperlyConfigured

URL = f"isogrid://{ADDRESS}"
settings.configure(
    SECRET_KEY="of a test",
    SESSION_COOKIE_AGE=3600,
    ISOGRID_SESSIONS={"URL": URL, "SPACE": f"d{uuid.uuid4().hex[:8]}", "OWNER": "user"},
)
django.setup()

from isogrid import Failed, Unknown  # noqa: E402
from isogrid.django import SessionStore, log_out_everywhere  # noqa: E402
from isogrid.errors import CODES  # noqa: E402
from isogrid.flask import GridSessions  # noqa: E402


def begun(**data: Any) -> SessionStore:
    """A session that holds this."""
    store = SessionStore()
    store.update(data)
    store.save()
    return store


def held(key: Any) -> dict[str, Any]:
    return dict(SessionStore(key).items())


class Django(unittest.TestCase):
    def test_requests_at_the_same_time_that_change_different_keys_lose_nothing(self) -> None:
        key = begun(cart=[1], name="x", size=1.5).session_key
        first, second = SessionStore(key), SessionStore(key)
        first["cart"].append(2)
        del second["name"]
        second["seen"] = {"a": 1}
        second.save()
        first["paid"] = None
        first.save()
        self.assertEqual(
            held(key), {"cart": [1, 2], "size": 1.5, "seen": {"a": 1}, "paid": None}
        )

    def test_what_a_request_has_not_changed_since_it_saved_is_not_saved_again(self) -> None:
        first = begun(a=1)
        first["a"] = 5
        first.save()
        second = SessionStore(first.session_key)
        second["a"] = 2
        second.save()
        first["b"] = 1
        first.save()
        self.assertEqual(held(first.session_key), {"a": 2, "b": 1})

    def test_a_late_save_brings_back_nothing(self) -> None:
        late = begun(user="ann")
        SessionStore(late.session_key).flush()
        late["cart"] = 1
        for save in (late.save, lambda: asyncio.run(late.asave())):
            self.assertRaises(UpdateError, save)
        self.assertFalse(late.exists(late.session_key))
        after = SessionStore(late.session_key)
        self.assertEqual((dict(after.items()), after.session_key), ({}, None))
        self.assertRaises(SessionInterrupted, late.cycle_key)

    def test_a_session_that_is_cleared_unread_loses_what_is_there_then(self) -> None:
        key = begun(a=1, user="ann").session_key
        cleared = SessionStore(key)
        cleared.clear()
        cleared["b"] = 2
        cleared.save()
        self.assertEqual(held(key), {"b": 2})
        self.assertEqual(log_out_everywhere("ann"), 0)

    def test_another_key_takes_everything_along(self) -> None:
        store = begun(a=1)
        old, other = store.session_key, SessionStore(store.session_key)
        other["b"] = 2
        other.save()
        store.cycle_key()
        self.assertTrue(store.modified and store.session_key != old)
        store["c"] = 3
        store.save()
        self.assertEqual(held(store.session_key), {"a": 1, "b": 2, "c": 3})
        other["late"] = 1
        self.assertRaises(UpdateError, other.save)
        asyncio.run(store.acycle_key())
        self.assertEqual(held(store.session_key), {"a": 1, "b": 2, "c": 3})

    def test_a_user_is_logged_out_everywhere_but_here(self) -> None:
        here, there, other = begun(user=7), begun(user=7), begun(user="8")
        changed = SessionStore(other.session_key)
        changed["user"] = 7
        changed.save()
        user = mock.Mock(pk=7)
        self.assertEqual(log_out_everywhere(user, keep=here), 2)
        are_there = [here.exists(one.session_key) for one in (here, there, other)]
        self.assertEqual(are_there, [True, False, False])

    def test_a_session_ends_when_django_says_so(self) -> None:
        begun_at, store = time.time(), begun(a=1)
        self.assertIsNone(store._times.until)
        store.set_expiry(60)
        store.save()
        key = store.session_key
        with mock.patch("isogrid.django.time.time", lambda: begun_at + 61):
            self.assertEqual(held(key), {})
        self.assertEqual(held(key)["a"], 1)
        store.set_expiry(timedelta(seconds=-1))
        store.save()
        self.assertEqual(held(key), {})
        long = begun(a=1)
        long.set_expiry(7200)
        with self.assertRaisesRegex(ImproperlyConfigured, "LONGEST"):
            long.save()
        longer = SessionStore()
        longer.set_expiry(7200)
        longer.save()
        self.assertEqual(longer._times.idle, 7200)

    def test_the_async_variants_do_the_same(self) -> None:
        async def used() -> tuple[Any, bool]:
            store = SessionStore()
            await store.aset("a", 1)
            await store.asave()
            again = SessionStore(store.session_key)
            self.assertEqual(await again.aget("a"), 1)
            await again.aflush()
            await SessionStore.aclear_expired()
            return store.session_key, await again.aexists(store.session_key)

        key, is_there = asyncio.run(used())
        self.assertEqual((is_there, held(key)), (False, {}))

    def test_an_error_is_no_logout(self) -> None:
        key = begun(user="ann").session_key
        for error in (Failed(CODES["NOT_READY"]), Unknown(CODES["OUTCOME_UNKNOWN"])):
            with mock.patch("isogrid.sessions.Sessions._call", side_effect=error):
                self.assertRaises(type(error), held, key)
        self.assertEqual(held(key), {"user": "ann"})


class FlaskSessions(unittest.TestCase):
    def setUp(self) -> None:
        self.app = app = Flask(__name__)
        app.logger.disabled = True
        app.session_interface = GridSessions(URL, f"f{uuid.uuid4().hex[:8]}")
        self.meanwhile: Any = lambda: None

        @app.post("/")
        def change() -> str:
            self.meanwhile()
            told = request.get_json()
            if "permanent" in told:
                session.permanent = told.pop("permanent")
            for name in told.pop("drop", []):
                session.pop(name)
            if "append" in told:
                session["list"].append(told.pop("append"))
            if told:
                session.update(told)
            return "done"

        app.add_url_rule("/show", "show", lambda: dict(session))
        app.add_url_rule("/logout", "logout", lambda: session.clear() or "")
        everywhere = app.session_interface.log_out_everywhere
        app.add_url_rule(
            "/everywhere", "everywhere", lambda: str(everywhere("ann", keep=session))
        )
        app.add_url_rule("/renew", "renew", lambda: app.session_interface.regenerate(session) or "")
        self.browser = app.test_client()

    def cookie(self, browser: Any) -> str:
        return str(browser.get_cookie("session").value)

    def other(self) -> Any:
        """The same browser, another request."""
        browser = self.app.test_client()
        browser.set_cookie("session", self.cookie(self.browser))
        return browser

    def shown(self) -> dict[str, Any]:
        shown = dict(self.browser.get("/show").get_json())
        shown.pop("_permanent", None)
        return shown

    def test_requests_at_the_same_time_lose_nothing_also_within_values(self) -> None:
        self.browser.post("/", json={"list": [1], "a": 1, "b": 2})
        other = self.other()
        self.meanwhile = lambda: self.meanwhile_is(other, {"c": 3, "drop": ["b"]})
        self.browser.post("/", json={"append": 2})
        self.assertEqual(self.shown(), {"list": [1, 2], "a": 1, "c": 3})

    def meanwhile_is(self, browser: Any, change: dict[str, Any]) -> None:
        self.meanwhile = lambda: None
        self.assertEqual(browser.post("/", json=change).status_code, 200)

    def test_a_late_save_brings_back_nothing_and_says_so(self) -> None:
        self.browser.post("/", json={"user": "ann"})
        other = self.other()

        def logged_out() -> None:
            other.get("/logout")

        self.meanwhile = logged_out
        self.assertEqual(self.browser.post("/", json={"cart": 1}).status_code, 500)
        self.assertEqual(self.shown(), {})

    def test_a_read_writes_nothing_and_a_permanent_cookie_is_renewed(self) -> None:
        self.browser.post("/", json={"a": 1})
        with mock.patch("isogrid.sessions.Sessions.save") as save:
            self.assertNotIn("Set-Cookie", self.browser.get("/show").headers)
            self.browser.post("/", json={"a": 1})
            save.assert_not_called()
        begun = self.browser.post("/", json={"permanent": True}).headers["Set-Cookie"]
        self.assertIn("Expires=", begun)
        self.assertIn("Expires=", self.browser.get("/show").headers["Set-Cookie"])
        gone = self.browser.get("/logout").headers["Set-Cookie"]
        self.assertTrue(gone.startswith("session=;"), gone)
        self.assertNotIn("Set-Cookie", self.browser.get("/show").headers)

    def test_another_cookie_takes_everything_along(self) -> None:
        self.browser.post("/", json={"a": 1})
        old = self.cookie(self.browser)
        self.browser.get("/renew")
        self.assertNotEqual(self.cookie(self.browser), old)
        self.browser.post("/", json={"b": 2})
        self.assertEqual(self.shown(), {"a": 1, "b": 2})

    def test_a_user_is_logged_out_everywhere_but_here(self) -> None:
        other = self.app.test_client()
        for browser in (self.browser, other, self.app.test_client()):
            browser.post("/", json={"user": "ann"})
        self.assertEqual(self.browser.get("/everywhere").text, "2")
        self.assertEqual((self.shown(), other.get("/show").get_json()), ({"user": "ann"}, {}))
        self.assertEqual(self.app.session_interface.log_out_everywhere("ann"), 1)
        self.assertEqual(self.shown(), {})

    def test_an_error_is_an_answer_500_and_no_logout(self) -> None:
        self.browser.post("/", json={"user": "ann"})
        with mock.patch(
            "isogrid.sessions.Sessions._call", side_effect=Unknown(CODES["OUTCOME_UNKNOWN"])
        ) as asked:
            answer = self.browser.get("/show")
            self.assertEqual((answer.status_code, asked.call_count), (500, 1))
            self.assertNotIn("Set-Cookie", answer.headers)
        with mock.patch(
            "isogrid.sessions.Sessions.save", side_effect=Unknown(CODES["OUTCOME_UNKNOWN"])
        ) as save:
            answer = self.browser.post("/", json={"cart": 1})
            self.assertEqual((answer.status_code, save.call_count), (500, 1))
        self.assertEqual(self.shown(), {"user": "ann"})
