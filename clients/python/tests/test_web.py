"""What session backends share, against sessions that are in a dictionary."""

import os
import unittest
from typing import Any, Optional
from unittest import mock

from isogrid import Failed, Saved, Unknown
from isogrid.errors import CODES
from isogrid.web import Seen, WebSessions, id_of, name_of

GONE = Failed(CODES["SESSION_GONE"])
LATE = Unknown(CODES["OUTCOME_UNKNOWN"])


class Changes(unittest.TestCase):
    def test_a_save_changes_what_differs_from_what_was_seen(self) -> None:
        seen = Seen(7, {"a": b"1", "b": b"2", "c": b"3"}, None)
        for attributes, changed, removed in [
            ({"a": b"1", "b": b"2", "c": b"3"}, {}, []),
            ({"a": b"1", "b": b"x", "c": b"3"}, {"b": b"x"}, []),
            ({"c": b"3"}, {}, ["a", "b"]),
            ({"a": b"", "b": b"2", "c": b"3", "d": b"4"}, {"a": b"", "d": b"4"}, []),
            ({}, {}, ["a", "b", "c"]),
        ]:
            self.assertEqual(seen.changes(attributes), (changed, removed))

    def test_a_session_is_found_by_a_text_or_a_number(self) -> None:
        self.assertEqual([name_of(one) for one in ("ann", 42)], ["ann", "42"])
        self.assertEqual([name_of(one) for one in (None, True, [1], {"id": 1})], [None] * 4)


class Saves(unittest.TestCase):
    def setUp(self) -> None:
        self.space = WebSessions("isogrid://h", "web")
        self.grid = mock.Mock()
        self.grid.save.return_value = Saved(8, [])
        self.space._connected = (os.getpid(), self.grid)
        self.seen = Seen(7, {"a": b"1"}, None)

    def save(self, attributes: dict[str, bytes], user: Optional[str] = None) -> Any:
        return self.space.save("cookie", self.seen, attributes, user)

    def test_what_has_changed_is_saved_since_the_version_that_was_seen(self) -> None:
        self.assertEqual(self.save({"b": b"2"}), Seen(8, {"b": b"2"}, None))
        saved = mock.call.save(id_of("cookie"), {"b": b"2"}, delete=["a"], base=7)
        self.assertEqual(self.grid.mock_calls, [saved])

    def test_where_nothing_has_changed_the_session_is_used_and_not_written(self) -> None:
        self.assertEqual(self.save({"a": b"1"}), self.seen)
        self.assertEqual(self.grid.mock_calls, [mock.call.touch(id_of("cookie"))])

    def test_it_is_found_by_its_user_before_it_has_one_and_until_it_has_none(self) -> None:
        self.save({"a": b"2"}, "ann")
        asked = [call[0] for call in self.grid.mock_calls]
        self.assertEqual(asked, ["index", "save"])
        self.grid.index.assert_called_once_with(id_of("cookie"), add=["user:ann"])
        self.grid.reset_mock()
        self.seen = Seen(8, {"a": b"2"}, "ann")
        self.save({}, None)
        self.assertEqual([call[0] for call in self.grid.mock_calls], ["save", "index"])
        self.grid.index.assert_called_once_with(id_of("cookie"), remove=["user:ann"])

    def test_a_session_that_has_ended_is_an_answer_and_an_error_is_an_error(self) -> None:
        for one in (self.grid.save, self.grid.touch, self.grid.load):
            one.side_effect = GONE
        self.assertIsNone(self.save({"a": b"2"}))
        self.assertIsNone(self.save({"a": b"1"}))
        self.assertIsNone(self.space.load("cookie", touch=True))
        self.grid.index.return_value = False
        self.assertIsNone(self.save({"a": b"2"}, "ann"))
        for one in (self.grid.save, self.grid.touch, self.grid.load):
            one.side_effect = LATE
        for asked in (
            lambda: self.save({"a": b"2"}),
            lambda: self.save({"a": b"1"}),
            lambda: self.space.load("cookie", touch=True),
        ):
            self.assertRaises(Unknown, asked)

    def test_a_process_that_was_forked_connects_by_itself(self) -> None:
        self.space._connected = (-1, self.grid)
        self.assertIsNot(self.space._sessions, self.grid)
        self.assertIs(self.space._sessions, self.space._sessions)
