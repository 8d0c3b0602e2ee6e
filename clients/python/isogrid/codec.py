"""Values to bytes and back, by the types of docs/PROTOCOL.md section 1 and docs/OPERATIONS.md.

A type is named as in the tables: `u32`, `list<key>`, `opt<entry>`, `ReadItem`. In Python a record
is a dict by field, options are a dict by bit (the operand, or True), a choice is its name, an
`opt` is None or the value, `json` is its text.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Optional

from . import tables

Limits = Mapping[str, int]

DEFAULT_LIMITS: Limits = tables.LIMITS


class Malformed(Exception):
    """Bytes that break the protocol, or a value that has no bytes. `code` is the error's name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


def bad(message: str) -> Malformed:
    return Malformed("BAD_ENCODING", message)


class Reader:
    """A place in bytes that were received."""

    __slots__ = ("data", "at", "limits")

    def __init__(self, data: bytes, limits: Limits = DEFAULT_LIMITS) -> None:
        self.data, self.at, self.limits = data, 0, limits

    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        if count > self.left():
            raise bad(f"{count} bytes are wanted where {self.left()} are left")
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    raise bad("a varint has more than 64 bits")
                return value
        raise bad("a varint has more than 10 bytes")

    def done(self) -> None:
        if self.left():
            raise bad(f"{self.left()} bytes too many")


def varint(value: int) -> bytes:
    if not 0 <= value < 1 << 64:
        raise Malformed("OUT_OF_RANGE", f"{value} is not within 64 bits")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Type:
    """How values of a type are read and written."""

    least = 1
    """The fewest bytes that a value has."""

    def write(self, out: bytearray, value: Any, limits: Limits) -> None:
        raise NotImplementedError

    def read(self, reader: Reader) -> Any:
        raise NotImplementedError


class Fixed(Type):
    def __init__(self, layout: str) -> None:
        self.layout = struct.Struct(">" + layout)
        self.least = self.layout.size

    def write(self, out: bytearray, value: Any, limits: Limits) -> None:
        try:
            out += self.layout.pack(value)
        except struct.error as error:
            raise Malformed("OUT_OF_RANGE", f"{value!r}: {error}") from None

    def read(self, reader: Reader) -> int:
        return int(self.layout.unpack(reader.take(self.least))[0])


class Bool(Type):
    def write(self, out: bytearray, value: Any, limits: Limits) -> None:
        out.append(1 if value else 0)

    def read(self, reader: Reader) -> bool:
        byte = reader.take(1)[0]
        if byte > 1:
            raise bad(f"a bool is {byte}")
        return byte == 1


class Varint(Type):
    def write(self, out: bytearray, value: Any, limits: Limits) -> None:
        out += varint(value)

    def read(self, reader: Reader) -> int:
        return reader.varint()


class Bytes(Type):
    """`bytes`, and those that have a limit of their own: `key` and `value`."""

    def __init__(self, fewest: int = 0, limit: str = "", too_large: str = "") -> None:
        self.fewest, self.limit, self.too_large = fewest, limit, too_large
        self.least = 1 + fewest

    def check(self, length: int, limits: Limits) -> None:
        if length < self.fewest:
            raise Malformed("INVALID_ARGUMENT", "a key has no bytes")
        if self.limit and length > limits[self.limit]:
            raise Malformed(self.too_large, f"{length} bytes, at most {limits[self.limit]}")

    def write(self, out: bytearray, value: Any, limits: Limits) -> None:
        self.check(len(value), limits)
        out += varint(len(value))
        out += value

    def read(self, reader: Reader) -> bytes:
        length = reader.varint()
        self.check(length, reader.limits)
        return reader.take(length)


class Str(Type):
    def write(self, out: bytearray, value: Any, limits: Limits) -> None:
        encoded = value.encode("utf-8")
        out += varint(len(encoded))
        out += encoded

    def read(self, reader: Reader) -> str:
        try:
            return reader.take(reader.varint()).decode("utf-8")
        except UnicodeDecodeError:
            raise bad("a str is not UTF-8") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _depth(text: str) -> int:
    """How deep arrays and objects are nested, found without recursion."""
    depth = deepest = 0
    in_string = escaped = False
    for char in text:
        if in_string:
            in_string = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            in_string = True
        elif char in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "}]":
            depth -= 1
    return deepest


class Json(Str):
    """The text of one JSON object."""

    least = 3

    def check(self, text: str, limits: Limits) -> str:
        if len(text.encode("utf-8")) > limits["json_len"] or _depth(text) > limits["json_depth"]:
            raise bad("a json is too long or nested too deep")
        try:
            parsed = json.loads(text, parse_constant=_no_constant)
        except ValueError as error:
            raise bad(f"a json is not JSON: {error}") from None
        if not isinstance(parsed, dict):
            raise bad("a json is not an object")
        return text

    def write(self, out: bytearray, value: Any, limits: Limits) -> None:
        super().write(out, self.check(value, limits), limits)

    def read(self, reader: Reader) -> str:
        return self.check(super().read(reader), reader.limits)


