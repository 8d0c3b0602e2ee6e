"""Queues: each message goes to one consumer, and comes again until one has acknowledged it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from .cache import Data, octets
from .errors import Failed
from .message import Message
from .target import Target

if TYPE_CHECKING:
    from .client import Client


@dataclass(frozen=True)
class Delivery:
    """A message. One about which nothing is said comes again when its time is over."""

    queue: "Queue"
    receipt: bytes
    id: int
    """Rises with each message of the queue."""
    attempt: int
    """Its how manyeth delivery this is, from 1."""
    published_ms: int
    headers: Mapping[str, str]
    body: bytes

    def ack(self) -> bool:
        """The message is done, and is never delivered again. False if it was delivered again
        before."""
        return self.queue._settle("ACK", {"receipts": [self.receipt]})

    def refuse(self, reason: str = "", delay: float = 0, refusal: str = "REQUEUE") -> bool:
        """The message comes again after `delay` seconds, or when the backoff of the queue is over;
        with `refusal` DEAD_LETTER it is dead, with DROP gone. False if it was delivered again
        before."""
        one = {"receipt": self.receipt, "delay": ms(delay), "refusal": refusal, "reason": reason}
        return self.queue._settle("NACK", {"deliveries": [one]})

    def extend(self, seconds: float) -> bool:
        """More time, from now. False if the time was over."""
        return self.queue._settle("EXTEND", {"receipts": [self.receipt], "wait": ms(seconds)})


@dataclass(frozen=True)
class Shown:
    """A message as `Queue.browse` shows it."""

    id: int
    state: str
    """READY, DELAYED, IN_FLIGHT or DEAD."""
    attempts: int
    priority: int
    group: Optional[bytes]
    published_ms: int
    reasons: list[str]
    """Of the last deliveries in vain."""
    headers: Mapping[str, str]
    body: bytes


class Queue:
    """A queue."""

    def __init__(self, client: "Client", target: Target) -> None:
        self._client, self.target = client, target

    def publish(
        self,
        body: Data,
        headers: Optional[Mapping[str, str]] = None,
        dedup: Optional[Data] = None,
        group: Optional[Data] = None,
        delay: float = 0,
        ttl: float = 0,
        priority: int = 4,
    ) -> int:
        """Publishes a message once, however often it has to be sent. Its id; that of the first one
        if there was one with the same `dedup`. Raises Failed (QUOTA_EXCEEDED) when the queue is
        full."""
        message = new_message(body, headers, dedup, group, delay, ttl, priority)
        asked = {"ack": "DEFAULT", "messages": [message]}
        return int(self._call("PUBLISH", asked).result["results"][0]["id"])

    def pull(self, n: int = 1, wait: float = 0) -> list[Delivery]:
        """Up to `n` messages, 1 to 64; it waits for one so long, and gives none if there is
        none."""
        timeout = self._client.timeout + wait
        asked = {"group": "", "n": n, "wait": ms(wait)}
        answer = self._client.call("queue.PULL", asked, self.target, timeout=timeout)
        return [self._delivery(one) for one in answer.result["deliveries"]]

    def consume(self, batch: int = 16, wait: float = 20) -> Iterator[Delivery]:
        """Messages without an end, fetched some at a time: those that were fetched and are not
        looked at when the caller ends come again when their time is over."""
        while True:
            yield from self.pull(batch, wait)

    def browse(self, state: str = "ANY") -> Iterator[Shown]:
        """Messages in this state as they are, in the order of their ids; changes nothing."""
        cursor = None
        while True:
            asked = {"cursor": cursor, "n": 64, "state": state}
            page = self._call("BROWSE", asked).result
            yield from map(_shown, page["messages"])
            cursor = page["cursor"]
            if cursor is None:
                return

    def stats(self) -> dict[str, int]:
        """What there is, and what went through."""
        return dict(json.loads(self._call("STATS", {}).result["stats"]))

    def purge(self, state: str = "ANY") -> int:
        """Removes messages, but none that a consumer has. How many."""
        return int(self._call("PURGE", {"state": state}).result["count"])

    def redrive(self, n: int = 0) -> int:
        """Brings dead messages back, 0: all. How many."""
        return int(self._call("REDRIVE", {"n": n}).result["count"])

    def _delivery(self, one: Mapping[str, Any]) -> Delivery:
        told = one["receipt"], int(one["id"]), int(one["attempt"]), int(one["published_ms"])
        return Delivery(self, *told, *content(one))

    def _settle(self, op: str, body: Mapping[str, Any]) -> bool:
        try:
            return self._call(op, body).status == "OK"
        except Failed as failed:
            if failed.name == "STALE_RECEIPT":
                return False
            raise

    def _call(self, op: str, body: Mapping[str, Any]) -> Message:
        return self._client.call(f"queue.{op}", body, self.target)


def new_message(
    body: Data,
    headers: Optional[Mapping[str, str]],
    dedup: Optional[Data],
    group: Optional[Data],
    delay: float = 0,
    ttl: float = 0,
    priority: int = 4,
) -> dict[str, Any]:
    """A message as PUBLISH has it."""
    said = [{"name": name, "value": value} for name, value in (headers or {}).items()]
    return {
        "dedup": None if dedup is None else octets(dedup),
        "group": None if group is None else octets(group),
        "delay": ms(delay),
        "ttl": ms(ttl),
        "priority": priority,
        "content": {"headers": said, "body": octets(body)},
    }


def _shown(one: Mapping[str, Any]) -> Shown:
    reasons = [cause["reason"] for cause in one["causes"]]
    told = int(one["id"]), one["state"], int(one["attempts"]), int(one["priority"])
    return Shown(*told, one["group"], int(one["published_ms"]), reasons, *content(one))


def content(one: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
    """The headers and the body of a message."""
    headers = {header["name"]: header["value"] for header in one["content"]["headers"]}
    return headers, one["content"]["body"]


def ms(seconds: float) -> int:
    """A span that is not nothing is at least a millisecond."""
    return 0 if seconds == 0 else max(1, round(seconds * 1000))
