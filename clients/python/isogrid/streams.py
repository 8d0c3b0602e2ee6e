"""What comes in items: scans and listeners, with credit."""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from .cache import Entry
from .codec import Malformed
from .connection import Connection, Reply
from .errors import CODES, Failed, IsogridError
from .message import Message
from .retry import FIRST_PAUSE, LONGEST_PAUSE
from .target import Target

if TYPE_CHECKING:
    from .client import Client

CREDIT = 1024
"""Items that may be on their way before this side has taken any."""

ALL_SEGMENTS = 0xFFFF

_EVENTS = {1: "CREATE", 2: "UPDATE", 4: "REMOVE", 8: "EXPIRE", 16: "EVICT", 32: "RESYNC"}

_END = None


class Stream(Reply):
    """A request that is answered with items. Iterate over ITEM messages; the last is the RES."""

    def __init__(self) -> None:
        super().__init__()
        self._messages: queue.SimpleQueue[Optional[Message]] = queue.SimpleQueue()
        self._owed = CREDIT
        self._taken = 0
        self._lock = threading.Lock()
        self.place: Optional[tuple[Connection, int]] = None

    def items(self, message: Message) -> None:
        with self._lock:
            self._owed -= len(message.items)
            if self._owed < 0:
                raise Malformed("PROTOCOL_ERROR", "more items than there was credit for")
        self._messages.put(message)

    def answered(self, message: Message) -> None:
        super().answered(message)
        self._messages.put(_END)

    def failed(self, error: IsogridError) -> None:
        super().failed(error)
        self._messages.put(_END)

    def next(self, seconds: Optional[float]) -> Optional[Message]:
        """The next ITEM; None at the end. Raises queue.Empty when none came in time, and what the
        stream failed with."""
        message = self._messages.get(timeout=seconds)
        if message is _END:
            self._messages.put(_END)
            self.wait(0)
            return None
        self._give_back(len(message.items))
        return message

    def cancel(self) -> None:
        """Asks the server to stop. Items that are on their way are dropped."""
        if self.place is not None and not self.is_done():
            connection, stream = self.place
            connection.control("CANCEL", stream)

    def _give_back(self, count: int) -> None:
        """Credit goes back in large pieces: one frame for half of it."""
        with self._lock:
            self._taken += count
            if self._taken < CREDIT // 2 or self.is_done() or self.place is None:
                return
            more, self._taken = self._taken, 0
            self._owed += more
        connection, stream = self.place
        connection.control("CREDIT", stream, items=more)


def open_stream(
    client: "Client", op: str, body: dict[str, Any], target: Target, seconds: float
) -> Stream:
    """Begins a stream. Raises OSError, Failed or Unknown. It has no deadline: it lasts until it is
    cancelled."""
    until = time.monotonic() + seconds
    connection = client.connection(until)
    number = client.resolve(connection, target, until)
    message = Message("REQ", op=op, body=body, object=number)
    stream = Stream()
    stream.place = connection, connection.send(message, stream)
    return stream


def scan(client: "Client", target: Target, glob: Optional[str], values: bool) -> Iterator[Entry]:
    """All entries. After a lost connection it goes on where it was, within the client's timeout."""
    read = {"KEY": True, "VERSION": True, "FLAGS": True, "TTL": True, "IDLE": True}
    if values:
        read["VALUE"] = True
    body: dict[str, Any] = {"read": read, "segments": None, "glob": glob}
    body.update(batch=0, cursor=None, credit=CREDIT)
    until: Optional[float] = None
    pause = FIRST_PAUSE
    while True:
        stream: Optional[Stream] = None
        try:
            stream = open_stream(client, "cache.SCAN", body, target, client.timeout)
            while True:
                message = stream.next(client.timeout)
                if message is None:
                    return
                until, pause = None, FIRST_PAUSE
                assert message.trailer is not None
                yield from (Entry.of(parts) for parts in message.items)
                body["cursor"] = message.trailer["cursor"]
        except (OSError, IsogridError, queue.Empty) as error:
            until = until or time.monotonic() + client.timeout
            if not _again(error) or time.monotonic() + pause > until:
                raise _of_scan(error) from None
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        finally:
            if stream is not None:
                stream.cancel()


def _again(error: Exception) -> bool:
    return not isinstance(error, IsogridError) or error.retry != "NEVER"


def _of_scan(error: Exception) -> IsogridError:
    """A scan changes nothing, so that its failure has one outcome."""
    if isinstance(error, IsogridError):
        return error.becomes(Failed)
    return Failed(CODES["DEADLINE_EXCEEDED"], f"the scan cannot go on: {error!r}")


@dataclass(frozen=True)
class Event:
    """A change. `kind` is CREATE, UPDATE, REMOVE, EXPIRE, EVICT or RESYNC: changes of `segment`
    were lost (65535: of all segments), and what is known of it must be read anew."""

    kind: str
    segment: int
    seq: int
    entry: Entry


class Listener:
    """Changes of a cache as they happen. A lost connection is made anew for as long as the listener
    is open, and shows as an event RESYNC of all segments."""

    def __init__(
        self, client: "Client", target: Target, glob: Optional[str], initial: bool, values: bool
    ) -> None:
        self._client, self._target = client, target
        read = {"KEY": True, "VERSION": True, **({"VALUE": True} if values else {})}
        self._body: dict[str, Any] = {
            "events": {name: True for name in _EVENTS.values() if name != "RESYNC"},
            "read": read,
            "glob": glob,
            "flags": {"INITIAL_STATE": True} if initial else {},
            "credit": CREDIT,
        }
        self._ready: list[Event] = []
        self._closed = threading.Event()
        self._stream = self._open()

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it."""
        self._closed.set()
        self._stream.cancel()

    def __iter__(self) -> Iterator[Event]:
        while True:
            event = self.next(None)
            if event is None:
                return
            yield event

    def next(self, seconds: Optional[float]) -> Optional[Event]:
        """The next event; None if none came in time, or when it is over: the listener was closed or
        the cache was dropped. Raises Failed when the server refuses to go on."""
        until = None if seconds is None else time.monotonic() + seconds
        while not self._ready:
            left = None if until is None else max(until - time.monotonic(), 0)
            try:
                message = self._stream.next(left)
            except queue.Empty:
                return None
            except IsogridError as error:
                if self._closed.is_set():
                    return None
                if not _again(error):
                    raise
                self._reopen()
                return Event("RESYNC", ALL_SEGMENTS, 0, Entry())
            if message is None:
                return None
            self._ready = [_event(item) for item in message.items if item["event"] in _EVENTS]
        return self._ready.pop(0)

    def _open(self) -> Stream:
        return open_stream(
            self._client, "cache.LISTEN", self._body, self._target, self._client.timeout
        )

    def _reopen(self) -> None:
        pause = FIRST_PAUSE
        while not self._closed.wait(pause):
            try:
                self._stream = self._open()
                return
            except (OSError, IsogridError) as error:
                if not _again(error):
                    raise
            pause = min(pause * 2, LONGEST_PAUSE)


def _event(item: dict[str, Any]) -> Event:
    return Event(_EVENTS[item["event"]], item["segment"], item["seq"], Entry.of(item["entry"]))
