"""What session backends of web frameworks share: a save sends what its request has changed, and what
was ended stays so. `isogrid.django` and `isogrid.flask` are such backends."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from .client import Client
from .errors import Failed
from .sessions import Session, Sessions

ENDED = "SESSION_GONE"
"""The error of a session that has ended, or has another id: here it is an answer."""


@dataclass
class Seen:
    """What a request has seen of a session, with which its save is compared."""

    version: int
    attributes: Mapping[str, bytes]
    user: Optional[str]

    def changes(self, attributes: Mapping[str, bytes]) -> tuple[dict[str, bytes], list[str]]:
        """What has to be set and removed so that the session has these attributes."""
        seen = self.attributes
        changed = {name: value for name, value in attributes.items() if seen.get(name) != value}
        return changed, [name for name in seen if name not in attributes]


class WebSessions:
    """A space of sessions. It connects when it is first asked, in each process by itself, to where
    `url` says or else ISOGRID_URL. Errors of the client are raised as they are: they never mean
    that there is no session."""

    def __init__(self, url: Optional[str], space: str) -> None:
        self._url, self._space = url, space
        self._connected: Optional[tuple[int, Sessions]] = None

    @property
    def _sessions(self) -> Sessions:
        connected = self._connected
        # A process that was forked has the connection of its parent, and none of the threads.
        if connected is None or connected[0] != os.getpid():
            sessions = Client.from_url(self._url).sessions(self._space)
            self._connected = connected = (os.getpid(), sessions)
        return connected[1]

    def create(
        self, cookie: str, attributes: Mapping[str, bytes], idle: float, user: Optional[str]
    ) -> Optional[Seen]:
        """Begins a session; None if somebody else has the cookie, or had it a short time ago."""
        index = [of_user(user)] if user is not None else []
        version = self._sessions.create(id_of(cookie), attributes, idle=idle, index=index)
        return Seen(version, dict(attributes), user) if version is not None else None

    def load(self, cookie: str, touch: bool, names: tuple[str, ...] = ()) -> Optional[Session]:
        """A session, or these attributes of it; `touch`: whether that prolongs it."""
        return unless_gone(self._sessions.load, id_of(cookie), names=names, touch=touch)

    def save(
        self, cookie: str, seen: Seen, attributes: Mapping[str, bytes], user: Optional[str]
    ) -> Optional[Seen]:
        """Changes what differs from what was seen, and prolongs the session; what is seen of it then.
        None if it has ended meanwhile."""
        session, moves = id_of(cookie), user != seen.user
        # It is found before it holds what it is found by: who logs the user out meanwhile ends it,
        # and then it is not saved.
        if moves and user is not None:
            if not unless_gone(self._sessions.index, session, add=[of_user(user)]):
                return None
        changed, removed = seen.changes(attributes)
        version = seen.version
        if changed or removed:
            saved = unless_gone(
                self._sessions.save, session, changed, delete=removed, base=seen.version
            )
            if saved is None:
                return None
            version = saved.version
        elif unless_gone(self._sessions.touch, session) is None:
            return None
        if moves and seen.user is not None:
            unless_gone(self._sessions.index, session, remove=[of_user(seen.user)])
        return Seen(version, dict(attributes), user)

    def renew(self, old: str, new: str) -> Optional[int]:
        """Gives a session another cookie; its version, None if it has ended."""
        version: Optional[int] = unless_gone(self._sessions.renew, id_of(old), id_of(new))
        return version

    def destroy(self, cookie: str) -> bool:
        """Ends a session. Whether there was one."""
        return self._sessions.destroy(id_of(cookie), "the application")

    def log_out_everywhere(self, user: object, keep: Optional[str] = None) -> int:
        """Ends all sessions of a user, but for the one of the cookie `keep`. How many."""
        return self._sessions.destroy_by(of_user(user), id_of(keep) if keep else b"")


def id_of(cookie: str) -> bytes:
    """The id of a session: nobody who sees it can make the cookie of it."""
    return hashlib.sha256(cookie.encode()).digest()


def of_user(user: object) -> str:
    return f"user:{user}"


def name_of(user: Any) -> Optional[str]:
    """What a session is found by whose owner is so: texts and numbers name somebody."""
    named = isinstance(user, (str, int)) and not isinstance(user, bool)
    return str(user) if named else None


def unless_gone(ask: Any, *arguments: Any, **more: Any) -> Any:
    """The answer; None for a session that was ended, or has another id."""
    try:
        return ask(*arguments, **more)
    except Failed as error:
        if error.name == ENDED:
            return None
        raise
