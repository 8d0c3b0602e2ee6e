"""A server that does what a test says: one function plays each connection."""

import json
import socket
import threading
from typing import Any, Callable, Optional

from isogrid import tables
from isogrid.errors import CODES
from isogrid.frame import PREFACE_LEN, FrameDecoder, Reassembly, server_preface
from isogrid.message import Message, decode, encode

OBJECT = 7
WELCOME = {"auth": {"state": "ok"}, "segments": 256, "keepalive_ms": 15_000}


class Peer:
    """One connection, seen from the server."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.socket, self.number = sock, number
        self.hello: dict[str, Any] = {}
        self.resolved = 0
        """How many objects were resolved: each time they get the next number."""
        self._frames, self._parts = FrameDecoder(), Reassembly()
        self._come: list[Message] = []

    def greet(self, preface: bytes = server_preface(1), **welcome: Any) -> None:
        """Takes preface and HELLO, and answers them."""
        data = b""
        while len(data) < PREFACE_LEN:
            data += self.socket.recv(PREFACE_LEN - len(data))
        self.socket.sendall(preface)
        self.hello = json.loads(self.any().payload)
        self.send(Message("WELCOME", payload=json.dumps({**WELCOME, **welcome})))

    def any(self) -> Message:
        """The next message of any type. Raises EOFError at the end."""
        while not self._come:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            for frame in self._frames.feed(data):
                whole = self._parts.push(frame)
                self._come += [decode(whole)] if whole else []
        return self._come.pop(0)

    def request(self) -> Message:
        """The next request that is no RESOLVE; those are answered here."""
        while True:
            message = self.any()
            if message.op == "catalog.RESOLVE":
                number = OBJECT + self.resolved
                self.resolved += 1
                self.reply(message, id=number, props="{}", permissions=3)
            elif message.type == "REQ":
                return message

    def send(self, message: Message) -> None:
        self.socket.sendall(encode(message).encode())

    def reply(self, request: Message, status: str = "OK", **result: Any) -> None:
        self.send(Message("RES", request.stream, request.op, status=status, result=result))

    def fail(self, request: Message, name: str, after_ms: int = 0) -> None:
        code = CODES[name]
        body = {
            "code": code,
            "retry": tables.ERRORS[code][1],
            "retry_after_ms": after_ms,
            "message": "",
            "details": [{"name": "node", "value": "n1"}],
        }
        self.send(Message("ERR", request.stream, request.op, payload=body))

    def items(
        self, request: Message, items: list[Any], trailer: Optional[dict[str, Any]] = None
    ) -> None:
        message = Message("ITEM", request.stream, request.op, items=items, trailer=trailer)
        self.send(message)

    def until_end(self) -> list[Message]:
        """All that still comes."""
        rest = []
        while True:
            try:
                rest.append(self.any())
            except (EOFError, OSError):
                return rest


class FakeServer:
    """Listens on a free port and calls `script` with each connection, one after the other. An
    assertion that fails in the script fails the test at the end of the `with`."""

    def __init__(self, script: Callable[[Peer], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:{}".format(self._listener.getsockname()[1])
        self._stop = False
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "FakeServer":
        self._thread.start()
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._stop = True
        try:
            socket.create_connection(self._listener.getsockname()).close()
        except OSError:
            pass
        self._thread.join()
        self._listener.close()
        if self._error is not None and kind is None:
            raise self._error

    def _run(self) -> None:
        number = 0
        while True:
            sock, _ = self._listener.accept()
            with sock:
                if self._stop:
                    return
                try:
                    self._script(Peer(sock, number))
                except (EOFError, OSError):
                    pass
                except BaseException as error:
                    self._error = error
                    return
            number += 1
