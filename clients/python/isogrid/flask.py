"""Flask's sessions in Isogrid. Requests at the same time that change different keys lose nothing, and a
session that was ended is never saved again: the request gets 500.

    app.session_interface = GridSessions("isogrid://n1:7400,n2:7400", "shop", owner="user_id")

Each key of a session is an attribute, in the JSON that Flask's cookies have. What a request has changed
is known by its bytes: also within lists and dicts, and without `session.modified`. Of two requests
that change the same key the later one wins. A session lives for PERMANENT_SESSION_LIFETIME after it
was read or written last; `session.permanent` says whether its cookie outlives the browser.
"""

import secrets
from dataclasses import replace
from typing import Any, Optional

from flask import Flask, Request, Response
from flask.sessions import SessionInterface, SessionMixin, session_json_serializer
from werkzeug.datastructures import CallbackDict

from .web import Seen, WebSessions, name_of

DRAWS = 8
"""Cookies that are drawn for one session: of 256 random bits the first one is free."""


class SessionEnded(Exception):
    """The session was ended while the request was under way, as by a logout. Nothing was saved."""


class GridSession(CallbackDict, SessionMixin):  # type: ignore[type-arg]
    """A session, and what it was when it was loaded."""

    modified = False

    def __init__(self, data: dict[str, Any], sid: Optional[str], seen: Optional[Seen]) -> None:
        super().__init__(data, _is_modified)
        self.sid, self.seen = sid, seen
        self.settled = False
        """Whether it was saved, or tried to: Flask asks again for the answer to what went wrong."""


class GridSessions(SessionInterface):
    """What Flask asks about sessions. `url` is where the grid is, or else ISOGRID_URL says it;
    `owner` the key of a session that says whose it is."""

    serializer = session_json_serializer

    def __init__(
        self, url: Optional[str] = None, space: str = "flask", owner: str = "user"
    ) -> None:
        self._space, self._owner = WebSessions(url, space), owner

    def open_session(self, app: Flask, request: Request) -> GridSession:
        sid = request.cookies.get(self.get_cookie_name(app))
        session = self._space.load(sid, touch=True) if sid else None
        if session is None:
            return GridSession({}, None, None)
        loads = self.serializer.loads
        data = {name: loads(value.decode()) for name, value in session.attributes.items()}
        # As a save would write it, which may be other bytes.
        seen = Seen(session.version, self._attributes(data), self._user(data))
        return GridSession(data, sid, seen)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        # None: it could not be opened.
        if not isinstance(session, GridSession) or session.settled:
            return
        session.settled = True
        if session.accessed:
            response.vary.add("Cookie")
        if session:
            self._keep(app, session)
            if self.should_set_cookie(app, session):
                response.set_cookie(**self._cookie(app), **self._fresh(app, session))
                response.vary.add("Cookie")
        elif session.sid is not None and session.modified:
            self._space.destroy(session.sid)
            response.delete_cookie(**self._cookie(app))
            response.vary.add("Cookie")

    def regenerate(self, session: GridSession) -> None:
        """Gives a session another cookie, as one does after a login. Requests that are under way with
        the old one may read it for half a minute."""
        session.modified = True
        if session.sid is None:
            return
        sid = secrets.token_urlsafe(32)
        version = self._space.renew(session.sid, sid)
        if version is None:
            raise SessionEnded
        assert session.seen is not None
        session.sid, session.seen = sid, replace(session.seen, version=version)

    def log_out_everywhere(self, user: object, keep: Optional[GridSession] = None) -> int:
        """Ends all sessions of a user but for `keep`. How many."""
        return self._space.log_out_everywhere(user, keep.sid if keep is not None else None)

    def _keep(self, app: Flask, session: GridSession) -> None:
        attributes, user = self._attributes(session), self._user(session)
        if session.seen is None:
            session.modified = True
            idle = app.permanent_session_lifetime.total_seconds()
            session.sid, session.seen = self._begin(attributes, idle, user)
        elif session.seen.attributes != attributes:
            session.modified = True
            seen = self._space.save(str(session.sid), session.seen, attributes, user)
            if seen is None:
                raise SessionEnded
            session.seen = seen

    def _begin(
        self, attributes: dict[str, bytes], idle: float, user: Optional[str]
    ) -> tuple[str, Seen]:
        for _ in range(DRAWS):
            sid = secrets.token_urlsafe(32)
            seen = self._space.create(sid, attributes, idle, user)
            if seen is not None:
                return sid, seen
        raise RuntimeError(f"each of {DRAWS} cookies is another session's")

    def _attributes(self, data: Any) -> dict[str, bytes]:
        return {name: self.serializer.dumps(value).encode() for name, value in data.items()}

    def _user(self, data: Any) -> Optional[str]:
        return name_of(data.get(self._owner))

    def _cookie(self, app: Flask) -> dict[str, Any]:
        partitioned = {}
        if "SESSION_COOKIE_PARTITIONED" in app.config:  # Flask 3.1 and newer.
            partitioned["partitioned"] = app.config["SESSION_COOKIE_PARTITIONED"]
        return {
            "key": self.get_cookie_name(app),
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "samesite": self.get_cookie_samesite(app),
            "httponly": self.get_cookie_httponly(app),
            **partitioned,
        }

    def _fresh(self, app: Flask, session: GridSession) -> dict[str, Any]:
        return {"value": session.sid, "expires": self.get_expiration_time(app, session)}


def _is_modified(session: Any) -> None:
    session.modified = True
