"""One connection: many requests under way at once, told apart by the ids of their streams.

One thread reads, writes and watches the time; callers only put bytes into its outbox, and so are
never held up by a peer that does not read.
"""

import itertools
import selectors
import socket
import threading
import time
from typing import Any, Callable, Optional

from .codec import DEFAULT_LIMITS, Limits, Malformed
from .errors import CODES, IsogridError, Unknown, of_body
from .frame import FRAGMENT, Frame, FrameDecoder, Reassembly
from .handshake import Greeting, greet
from .message import Message, decode, encode

_RECEIVE = 1 << 18


class Reply:
    """The answer to a request that is under way."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._message: Optional[Message] = None
        self._error: Optional[IsogridError] = None

    def wait(self, seconds: float) -> Message:
        """The RES. Raises what the server or the connection failed with, and Unknown when the time
        is over: the request may still be executed."""
        if not self._done.wait(max(seconds, 0)):
            raise Unknown(CODES["OUTCOME_UNKNOWN"], "no answer came in time", "NEVER")
        if self._error is not None:
            raise self._error
        assert self._message is not None
        return self._message

    def is_done(self) -> bool:
        return self._done.is_set()

    # What the connection tells.

    def items(self, message: Message) -> None:
        raise Malformed("PROTOCOL_ERROR", f"items for {message.op}, which did not ask for any")

    def answered(self, message: Message) -> None:
        self._message = message
        self._done.set()

    def failed(self, error: IsogridError) -> None:
        self._error = error
        self._done.set()


class Connection:
    """A connection to one member. Raises OSError or Failed when it cannot be made."""

    def __init__(
        self, address: tuple[str, int], hello: dict[str, Any], seconds: float, auth: Any = None
    ) -> None:
        self.address = address
        until = time.monotonic() + seconds
        self._socket = socket.create_connection(address, timeout=seconds)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.greeting: Greeting = greet(self._socket, hello, auth, until)
            self._wake_read, self._wake_write = socket.socketpair()
        except BaseException:
            self._socket.close()
            raise
        self.limits: Limits = {**DEFAULT_LIMITS, **self.greeting.limits}
        self.objects: dict[tuple[str, str], int] = {}
        """Numbers of the objects that were resolved over this connection."""
        self._lock = threading.Lock()
        self._outbox = bytearray()
        self._open: dict[int, Reply] = {}
        self._ids = itertools.count(1)
        self._lost: Optional[str] = None
        self._leaving = False
        self._begin_loop()

    def _begin_loop(self) -> None:
        for one in (self._socket, self._wake_read, self._wake_write):
            one.setblocking(False)
        self._frames = FrameDecoder(self.greeting.max_frame, self.greeting.rest)
        self._parts = Reassembly(self.limits)
        self._thread = threading.Thread(target=self._run, name="isogrid", daemon=True)
        self._thread.start()

    @property
    def usable(self) -> bool:
        """Whether new requests should go here: it is alive and the server is not going away."""
        return self._lost is None and not self._leaving

    def send(self, message: Message, reply: Reply) -> int:
        """Sends a request and gives its stream. The answer goes to `reply`.

        Raises Malformed when the request has no bytes, and ConnectionError when the connection is
        lost: both mean that it was not sent.
        """
        with self._lock:
            if self._lost is not None:
                raise ConnectionError(self._lost)
            message.stream = self._free_id()
            pieces = encode(message, self.limits).fragments(self._fragment())
            self._open[message.stream] = reply
            self._outbox += b"".join(piece.encode() for piece in pieces)
        self._wake()
        return message.stream

    def control(self, frame_type: str, stream: int, **payload: int) -> None:
        """Sends CREDIT, CANCEL, PING or PONG."""
        frame = encode(Message(frame_type, stream, payload=payload))
        with self._lock:
            self._outbox += frame.encode()
        self._wake()

    def leave(self) -> None:
        """Takes no more requests, and ends once nothing is under way."""
        self._leaving = True
        self._wake()

    def close(self) -> None:
        """Ends the connection: what is under way has an unknown outcome."""
        self._lose("closed by this side")
        self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _fragment(self) -> int:
        return min(FRAGMENT, self.limits["max_frame"])

    def _free_id(self) -> int:
        for number in self._ids:
            stream = number & 0xFFFF_FFFF
            if stream and stream not in self._open:
                return stream
        raise AssertionError("itertools.count ended")

    def _wake(self) -> None:
        try:
            self._wake_write.send(b"w")
        except OSError:
            # Full: it is awake already. Closed: there is nothing to wake.
            pass

    # Everything below runs in the connection's own thread.

    def _run(self) -> None:
        try:
            self._loop()
        except (OSError, Malformed) as error:
            self._lose(str(error) or type(error).__name__)
        finally:
            self._lose("the connection's thread has ended")
            self._last_words()
            for one in (self._socket, self._wake_read, self._wake_write):
                one.close()

    def _last_words(self) -> None:
        """Sends what is left, such as a CANCEL, as far as that goes at once."""
        try:
            self._socket.send(self._outbox)
        except OSError:
            pass

    def _loop(self) -> None:
        keepalive = self.greeting.keepalive_ms / 1000
        heard = time.monotonic()
        pinged = False
        # Frames may have come right behind the handshake.
        self._take(b"")
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            selector.register(self._socket, selectors.EVENT_READ)
            while self._lost is None:
                self._flush(selector)
                for key, events in selector.select(keepalive / 2):
                    if key.fileobj is self._wake_read:
                        self._wake_read.recv(4096)
                    elif events & selectors.EVENT_READ:
                        self._receive()
                        heard, pinged = time.monotonic(), False
                if self._leaving and not self._open:
                    raise OSError("the server goes away, and nothing is under way")
                silent = time.monotonic() - heard
                if silent > 3 * keepalive:
                    raise OSError("the server says nothing")
                if silent > keepalive and not pinged:
                    pinged = True
                    self.control("PING", 0, opaque=int(heard * 1000))

    def _flush(self, selector: selectors.BaseSelector) -> None:
        with self._lock:
            try:
                while self._outbox:
                    del self._outbox[: self._socket.send(self._outbox)]
            except BlockingIOError:
                pass
            waits = selectors.EVENT_WRITE if self._outbox else 0
        selector.modify(self._socket, selectors.EVENT_READ | waits)

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        if not data:
            raise OSError("the server has closed it")
        self._take(data)

    def _take(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            whole = self._parts.push(frame)
            if whole is not None:
                self._handle(whole)

    def _handle(self, frame: Frame) -> None:
        if frame.type not in _TAKEN:
            raise Malformed("PROTOCOL_ERROR", f"a server does not send {frame.type}")
        message = decode(frame, self.limits)
        if message.type == "PING":
            self.control("PONG", 0, **message.payload)
        elif message.type == "GOAWAY":
            self._leaving = True
        elif message.type != "PONG":
            self._answer(message)

    def _answer(self, message: Message) -> None:
        if message.stream == 0:
            raise OSError(str(of_body(message.payload)))
        with self._lock:
            ends = message.type != "ITEM"
            take: Callable[..., Optional[Reply]] = self._open.pop if ends else self._open.get
            reply = take(message.stream, None)
        if reply is None:
            raise Malformed("PROTOCOL_ERROR", f"an answer on stream {message.stream}, not open")
        if message.type == "ITEM":
            reply.items(message)
        elif message.type == "RES":
            reply.answered(message)
        else:
            reply.failed(of_body(message.payload))

    def _lose(self, why: str) -> None:
        with self._lock:
            if self._lost is not None:
                return
            self._lost = why
            waiting: list[Reply] = list(self._open.values())
            self._open.clear()
        for reply in waiting:
            reply.failed(_lost(why))


_TAKEN = ("RES", "ERR", "ITEM", "PING", "PONG", "GOAWAY")


def _lost(why: str) -> Unknown:
    return Unknown(CODES["OUTCOME_UNKNOWN"], f"the connection was lost: {why}")
