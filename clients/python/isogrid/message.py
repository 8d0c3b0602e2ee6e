"""Messages: what whole frames mean. docs/PROTOCOL.md section 3, docs/OPERATIONS.md."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from . import tables
from .codec import (
    DEFAULT_LIMITS,
    Limits,
    Malformed,
    Reader,
    Record,
    Type,
    bad,
    record,
    type_of,
    varint,
)
from .frame import EXT, MESSAGES, NO_REPLY, Frame

Fields = tuple[tuple[str, str], ...]

_STATUS = type_of("Status")
_U32 = type_of("u32")


@dataclass(frozen=True)
class Operation:
    """What is declared of an operation."""

    name: str
    code: int
    repeat: str
    request: Record
    replies: Mapping[str, Record]
    item: Optional[Type]
    trailer: Optional[Type]

    @staticmethod
    def declared(name: str, told: Mapping[str, Any]) -> "Operation":
        return Operation(
            name,
            told["code"],
            told["repeat"],
            record(told["request"]),
            {status: record(fields) for status, fields in told["replies"].items()},
            type_of(told["item"]) if told["item"] else None,
            type_of(told["trailer"]) if told["trailer"] else None,
        )


OPERATIONS = {name: Operation.declared(name, told) for name, told in tables.OPERATIONS.items()}
BY_CODE = {operation.code: operation for operation in OPERATIONS.values()}


@dataclass
class Message:
    """A whole message. Which fields it has is a matter of its type.

    `op` is an operation's name, or the number of one that is not known here. `ext` is None when
    there is no block of extensions.
    """

    type: str
    stream: int = 0
    op: Any = 0
    epoch: int = 0
    flags: int = 0
    ext: Optional[dict[str, Any]] = None
    timeout_ms: int = 0
    object: int = 0
    body: dict[str, Any] = field(default_factory=dict)
    status: str = "OK"
    result: dict[str, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)
    trailer: Optional[dict[str, Any]] = None
    payload: Any = field(default_factory=dict)

    @property
    def operation(self) -> Operation:
        if self.op not in OPERATIONS:
            raise Malformed("UNSUPPORTED_OP", f"no operation {self.op}")
        return OPERATIONS[self.op]


def encode(message: Message, limits: Limits = DEFAULT_LIMITS) -> Frame:
    """The message as one frame; `Frame.fragments` cuts it."""
    out = bytearray()
    flags = message.flags
    if message.ext is not None:
        flags |= EXT
        out += _encode_ext(message, limits)
    _ENCODE.get(message.type, _encode_control)(message, out, limits)
    code = OPERATIONS[message.op].code if isinstance(message.op, str) else message.op
    return Frame(message.type, message.stream, bytes(out), code, flags, message.epoch)


def _encode_req(message: Message, out: bytearray, limits: Limits) -> None:
    _U32.write(out, message.timeout_ms, limits)
    _U32.write(out, message.object, limits)
    message.operation.request.write(out, message.body, limits)


def _encode_res(message: Message, out: bytearray, limits: Limits) -> None:
    _STATUS.write(out, message.status, limits)
    message.operation.replies[message.status].write(out, message.result, limits)


def _encode_item(message: Message, out: bytearray, limits: Limits) -> None:
    operation = message.operation
    if operation.item is None:
        raise bad(f"{operation.name} has no items")
    out += varint(len(message.items))
    for item in message.items:
        operation.item.write(out, item, limits)
    if operation.trailer is not None:
        operation.trailer.write(out, message.trailer, limits)


def control_type(kind: str) -> Type:
    declared = tables.FRAMES[kind][1]
    return type_of(declared) if isinstance(declared, str) else record(declared)


def _encode_control(message: Message, out: bytearray, limits: Limits) -> None:
    control_type(message.type).write(out, message.payload, limits)


_ENCODE = {"REQ": _encode_req, "RES": _encode_res, "ITEM": _encode_item}


def decode(frame: Frame, limits: Limits = DEFAULT_LIMITS) -> Message:
    """What a whole frame means. Raises Malformed."""
    reader = Reader(frame.payload, limits)
    op: Any = BY_CODE[frame.op].name if frame.op in BY_CODE else frame.op
    message = Message(frame.type, frame.stream, op, frame.epoch, frame.flags & ~EXT)
    if frame.type == "REQ" and bool(frame.flags & NO_REPLY) != (frame.stream == 0):
        raise Malformed("PROTOCOL_ERROR", "NO_REPLY and stream 0 go together")
    if frame.type in MESSAGES and frame.flags & EXT:
        message.ext = _decode_ext(reader, frame.type)
    _DECODE.get(frame.type, _decode_control)(message, reader)
    if frame.type != "ITEM":
        reader.done()
    return message


def _decode_req(message: Message, reader: Reader) -> None:
    message.timeout_ms = _U32.read(reader)
    message.object = _U32.read(reader)
    message.body = message.operation.request.read(reader)


def _decode_res(message: Message, reader: Reader) -> None:
    message.status = _STATUS.read(reader)
    replies = message.operation.replies
    if message.status not in replies:
        raise bad(f"{message.op} has no status {message.status}")
    message.result = replies[message.status].read(reader)


def _decode_item(message: Message, reader: Reader) -> None:
    operation = message.operation
    if operation.item is None:
        raise bad(f"{operation.name} has no items")
    count = reader.varint()
    if count * operation.item.least > reader.left():
        raise bad(f"{count} items in {reader.left()} bytes")
    message.items = [operation.item.read(reader) for _ in range(count)]
    if operation.trailer is not None:
        message.trailer = operation.trailer.read(reader)


def _decode_control(message: Message, reader: Reader) -> None:
    message.payload = control_type(message.type).read(reader)


_DECODE = {"REQ": _decode_req, "RES": _decode_res, "ITEM": _decode_item}


# A tag of type `bytes` has them without a length: the one of the tag is theirs.


def _encode_ext(message: Message, limits: Limits) -> bytes:
    known = tables.REQUEST_TAGS if message.type == "REQ" else tables.REPLY_TAGS
    assert message.ext is not None
    block = bytearray()
    for tag, (name, kind) in known.items():
        if name not in message.ext:
            continue
        value = bytearray()
        if kind == "bytes":
            value += message.ext[name]
        else:
            type_of(kind).write(value, message.ext[name], limits)
        block.append(tag)
        block += varint(len(value)) + value
    return varint(len(block)) + bytes(block)


def _decode_ext(reader: Reader, frame_type: str) -> dict[str, Any]:
    known = tables.REQUEST_TAGS if frame_type == "REQ" else tables.REPLY_TAGS
    block = Reader(reader.take(reader.varint()), reader.limits)
    found: dict[str, Any] = {}
    seen = set()
    while block.left():
        tag = block.take(1)[0]
        value = Reader(block.take(block.varint()), reader.limits)
        if tag in seen:
            raise bad(f"the extension {tag:#x} stands twice")
        seen.add(tag)
        if tag not in known:
            if tag >= 0x80:
                raise Malformed("UNSUPPORTED_EXT", f"the critical extension {tag:#x}")
            continue
        name, kind = known[tag]
        found[name] = value.data if kind == "bytes" else type_of(kind).read(value)
        if kind != "bytes":
            value.done()
    return found