class ListOf(Type):
    def __init__(self, item: Type) -> None:
        self.item = item

    def write(self, out: bytearray, value: Any, limits: Limits) -> None:
        out += varint(len(value))
        for item in value:
            self.item.write(out, item, limits)

    def read(self, reader: Reader) -> list[Any]:
        count = reader.varint()
        if count * self.item.least > reader.left():
            raise bad(f"a list of {count} items in {reader.left()} bytes")
        return [self.item.read(reader) for _ in range(count)]


class Opt(Type):
    def __init__(self, item: Type) -> None:
        self.item = item

    def write(self, out: bytearray, value: Any, limits: Limits) -> None:
        out.append(0 if value is None else 1)
        if value is not None:
            self.item.write(out, value, limits)

    def read(self, reader: Reader) -> Any:
        return self.item.read(reader) if BOOL.read(reader) else None


class Record(Type):
    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self.fields = [(name, type_of(spelled)) for name, spelled in fields]
        self.least = sum(kind.least for _, kind in self.fields)

    def write(self, out: bytearray, value: Mapping[str, Any], limits: Limits) -> None:
        unknown = set(value) - {name for name, _ in self.fields}
        if unknown:
            raise KeyError(f"no fields {sorted(unknown)}")
        for name, kind in self.fields:
            kind.write(out, value[name], limits)

    def read(self, reader: Reader) -> dict[str, Any]:
        return {name: kind.read(reader) for name, kind in self.fields}


class Choice(Type):
    def __init__(self, choices: Sequence[tuple[int, str]]) -> None:
        self.names = dict(choices)
        self.numbers = {name: number for number, name in choices}

    def write(self, out: bytearray, value: Any, limits: Limits) -> None:
        out.append(self.numbers[value])

    def read(self, reader: Reader) -> str:
        number = reader.take(1)[0]
        if number not in self.names:
            raise bad(f"no choice has the number {number}")
        return self.names[number]


class Options(Type):
    """A set of bits, then the operands of those that have one, in the order of the table."""

    def __init__(
        self, width: int, is_open: bool, bits: Sequence[tuple[int, str, Optional[str]]]
    ) -> None:
        self.least, self.is_open = width, is_open
        self.bits = [(bit, name, type_of(kind) if kind else None) for bit, name, kind in bits]

    def write(self, out: bytearray, value: Mapping[str, Any], limits: Limits) -> None:
        unknown = set(value) - {name for _, name, _ in self.bits}
        if unknown:
            raise KeyError(f"no options {sorted(unknown)}")
        given = [(bit, value[name], kind) for bit, name, kind in self.bits if name in value]
        out += sum(bit for bit, _, _ in given).to_bytes(self.least, "big")
        for _, operand, kind in given:
            if kind is not None:
                kind.write(out, operand, limits)

    def read(self, reader: Reader) -> dict[str, Any]:
        mask = int.from_bytes(reader.take(self.least), "big")
        if mask & ~sum(bit for bit, _, _ in self.bits) and not self.is_open:
            raise bad(f"unknown options in {mask:#x}")
        set_bits = [(name, kind) for bit, name, kind in self.bits if mask & bit]
        return {name: kind.read(reader) if kind else True for name, kind in set_bits}


BOOL = Bool()

PRIMITIVES: dict[str, Type] = {
    "u8": Fixed("B"),
    "u16": Fixed("H"),
    "u32": Fixed("I"),
    "u64": Fixed("Q"),
    "i64": Fixed("q"),
    "bool": BOOL,
    "varint": Varint(),
    "ms": Varint(),
    "bytes": Bytes(),
    "key": Bytes(1, "max_key", "KEY_TOO_LARGE"),
    "value": Bytes(0, "max_value", "VALUE_TOO_LARGE"),
    "str": Str(),
    "json": Json(),
}


@lru_cache(maxsize=None)
def type_of(spelled: str) -> Type:
    """The type of a name in the tables."""
    if spelled in PRIMITIVES:
        return PRIMITIVES[spelled]
    if spelled.startswith("list<"):
        return ListOf(type_of(spelled[5:-1]))
    if spelled.startswith("opt<"):
        return Opt(type_of(spelled[4:-1]))
    kind, *rest = tables.TYPES[spelled]
    made: Type = {"record": Record, "choice": Choice, "options": Options}[kind](*rest)
    return made


@lru_cache(maxsize=None)
def record(fields: tuple[tuple[str, str], ...]) -> Record:
    """A record without a name: the fields of a request or an answer."""
    return Record(fields)
