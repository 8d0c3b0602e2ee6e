"""The client: connects, sends requests, and tries again what may be tried again."""

import itertools
import json
import os
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from . import auth as mechanisms
from . import url
from .cache import Cache
from .codec import DEFAULT_LIMITS, Malformed
from .connection import Connection, Reply
from .counters import Counters
from .errors import CODES, Failed, IsogridError, Unknown
from .locks import Locks
from .message import OPERATIONS, Message
from .queues import Queue
from .sessions import Sessions
from .retry import Attempts, repeat_of, wants_idem
from .target import Target, with_numbers
from .topics import Topic
from .transaction import Condition, Executed, Step, Transaction, execute, transact

VERSION = "0.1.0"
CONNECT_SECONDS = 3.0
GRACE_SECONDS = 0.25
"""How much longer than the server the client waits: a late answer still tells the outcome."""


@dataclass
class Request:
    """What is asked for. A Target stands for the number of its object, in `target`, `ext` and
    `body` alike."""

    op: str
    body: Mapping[str, Any] = field(default_factory=dict)
    target: Optional[Target] = None
    ext: Mapping[str, Any] = field(default_factory=dict)


class Client:
    """A client of one server or of the members of a cluster; threads may share it.

    `addresses` are `host:port`. `timeout` is in seconds and holds for everything that a call does:
    connecting, waiting, trying again. `login` makes the conversation of one connection, such as
    `lambda: Scram("app", password)`. Nothing is connected before the first call.
    """

    def __init__(
        self,
        *addresses: str,
        timeout: float = 5.0,
        app: str = "",
        cluster: Optional[str] = None,
        login: Optional[Callable[[], mechanisms.Mechanism]] = None,
    ) -> None:
        self.timeout = timeout
        self._addresses = [parse_address(one) for one in addresses or ("127.0.0.1:7400",)]
        self._login = login
        self._hello = hello(app, cluster)
        self._connection: Optional[Connection] = None
        self._connecting = threading.Lock()
        self._idem = itertools.count(1)
        self._closed = False

    @classmethod
    def from_url(cls, text: Optional[str] = None) -> "Client":
        """Where and how a URL says, or ISOGRID_URL; see isogrid/url.py. Raises ValueError."""
        told = url.of_environment() if text is None else url.parse(text)
        who = told.login
        login = (lambda: mechanisms.Scram(*who)) if who is not None else None
        return cls(*told.addresses, login=login, **told.options)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection. What is under way has an unknown outcome."""
        with self._connecting:
            self._closed = True
            if self._connection is not None:
                self._connection.close()

    # Objects.

    def cache(self, name: str, options: Optional[Mapping[str, Any]] = None) -> Cache:
        """The cache of this name. With `options`, even empty ones, it is made if it is not there;
        if it is there with other options that is Failed (OBJECT_EXISTS)."""
        return Cache(self, self._target("CACHE", name, options))

    def counters(
        self, name: str = "default", options: Optional[Mapping[str, Any]] = None
    ) -> Counters:
        """The space of counters of this name; `options` as for `cache`."""
        return Counters(self, self._target("COUNTERS", name, options))

    def locks(self, name: str = "default", options: Optional[Mapping[str, Any]] = None) -> Locks:
        """The space of locks of this name; `options` as for `cache`."""
        return Locks(self, self._target("LOCKS", name, options))

    def queue(self, name: str, options: Optional[Mapping[str, Any]] = None) -> Queue:
        """The queue of this name; `options` as for `cache`."""
        return Queue(self, self._target("QUEUE", name, options))

    def topic(self, name: str, options: Optional[Mapping[str, Any]] = None) -> Topic:
        """The topic of this name; `options` as for `cache`."""
        return Topic(self, name, self._target("TOPIC", name, options))

    def sessions(self, name: str = "default") -> Sessions:
        """The space of web sessions of this name; it is there as soon as somebody names it."""
        return Sessions(self, self._target("SESSIONS", name, None))

    def create(
        self, kind: str, name: str, options: Mapping[str, Any], only_new: bool = False
    ) -> bool:
        """Makes an object, or opens it. Whether this call made it."""
        mode = "CREATE_NEW" if only_new else "OPEN_OR_CREATE"
        body = {"kind": kind, "name": name, "mode": mode, "options": json.dumps(dict(options))}
        return bool(self.call("catalog.CREATE", body).result["created"])

    def drop(self, kind: str, name: str) -> bool:
        """Drops an object with all that is in it. Whether it was there."""
        return self.call("catalog.DROP", {"kind": kind, "name": name}).status == "OK"

    def objects(self, kind: str = "ANY", glob: str = "") -> list[dict[str, Any]]:
        """The objects that there are: `kind`, `name` and `id` of each."""
        told = self.call("catalog.LIST", {"kind": kind, "glob": glob}).result["objects"]
        return list(json.loads(told)["objects"])

    # The server.

    def ping(self) -> None:
        """Asks for a sign of life."""
        self.call("conn.PING")

    def info(self) -> dict[str, Any]:
        """The server, its cluster, how long it runs."""
        return dict(json.loads(self.call("catalog.INFO").result["info"]))

    def health(self) -> dict[str, Any]:
        """Whether the node is live and ready, and why not."""
        return dict(json.loads(self.call("catalog.HEALTH").result["health"]))

    def admin(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Calls a method of the administration, as `/v1/admin/{method}` of HTTP does."""
        body = {"method": method, "arguments": json.dumps(arguments)}
        return dict(json.loads(self.call("admin.CALL", body).result["result"]))

    # Transactions.

    def transaction(self) -> Transaction:
        """A transaction that is kept here and committed at the end of a `with`, all or nothing."""
        return Transaction(self)

    def transact(self, work: Callable[[Transaction], Any], timeout: Optional[float] = None) -> Any:
        """Runs `work` in transactions until one is committed; gives what it returned."""
        return transact(self, work, self.timeout if timeout is None else timeout)

    def execute(
        self,
        conditions: Sequence[Condition],
        then: Sequence[Step],
        otherwise: Sequence[Step] = (),
    ) -> Executed:
        """If all conditions hold executes `then`, else `otherwise`, at one moment."""
        return execute(self, conditions, then, otherwise)

    # Requests.

    def call(
        self,
        op: str,
        body: Optional[Mapping[str, Any]] = None,
        target: Optional[Target] = None,
        ext: Optional[Mapping[str, Any]] = None,
        timeout: Optional[float] = None,
    ) -> Message:
        """Any operation of docs/OPERATIONS.md, its fields as there. Raises Failed or Unknown."""
        return self.begin(op, body, target, ext, timeout).wait()

    def begin(
        self,
        op: str,
        body: Optional[Mapping[str, Any]] = None,
        target: Optional[Target] = None,
        ext: Optional[Mapping[str, Any]] = None,
        timeout: Optional[float] = None,
    ) -> "Call":
        """Sends a request and does not wait for the answer, so that many can be under way."""
        request = Request(op, body or {}, target, ext or {})
        return Call(self, request, self.timeout if timeout is None else timeout)

    def connection(self, until: float) -> Connection:
        """A connection that takes requests. Raises OSError, or Failed if the server refuses us."""
        if not self._connecting.acquire(timeout=max(until - time.monotonic(), 0)):
            raise ConnectionError("another thread is still connecting")
        try:
            if self._closed:
                raise Failed(CODES["CANCELLED"], "this client is closed", "NEVER")
            if self._connection is None or not self._connection.usable:
                self._connection = self._connect(until)
            return self._connection
        finally:
            self._connecting.release()

    def leave(self, connection: Connection) -> None:
        """Takes the next member for new requests, if there is another one."""
        with self._connecting:
            if connection is self._connection and len(self._addresses) > 1:
                self._addresses.append(self._addresses.pop(0))
                connection.leave()

    def limit(self, name: str) -> int:
        """A limit of WELCOME, such as `max_keys`; the protocol's own before there is one."""
        connection = self._connection
        return (connection.limits if connection else DEFAULT_LIMITS)[name]

    def next_idem(self) -> int:
        """A number that this instance has not used before."""
        return next(self._idem)

    def resolve(self, connection: Connection, target: Target, until: float) -> int:
        """The number of an object."""
        known = connection.objects.get(target)
        if known is not None:
            return known
        body = {"kind": target.kind, "name": target.name, "create": False}
        message = Message("REQ", op="catalog.RESOLVE", body=body, timeout_ms=_millis(until))
        reply = Reply()
        connection.send(message, reply)
        answer = reply.wait(until - time.monotonic())
        if answer.status != "OK":
            raise Failed.named("NO_SUCH_OBJECT", f"there is no {target}")
        connection.objects[target] = answer.result["id"]
        return int(answer.result["id"])

    def _target(self, kind: str, name: str, options: Optional[Mapping[str, Any]]) -> Target:
        if options is not None:
            self.create(kind, name, options)
        return Target(kind, name)

    def _connect(self, until: float) -> Connection:
        error: Optional[OSError] = None
        for _ in range(len(self._addresses)):
            seconds = min(until - time.monotonic(), CONNECT_SECONDS)
            if seconds <= 0:
                break
            try:
                login = self._login() if self._login else None
                made = Connection(self._addresses[0], self._hello, seconds, login)
            except OSError as one:
                error = one
                self._addresses.append(self._addresses.pop(0))
                continue
            self._learn(made)
            return made
        raise error or ConnectionError("no time is left to connect")

    def _learn(self, connection: Connection) -> None:
        for endpoint in connection.greeting.welcome.get("endpoints", []):
            address = parse_address(endpoint)
            if address not in self._addresses:
                self._addresses.append(address)


