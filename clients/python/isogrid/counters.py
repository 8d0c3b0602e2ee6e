"""Counters of 64 bits with a sign, and numbers that nobody else is ever given."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Optional

from .message import Message
from .target import Target

if TYPE_CHECKING:
    from .client import Client


class Counters:
    """A space of counters, in which each has a name."""

    def __init__(self, client: "Client", target: Target) -> None:
        self._client, self.target = client, target

    def get(self, name: str) -> Optional[int]:
        """The value; None if it was never written, and so has the space's initial value."""
        answer = self._call("GET", name)
        return int(answer.result["value"]) if answer.status == "OK" else None

    def add(self, name: str, delta: int = 1) -> Optional[int]:
        """Adds, and gives the new value; None if it would leave its bounds and stays as it is."""
        answer = self._call("ADD", name, delta=delta)
        return int(answer.result["value"]) if answer.status == "OK" else None

    def set(self, name: str, value: int) -> int:
        """Sets, and gives the value before."""
        return int(self._call("SET", name, value=value).result["prev"])

    def cas(self, name: str, expect: int, value: int) -> bool:
        """Sets if the value is `expect`. Whether it was."""
        return self._call("CAS", name, expect=expect, value=value).status == "OK"

    def reset(self, name: str) -> int:
        """Sets to the space's initial value, and gives it."""
        return int(self._call("RESET", name).result["value"])

    def add_many(self, deltas: Mapping[str, int]) -> dict[str, Optional[int]]:
        """Adds to many, each on its own; None where that would leave the bounds."""
        body = {"deltas": [{"name": name, "delta": delta} for name, delta in deltas.items()]}
        answer = self._client.call("counter.ADD_MANY", body, self.target)
        values = answer.result["values"]
        done = [int(one["value"]) if one["status"] == "OK" else None for one in values]
        return dict(zip(deltas, done))

    def ids(self, name: str, block: int = 100) -> Iterator[int]:
        """Numbers without an end that nobody else is given, fetched a block at a time."""
        while True:
            told = self._call("ID_BLOCK", name, n=block).result
            for at in range(block):
                yield told["first"] + at * told["step"]

    def _call(self, op: str, name: str, **more: Any) -> Message:
        return self._client.call(f"counter.{op}", {"name": name, **more}, self.target)
