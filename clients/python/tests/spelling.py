"""Values as the vectors spell them, by docs/PROTOCOL.md section 10."""

import unicodedata
from typing import Any

from isogrid.codec import Bytes, Choice, ListOf, Opt, Options, Record, Type, Varint, type_of

_NUMBERS_IN_STRINGS = [type_of(name) for name in ("u64", "i64", "varint")]


def spell(kind: Type, value: Any) -> Any:
    """A value of ours as a vector spells it."""
    if kind in _NUMBERS_IN_STRINGS:
        return str(value)
    if isinstance(kind, Bytes):
        return _spell_bytes(value)
    if isinstance(kind, ListOf):
        return [spell(kind.item, item) for item in value]
    if isinstance(kind, Opt):
        return None if value is None else spell(kind.item, value)
    if isinstance(kind, Record):
        return {name: spell(of, value[name]) for name, of in kind.fields}
    if isinstance(kind, Options):
        kinds = {name: of for _, name, of in kind.bits}
        return {n: spell(kinds[n], v) if kinds[n] else True for n, v in value.items()}
    return value


def _spell_bytes(value: bytes) -> Any:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return {"hex": value.hex()}
    control = any(unicodedata.category(char) == "Cc" for char in text)
    return {"hex": value.hex()} if control else text


def read(kind: Type, spelled: Any) -> Any:
    """The other way."""
    if kind in _NUMBERS_IN_STRINGS:
        return int(spelled)
    if isinstance(kind, Bytes):
        is_text = isinstance(spelled, str)
        return spelled.encode("utf-8") if is_text else bytes.fromhex(spelled["hex"])
    if isinstance(kind, ListOf):
        return [read(kind.item, item) for item in spelled]
    if isinstance(kind, Opt):
        return None if spelled is None else read(kind.item, spelled)
    if isinstance(kind, Record):
        assert set(spelled) == {name for name, _ in kind.fields}, spelled
        return {name: read(of, spelled[name]) for name, of in kind.fields}
    if isinstance(kind, Options):
        kinds = {name: of for _, name, of in kind.bits}
        return {n: read(kinds[n], v) if kinds[n] else True for n, v in spelled.items()}
    assert isinstance(kind, (Choice, Varint)) or not isinstance(spelled, dict), (kind, spelled)
    return spelled
