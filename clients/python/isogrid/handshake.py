"""From a socket to WELCOME: docs/PROTOCOL.md section 2."""

import json
import socket
import time
from dataclasses import dataclass
from typing import Any, Optional

from .auth import Mechanism
from .codec import Malformed
from .errors import Failed, of_body
from .frame import PREFACE_LEN, Frame, FrameDecoder, check_magic, client_preface
from .message import Message, decode, encode


@dataclass
class Greeting:
    """What WELCOME says."""

    welcome: dict[str, Any]
    max_frame: int
    """The largest payload that this side takes."""
    rest: bytes
    """What came behind the last frame of the handshake."""

    @property
    def limits(self) -> dict[str, int]:
        return {name: int(value) for name, value in self.welcome.get("limits", {}).items()}

    @property
    def keepalive_ms(self) -> int:
        return int(self.welcome.get("keepalive_ms", 15_000))

    @property
    def segments(self) -> int:
        return int(self.welcome.get("segments", 256))

    @property
    def warnings(self) -> list[str]:
        return list(self.welcome.get("warnings", []))


def greet(
    sock: socket.socket, hello: dict[str, Any], auth: Optional[Mechanism], until: float
) -> Greeting:
    """Says hello. Raises OSError, or Failed with what the server refuses it for."""
    talk = _Talk(sock, hello, until)
    try:
        return talk.through(auth)
    except Malformed as error:
        raise Failed.named(error.code, f"the server's handshake: {error}") from None
    except ValueError as error:
        raise Failed.named("AUTH_FAILED", str(error)) from None


class _Talk:
    def __init__(self, sock: socket.socket, hello: dict[str, Any], until: float) -> None:
        self._socket, self._hello, self._until = sock, dict(hello), until
        self._max_frame = int(hello.get("max_frame", 1 << 20))
        self._frames = FrameDecoder(self._max_frame)
        self._come: list[Frame] = []

    def through(self, auth: Optional[Mechanism]) -> Greeting:
        if auth is not None:
            self._hello["auth"] = {"mech": auth.name, "data": auth.first()}
        self._socket.settimeout(self._left())
        self._socket.sendall(client_preface() + self._json("HELLO", self._hello))
        self._preface()
        welcome = self._next("WELCOME")
        state = welcome.get("auth", {"state": "ok"})
        while state.get("state") == "continue" and auth is not None:
            answer = {"data": auth.answer(state.get("data", ""))}
            self._socket.sendall(self._json("AUTH", answer))
            state = self._next("AUTH")
        if state.get("state", "ok") != "ok":
            raise Failed.named("AUTH_REQUIRED", "the server wants to know who this is")
        if auth is not None:
            auth.verify(state.get("data"))
        rest = b"".join(frame.encode() for frame in self._come) + self._frames.rest()
        return Greeting(welcome, self._max_frame, rest)

    def _json(self, frame_type: str, document: dict[str, Any]) -> bytes:
        return encode(Message(frame_type, payload=json.dumps(document))).encode()

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise socket.timeout("the handshake takes too long")
        return left

    def _receive(self, most: int) -> bytes:
        self._socket.settimeout(self._left())
        data = self._socket.recv(most)
        if not data:
            raise ConnectionError("the server has closed the connection during the handshake")
        return data

    def _preface(self) -> None:
        data = b""
        while len(data) < PREFACE_LEN:
            data += self._receive(PREFACE_LEN - len(data))
            check_magic(data)
        if data[4] == 0:
            raise Failed.named("UNSUPPORTED_VERSION", f"the server speaks {data[5]} to {data[6]}")

    def _next(self, frame_type: str) -> dict[str, Any]:
        while True:
            while not self._come:
                self._come += self._frames.feed(self._receive(65536))
            message = decode(self._come.pop(0))
            if message.type == "PING":
                pong = Message("PONG", payload=message.payload)
                self._socket.sendall(encode(pong).encode())
            elif message.type == "ERR":
                raise of_body(message.payload)
            elif message.type == frame_type:
                return dict(json.loads(message.payload))
            else:
                raise Malformed("PROTOCOL_ERROR", f"{message.type} instead of {frame_type}")
