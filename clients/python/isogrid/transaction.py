"""Transactions over caches: all or nothing."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Optional

from .cache import Cache, Data, Entry, octets, write_options
from .codec import DEFAULT_LIMITS, Reader, type_of
from .errors import Conflict, Failed, of_body
from .message import OPERATIONS
from .retry import Attempts
from .target import Target

if TYPE_CHECKING:
    from .client import Client

Place = tuple[Target, bytes]


class Transaction:
    """Reads and writes that are kept here. At the end of the `with` they are committed: if all that
    was read is as it was, all is written; else that raises Conflict and nothing is."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._reads: dict[Place, int] = {}
        self._writes: dict[Place, dict[str, Any]] = {}
        self._seen: dict[Place, Optional[bytes]] = {}

    def get(self, cache: Cache, key: Data) -> Optional[bytes]:
        """The value as this transaction sees it, its own writes included."""
        place = (cache.target, octets(key))
        if place not in self._seen:
            entry = cache.entry(key)
            self._reads[place] = entry.version if entry else 0
            self._seen[place] = entry.value if entry else None
        return self._seen[place]

    def put(self, cache: Cache, key: Data, value: Data, ttl: Optional[float] = None) -> None:
        """Writes at the commit."""
        self._write(cache, key, "PUT", octets(value), write_options(ttl))
        self._seen[cache.target, octets(key)] = octets(value)

    def remove(self, cache: Cache, key: Data) -> None:
        """Removes at the commit."""
        self._write(cache, key, "REMOVE", b"", {})
        self._seen[cache.target, octets(key)] = None

    def commit(self) -> list[int]:
        """Commits, and gives the version of each write (0 for one that removed). Raises Conflict,
        after which nothing is in force, or Unknown."""
        reads = [
            {"object": target, "key": key, "version": version}
            for (target, key), version in self._reads.items()
        ]
        body = {"reads": reads, "writes": list(self._writes.values())}
        answer = self._client.call("tx.COMMIT_OCC", body)
        if answer.status != "OK":
            raise Conflict(answer.result["conflicts"])
        return list(answer.result["versions"])

    def __enter__(self) -> "Transaction":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None:
            self.commit()

    def _write(self, cache: Cache, key: Data, op: str, value: bytes, write: dict[str, Any]) -> None:
        place = (cache.target, octets(key))
        self._writes[place] = {
            "object": cache.target,
            "key": octets(key),
            "op": op,
            "value": value,
            "write": write,
        }


def transact(client: "Client", work: Callable[[Transaction], Any], seconds: float) -> Any:
    """Runs `work` anew after each conflict, with growing pauses, until the time is over."""
    until = time.monotonic() + seconds
    attempts = Attempts("tx.COMMIT_OCC", "D", True)
    while True:
        transaction = Transaction(client)
        try:
            result = work(transaction)
            transaction.commit()
            return result
        except Conflict as conflict:
            pause = attempts.pause_after(conflict)
            if pause is None or time.monotonic() + pause >= until:
                raise
            time.sleep(pause)


@dataclass(frozen=True)
class Condition:
    """A condition of `execute` on one entry; `what` is a CompareOp of docs/OPERATIONS.md."""

    cache: Cache
    key: Data
    what: str
    version: int = 0
    value: Data = b""

    def body(self) -> dict[str, Any]:
        return {
            "object": self.cache.target,
            "key": octets(self.key),
            "what": self.what,
            "version": self.version,
            "value": octets(self.value),
        }


@dataclass(frozen=True)
class Step:
    """A request of `execute`: an operation of the group cache, and its body as there."""

    cache: Cache
    op: str
    body: Mapping[str, Any]

    @staticmethod
    def get(cache: Cache, key: Data) -> "Step":
        read = {"VALUE": True, "VERSION": True}
        return Step(cache, "cache.GET", {"key": octets(key), "read": read})

    @staticmethod
    def put(cache: Cache, key: Data, value: Data, ttl: Optional[float] = None) -> "Step":
        body = {"key": octets(key), "value": octets(value), "write": write_options(ttl)}
        return Step(cache, "cache.PUT", body)

    @staticmethod
    def remove(cache: Cache, key: Data) -> "Step":
        return Step(cache, "cache.REMOVE", {"key": octets(key), "write": {}})

    def request(self) -> dict[str, Any]:
        operation = OPERATIONS[self.op]
        body = bytearray()
        operation.request.write(body, self.body, DEFAULT_LIMITS)
        return {"op": operation.code, "object": self.cache.target, "body": bytes(body)}


@dataclass(frozen=True)
class Executed:
    """What `execute` did: whether the conditions held, whether the steps are in force, and the
    status and result of each step up to the one that was not done."""

    held: bool
    done: bool
    replies: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def entries(self) -> list[Optional[Entry]]:
        """The entries of steps that read; None where there is none."""
        found = [result.get("entry") for _, result in self.replies]
        return [None if parts is None else Entry.of(parts) for parts in found]


def execute(
    client: "Client",
    conditions: Sequence[Condition],
    then: Sequence[Step],
    otherwise: Sequence[Step],
) -> Executed:
    """`Client.execute`."""
    body = {
        "compare": [condition.body() for condition in conditions],
        "then": [step.request() for step in then],
        "otherwise": [step.request() for step in otherwise],
    }
    answer = client.call("tx.EXEC", body)
    steps = then if answer.result["held"] else otherwise
    replies = [_reply(step, sub) for step, sub in zip(steps, answer.result["replies"])]
    return Executed(answer.result["held"], answer.status == "OK", replies)


def _reply(step: Step, sub: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A step's answer. One that failed with an error raises it: nothing of the whole was done."""
    reader = Reader(sub["payload"])
    if sub["kind"] == "ERR":
        raise of_body(type_of("ErrorBody").read(reader)).becomes(Failed)
    status = type_of("Status").read(reader)
    result = OPERATIONS[step.op].replies[status].read(reader)
    reader.done()
    return status, result