class Call:
    """A request that is under way, through all its attempts."""

    def __init__(self, client: Client, request: Request, seconds: float) -> None:
        self._client, self._request = client, request
        self._until = time.monotonic() + seconds
        repeat = repeat_of(request.op, OPERATIONS[request.op].repeat, request.body)
        self._ext = dict(request.ext)
        if wants_idem(request.op, repeat):
            self._ext.setdefault("idem", client.next_idem())
        self._attempts = Attempts(request.op, repeat, "idem" in self._ext)
        self._resolved_anew = False
        self._sent: Optional[tuple[Connection, int, Reply]] = None
        self._error: Optional[IsogridError] = None
        self._attempt()

    def wait(self) -> Message:
        """The answer. Raises Failed or Unknown."""
        while True:
            error = self._error
            if error is None:
                try:
                    return self._answer()
                except IsogridError as one:
                    error = one
            pause = self._pause(error)
            if pause is None or time.monotonic() + pause >= self._until:
                raise self._attempts.verdict(error) from None
            time.sleep(pause)
            self._attempt()

    def _attempt(self) -> None:
        self._error = self._sent = None
        try:
            self._sent = self._send()
        except Malformed as error:
            self._error = Failed.named(error.code, str(error))
        except OSError as error:
            address = "no member can be reached"
            self._error = Failed(CODES["NOT_READY"], f"{address}: {error}", "SAME")
        except Unknown as error:
            # Of RESOLVE, which changes nothing: the request itself was not sent.
            self._error = Failed(error.code, error.message, "SAME")
        except IsogridError as error:
            self._error = error

    def _send(self) -> tuple[Connection, int, Reply]:
        client, request = self._client, self._request
        connection = client.connection(self._until)

        def number(target: Target) -> int:
            return client.resolve(connection, target, self._until)

        message = Message(
            "REQ",
            op=request.op,
            body=with_numbers(request.body, number),
            object=number(request.target) if request.target else 0,
            ext=with_numbers(self._ext, number) or None,
        )
        message.timeout_ms = _millis(self._until)
        reply = Reply()
        return connection, connection.send(message, reply), reply

    def _answer(self) -> Message:
        assert self._sent is not None
        connection, stream, reply = self._sent
        answer = None
        try:
            answer = reply.wait(self._until + GRACE_SECONDS - time.monotonic())
        finally:
            if answer is None and not reply.is_done():
                connection.control("CANCEL", stream)
        return answer

    def _pause(self, error: IsogridError) -> Optional[float]:
        if error.name == "NO_SUCH_OBJECT" and self._sent and not self._resolved_anew:
            self._resolved_anew = True
            self._sent[0].objects.clear()
            return 0.0
        if error.retry == "OTHER" and self._sent:
            self._client.leave(self._sent[0])
        return self._attempts.pause_after(error)


def hello(app: str, cluster: Optional[str]) -> dict[str, Any]:
    """The HELLO of this process; the UUID in it is the one that `idem` numbers belong to."""
    client = {
        "name": "isogrid-py",
        "version": VERSION,
        "lang": "python",
        "instance": str(uuid.uuid4()),
        "app": app or f"python:{os.getpid()}",
    }
    said: dict[str, Any] = {"client": client, "level": "basic"}
    if cluster is not None:
        said["cluster"] = cluster
    return said


def parse_address(text: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port`; the port is 7400 if there is none."""
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text, "7400"
    return host.strip("[]"), int(port)


def _millis(until: float) -> int:
    return max(1, min(int((until - time.monotonic()) * 1000), 0xFFFF_FFFF))
