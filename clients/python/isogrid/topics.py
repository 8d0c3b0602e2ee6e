"""Topics: each message is kept for a while, goes to each group of consumers, and to who reads."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Union

from .cache import Data
from .message import Message
from .queues import Queue, content, ms, new_message
from .target import Target

if TYPE_CHECKING:
    from .client import Client

From = Union[str, int]
"""Where reading begins: "new", "first", the id of a message, or "@" and a time, ms since 1970."""


@dataclass(frozen=True)
class Logged:
    """A message that was read."""

    id: int
    """Its position: rises with each message of the topic."""
    published_ms: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Lost:
    """Who reads was too slow: the topic kept these no longer."""

    count: int
    """How many they were; at the most, if another member has served the topic meanwhile."""


@dataclass(frozen=True)
class Page:
    """Messages that were read."""

    lost: int
    """How many from the position on are gone, as in `Lost`."""
    next: int
    """Where to read on."""
    messages: list[Logged]


class Topic:
    """A topic."""

    def __init__(self, client: "Client", name: str, target: Target) -> None:
        self._client, self.name, self.target = client, name, target

    def publish(
        self,
        body: Data,
        headers: Optional[Mapping[str, str]] = None,
        dedup: Optional[Data] = None,
        ordered_by: Optional[Data] = None,
        ttl: float = 0,
    ) -> int:
        """Publishes a message once, however often it has to be sent. Its id; that of the first one
        if there was one with the same `dedup`. Each group has those with the same `ordered_by` one
        by one."""
        message = new_message(body, headers, dedup, ordered_by, ttl=ttl)
        asked = {"ack": "DEFAULT", "messages": [message]}
        return int(self._call("PUBLISH", asked).result["results"][0]["id"])

    def group(
        self, name: str, start: From = "new", options: Optional[Mapping[str, Any]] = None
    ) -> Queue:
        """The group of this name: a queue that gets each message. It is made if it is not there, and
        begins at `start` then."""
        return self._client.queue(f"{self.name}/{name}", {**(options or {}), "from": str(start)})

    def read(self, start: From = "new", n: int = 64, wait: float = 0) -> Page:
        """Up to `n` messages from there on, 1 to 64; it waits for one so long, and gives none if
        there is none."""
        kind, at = _begin(start)
        asked = {"from": kind, "at": at, "n": n, "wait": ms(wait)}
        timeout = self._client.timeout + wait
        page = self._client.call("queue.READ", asked, self.target, timeout=timeout).result
        return Page(int(page["lost"]), int(page["next"]), list(map(_logged, page["messages"])))

    def subscribe(self, start: From = "new", wait: float = 20) -> Iterator[Union[Logged, Lost]]:
        """Messages without an end, in their order, and `Lost` where some are gone. It begins when it
        is called, and goes on where it was after an error if it is called with the next id."""
        return self._follow(self.read(start), wait)

    def _follow(self, page: Page, wait: float) -> Iterator[Union[Logged, Lost]]:
        while True:
            if page.lost:
                yield Lost(page.lost)
            yield from page.messages
            page = self.read(page.next, wait=wait)

    def stats(self) -> dict[str, int]:
        """What there is, and what went through."""
        return dict(json.loads(self._call("STATS", {}).result["stats"]))

    def purge(self) -> int:
        """Removes all messages. How many."""
        return int(self._call("PURGE", {"state": "ANY"}).result["count"])

    def _call(self, op: str, body: Mapping[str, Any]) -> Message:
        return self._client.call(f"queue.{op}", body, self.target)


def _begin(start: From) -> tuple[str, int]:
    if start == "new" or start == "first":
        return str(start).upper(), 0
    if isinstance(start, str) and start.startswith("@"):
        return "TIME", int(start[1:])
    return "POSITION", int(start)


def _logged(one: Mapping[str, Any]) -> Logged:
    return Logged(int(one["id"]), int(one["published_ms"]), *content(one))
