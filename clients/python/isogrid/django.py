"""Django's sessions in Isogrid. Requests at the same time that change different keys lose nothing, and
a session that was ended is never saved again: the request gets 400, as Django has it.

    SESSION_ENGINE = "isogrid.django"
    ISOGRID_SESSIONS = {"URL": "isogrid://n1:7400,n2:7400", "SPACE": "shop"}

| key | what | default |
|---|---|---|
| `URL` | where the grid is | what ISOGRID_URL says |
| `SPACE` | the space of sessions | `django` |
| `OWNER` | the key that says whose a session is | `_auth_user_id`, that of Django's logins |
| `LONGEST` | seconds that a session may live without being saved | SESSION_COOKIE_AGE |

Each key of a session is an attribute, written by SESSION_SERIALIZER. Of two requests that change the
same key, or something within its value, the later one wins.
"""

import json
import time
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Optional

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.base import (
    VALID_KEY_CHARS,
    CreateError,
    SessionBase,
    UpdateError,
)
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import get_random_string

from .web import Seen, WebSessions, name_of

TIMES = "isogrid.times"
"""The attribute with the times of a session."""
DRAWS = 8
"""Keys that are drawn for one session: of 165 random bits the first one is free."""


@dataclass(frozen=True)
class Times:
    """How long a session lives. The server knows `idle` alone."""

    idle: int
    """It ends so many seconds after it was saved last."""
    until: Optional[int] = None
    """It ends then, ms since 1970, if that is earlier."""

    def ending(self, age: float, until: float) -> "Times":
        """The same session, to end after `age` seconds, which is at `until`."""
        if age > self.idle:
            raise ImproperlyConfigured(
                f"the session is to live {age} s, and {self.idle} s are the most that it may: "
                "ISOGRID_SESSIONS['LONGEST'] says it for sessions that begin"
            )
        return replace(self, until=None if age == self.idle else int(until * 1000))

    @property
    def is_over(self) -> bool:
        return self.until is not None and self.until <= time.time() * 1000


class SessionStore(SessionBase):
    """A session. What it was when it was loaded it keeps, to know what the request has changed."""

    _seen: Optional[Seen] = None
    _times: Optional[Times] = None

    def load(self) -> dict[str, Any]:
        data = self._read()
        if data is None:
            self._session_key = None
            return {}
        return data

    def exists(self, session_key: Optional[str]) -> bool:
        if not session_key:
            return False
        return space().load(session_key, touch=False, names=(TIMES,)) is not None

    def create(self) -> None:
        for _ in range(DRAWS):
            self._session_key = new_key()
            try:
                self.save(must_create=True)
            except CreateError:
                continue
            self.modified = True
            return
        raise RuntimeError(f"each of {DRAWS} session keys is another session's")

    def save(self, must_create: bool = False) -> None:
        if self.session_key is None:
            return self.create()
        data = self._get_session(no_load=must_create)
        age, until = self.get_expiry_age(), self.get_expiry_date().timestamp()
        if must_create:
            longest = option("LONGEST") or settings.SESSION_COOKIE_AGE
            self._times = Times(max(longest, age, 1)).ending(age, until)
            self._seen = self._begin(self._times, data)
            if self._seen is None:
                raise CreateError
            return
        # One that was cleared before it was loaded: what there is now goes.
        if self._seen is None and self._read() is None:
            raise UpdateError
        self._times = self._times.ending(age, until)
        attributes, user = self._attributes(data, self._times), self._user(data)
        seen = space().save(self.session_key, self._seen, attributes, user)
        if seen is None:
            raise UpdateError
        self._seen = seen

    def delete(self, session_key: Optional[str] = None) -> None:
        session_key = self.session_key if session_key is None else session_key
        if session_key is not None:
            space().destroy(session_key)

    def cycle_key(self) -> None:
        """Gives the session another key. Requests that are under way with the old one may read it for
        half a minute."""
        self._get_session()
        if self.session_key is None:
            return self.create()
        key = new_key()
        version = space().renew(self.session_key, key)
        if version is None:
            raise SessionInterrupted("The session was ended by another request.")
        self._session_key, self.modified = key, True
        if self._seen is not None:
            self._seen = replace(self._seen, version=version)

    async def acycle_key(self) -> None:
        await sync_to_async(self.cycle_key)()

    @classmethod
    def clear_expired(cls) -> None:
        """Nothing: the grid ends sessions whose time is over."""

    def _read(self) -> Optional[dict[str, Any]]:
        """What the session holds now; None if it has ended."""
        session = space().load(self.session_key, touch=False)
        if session is None:
            return None
        attributes = dict(session.attributes)
        times = Times(**json.loads(attributes.pop(TIMES)))
        if times.is_over:
            return None
        loads = self.serializer().loads
        data = {name: loads(value) for name, value in attributes.items()}
        # As a save would write it, which may be other bytes.
        seen = Seen(session.version, self._attributes(data, times), self._user(data))
        self._seen, self._times = seen, times
        return data

    def _begin(self, times: Times, data: dict[str, Any]) -> Optional[Seen]:
        attributes, user = self._attributes(data, times), self._user(data)
        return space().create(self.session_key, attributes, times.idle, user)

    def _attributes(self, data: dict[str, Any], times: Times) -> dict[str, bytes]:
        dumps = self.serializer().dumps
        attributes = {str(name): dumps(value) for name, value in data.items()}
        return {**attributes, TIMES: json.dumps(asdict(times)).encode()}

    def _user(self, data: dict[str, Any]) -> Optional[str]:
        return name_of(data.get(option("OWNER") or "_auth_user_id"))


def log_out_everywhere(user: Any, keep: Optional[SessionBase] = None) -> int:
    """Ends all sessions of a user, or of the one of this primary key, but for `keep`, as
    request.session. How many."""
    return space().log_out_everywhere(getattr(user, "pk", user), keep and keep.session_key)


def space() -> WebSessions:
    return _space(option("URL"), option("SPACE") or "django")


@lru_cache(maxsize=None)
def _space(url: Optional[str], name: str) -> WebSessions:
    return WebSessions(url, name)


def option(name: str) -> Any:
    return getattr(settings, "ISOGRID_SESSIONS", {}).get(name)


def new_key() -> str:
    return get_random_string(32, VALID_KEY_CHARS)
