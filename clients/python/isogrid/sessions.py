"""Web sessions: attributes that are saved one by one, and nothing that was ended comes back."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from .cache import Data, octets
from .errors import Failed
from .message import Message
from .target import Target

if TYPE_CHECKING:
    from .client import Client


@dataclass(frozen=True)
class Session:
    """A session as it was loaded."""

    version: int
    """What a save builds upon."""
    created_ms: int
    idle_left: Optional[float]
    """Seconds until it ends if it is not used; None if that does not end it."""
    lifetime_left: Optional[float]
    """Seconds until it ends however much it is used; None if that does not end it."""
    attributes: Mapping[str, bytes]
    versions: Mapping[str, int]
    """Of each attribute the version of the session that changed it last."""
    index: list[str]
    """What it can be found by."""


@dataclass(frozen=True)
class Saved:
    """What came of a save."""

    version: int
    conflicts: list[str]
    """Attributes of these that somebody else had changed since `base`; this save won."""


class Sessions:
    """A space of web sessions, in which each has an id of 16 to 128 bytes."""

    def __init__(self, client: "Client", target: Target) -> None:
        self._client, self.target = client, target

    def create(
        self,
        id: Data,
        attributes: Optional[Mapping[str, Data]] = None,
        idle: float = 1800,
        lifetime: float = 0,
        index: Iterable[str] = (),
    ) -> Optional[int]:
        """Begins a session that ends when it was not used for `idle` seconds, and after `lifetime`
        seconds in any case; 0: never. Its version; None if another session has the id."""
        given = [{"name": n, "value": octets(v)} for n, v in (attributes or {}).items()]
        times = {"idle": _ms(idle), "absolute": _ms(lifetime)}
        body = {"id": octets(id), **times, "attributes": given, "index": list(index)}
        answer = self._call("CREATE", body)
        return int(answer.result["version"]) if answer.status == "OK" else None

    def load(
        self, id: Data, known: int = 0, names: Iterable[str] = (), touch: bool = True
    ) -> Optional[Session]:
        """The session, or these attributes of it; None if there is none, or if its version is
        `known`, which `touch` tells apart. To load it is to use it, unless `touch` is False."""
        body = {"id": octets(id), "known": known, "names": list(names), "touch": touch}
        answer = self._call("LOAD", body)
        if answer.status != "OK":
            return None
        told = answer.result
        return Session(
            int(told["version"]),
            int(told["created_ms"]),
            _seconds(told["idle_left"]),
            _seconds(told["absolute_left"]),
            {one["name"]: one["value"] for one in told["attributes"]},
            {one["name"]: int(one["version"]) for one in told["attributes"]},
            list(told["index"]),
        )

    def save(
        self,
        id: Data,
        set: Optional[Mapping[str, Data]] = None,
        delete: Iterable[str] = (),
        base: int = 0,
        mode: str = "MERGE",
        add: Optional[Mapping[str, int]] = None,
        append: Optional[Mapping[str, Data]] = None,
        merge: Optional[Mapping[str, str]] = None,
        default: Optional[Mapping[str, Data]] = None,
    ) -> Optional[Saved]:
        """Changes attributes: sets them, adds to numbers of eight bytes, appends, merges JSON, and
        sets those that are not there to a `default`. Others stay, unless `mode` is REPLACE. None if
        nothing was done: there is no such session, or the mode is STRICT and somebody else has
        changed one of these since `base`. A session that was destroyed is Failed (SESSION_GONE)."""
        changes = [
            *_changes("SET", set),
            *_changes("ADD", {n: v.to_bytes(8, "big", signed=True) for n, v in (add or {}).items()}),
            *_changes("APPEND", append),
            *_changes("JSON_MERGE", merge),
            *_changes("SET_IF_ABSENT", default),
        ]
        body = {"id": octets(id), "base": base, "mode": mode, "changes": changes}
        answer = self._call("SAVE", {**body, "removals": list(delete)})
        if answer.status != "OK":
            return None
        return Saved(int(answer.result["version"]), list(answer.result["conflicts"]))

    def touch(self, id: Data) -> Optional[float]:
        """Uses a session. Seconds until it ends if it is not used again, 0 for never; None if there
        is none."""
        answer = self._call("TOUCH", {"id": octets(id)})
        return int(answer.result["left"]) / 1000 if answer.status == "OK" else None

    def destroy(self, id: Data, reason: str = "") -> bool:
        """Ends a session. Whether there was one."""
        return self._call("DESTROY", {"id": octets(id), "reason": reason}).status == "OK"

    def renew(self, old: Data, new: Data, grace: float = 30) -> Optional[int]:
        """Gives a session another id; requests that are under way may load it by the old one for
        `grace` seconds. Its version; None if there is none. An id that another session has is
        Failed."""
        body = {"old": octets(old), "new": octets(new), "grace": _ms(grace)}
        answer = self._call("RENEW_ID", body)
        if answer.status == "NOT_STORED":
            raise Failed.named("OBJECT_EXISTS", "another session has the new id")
        return int(answer.result["version"]) if answer.status == "OK" else None

    def index(self, id: Data, add: Iterable[str] = (), remove: Iterable[str] = ()) -> bool:
        """Changes what a session can be found by. Whether there is one."""
        body = {"id": octets(id), "add": list(add), "remove": list(remove)}
        return self._call("INDEX", body).status == "OK"

    def find(self, name: str) -> list[bytes]:
        """The ids of the sessions of a name."""
        return [one["id"] for one in self._call("FIND", {"name": name}).result["sessions"]]

    def destroy_by(self, name: str, keep: Data = b"") -> int:
        """Ends all sessions of a name, but for the one of the id `keep`. How many."""
        body = {"name": name, "except": octets(keep)}
        return int(self._call("DESTROY_BY", body).result["count"])

    def count(self) -> int:
        """How many sessions there are, all of which are looked at."""
        return int(self._call("COUNT", {}).result["count"])

    def list(self, page: int = 256) -> Iterator[dict[str, Any]]:
        """What there is to say of each session without its id and what it holds."""
        cursor = None
        while True:
            told = self._call("LIST", {"cursor": cursor, "n": page}).result
            yield from told["sessions"]
            cursor = told["cursor"]
            if cursor is None:
                return

    def _call(self, op: str, body: dict[str, Any]) -> Message:
        return self._client.call(f"session.{op}", body, self.target)


def _changes(op: str, values: Optional[Mapping[str, Data]]) -> list[dict[str, Any]]:
    return [{"name": n, "op": op, "value": octets(v)} for n, v in (values or {}).items()]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _seconds(ms: Any) -> Optional[float]:
    return int(ms) / 1000 if int(ms) else None
