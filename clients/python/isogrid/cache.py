"""Caches: keys and values with versions and lifetimes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Optional, Union

from .errors import Failed, Unknown
from .target import Target

if TYPE_CHECKING:
    from .client import Client
    from .locks import Held
    from .streams import Listener

Data = Union[bytes, str]

READ_ALL = {"VALUE": True, "VERSION": True, "FLAGS": True, "TTL": True, "IDLE": True}


def octets(data: Data) -> bytes:
    """Text is UTF-8."""
    return data.encode("utf-8") if isinstance(data, str) else data


@dataclass(frozen=True)
class Entry:
    """An entry, or those parts of it that were asked for. Times are in seconds; 0 is for ever."""

    key: bytes = b""
    value: bytes = b""
    version: int = 0
    flags: int = 0
    ttl: float = 0.0
    idle: float = 0.0

    @staticmethod
    def of(parts: Mapping[str, Any], key: bytes = b"") -> "Entry":
        return Entry(
            parts.get("KEY", key),
            parts.get("VALUE", b""),
            parts.get("VERSION", 0),
            parts.get("FLAGS", 0),
            parts.get("TTL", 0) / 1000,
            parts.get("IDLE", 0) / 1000,
        )


@dataclass(frozen=True)
class Fields:
    """Fields of an entry that is a map: values and the versions of the entry that last changed
    them, by name."""

    version: int
    values: dict[str, bytes]
    versions: dict[str, int]


@dataclass(frozen=True)
class Updated:
    """What became of a change of fields: whether it was done, the version that is there now, and
    the fields that others had changed since the version that was named."""

    done: bool
    version: int
    conflicts: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.done


@dataclass(frozen=True)
class Written:
    """What became of a write: whether it was done, and the version that is there now (0: none)."""

    done: bool
    version: int

    def __bool__(self) -> bool:
        return self.done


def write_options(
    ttl: Optional[float] = None,
    idle: Optional[float] = None,
    flags: Optional[int] = None,
    expect: Optional[int] = None,
    **bits: bool,
) -> dict[str, Any]:
    """The type `wo`. Seconds; without `ttl` and `idle` the cache's own apply, 0 is for ever."""
    options: dict[str, Any] = {}
    if ttl is not None:
        options["TTL"] = round(ttl * 1000)
    if idle is not None:
        options["IDLE"] = round(idle * 1000)
    if flags is not None:
        options["FLAGS"] = flags
    if expect is not None:
        options["EXPECT"] = expect
    options.update({name.upper(): True for name, given in bits.items() if given})
    return options


class Cache:
    """A cache of the server. Keys and values are bytes, or text, which is UTF-8."""

    def __init__(self, client: "Client", target: Target) -> None:
        self._client, self.target = client, target

    # One key.

    def get(self, key: Data) -> Optional[bytes]:
        """The value, or None."""
        found = self._get(key, {"VALUE": True})
        return None if found is None else found.value

    def entry(self, key: Data, touch: bool = True) -> Optional[Entry]:
        """The entry with version, flags and lifetimes, or None. Without `touch` the read does not
        count: neither for eviction nor for idleness."""
        return self._get(key, READ_ALL if touch else {**READ_ALL, "NO_TOUCH": True})

    def put(
        self,
        key: Data,
        value: Data,
        ttl: Optional[float] = None,
        idle: Optional[float] = None,
        flags: Optional[int] = None,
        fence: "Optional[Held]" = None,
    ) -> int:
        """Writes, and gives the version. With `fence` only while that lock is still ours."""
        return self._put(key, value, write_options(ttl, idle, flags), fence).version

    def add(self, key: Data, value: Data, ttl: Optional[float] = None) -> Written:
        """Writes if there is no such entry."""
        return self._put(key, value, write_options(ttl, if_absent=True))

    def replace(self, key: Data, value: Data, ttl: Optional[float] = None) -> Written:
        """Writes if there is such an entry."""
        return self._put(key, value, write_options(ttl, if_present=True))

    def put_if(self, key: Data, value: Data, version: int, ttl: Optional[float] = None) -> Written:
        """Writes if the entry has this version; 0: if there is none."""
        return self._put(key, value, write_options(ttl, expect=version))

    def get_and_put(self, key: Data, value: Data, ttl: Optional[float] = None) -> Optional[bytes]:
        """Writes, and gives the value that was there before."""
        body = self._body(key, write_options(ttl, return_prev=True), value=octets(value))
        prev = self._client.call("cache.PUT", body, self.target).result["prev"]
        return None if prev is None else Entry.of(prev).value

    def remove(self, key: Data, fence: "Optional[Held]" = None) -> bool:
        """Removes. Whether it was there."""
        body = self._body(key, {})
        return self._client.call("cache.REMOVE", body, self.target, _fence(fence)).status == "OK"

    def remove_if(self, key: Data, version: int) -> bool:
        """Removes the entry if it has this version."""
        body = self._body(key, write_options(expect=version))
        return self._client.call("cache.REMOVE", body, self.target).status == "OK"

    def touch(self, key: Data, ttl: Optional[float] = None, idle: Optional[float] = None) -> bool:
        """Gives new lifetimes. Whether it is there."""
        body = self._body(key, write_options(ttl, idle))
        return self._client.call("cache.TOUCH", body, self.target).status == "OK"

    def get_and_touch(self, key: Data, ttl: Optional[float] = None) -> Optional[bytes]:
        """The value, with a new lifetime."""
        body = self._body(key, write_options(ttl), read={"VALUE": True})
        answer = self._client.call("cache.GET_TOUCH", body, self.target)
        return Entry.of(answer.result["entry"]).value if answer.status == "OK" else None

    def incr(self, key: Data, delta: int = 1, initial: Optional[int] = None) -> Optional[int]:
        """Counts with an entry that holds a decimal number; below 0 it stays at 0. None if there is
        no such entry and no `initial`."""
        body = self._body(key, {}, delta=delta, initial=initial)
        answer = self._client.call("cache.INCR", body, self.target)
        return int(answer.result["value"]) if answer.status == "OK" else None

    def append(self, key: Data, value: Data) -> bool:
        """Puts bytes behind the value. Whether there is such an entry."""
        body = self._body(key, {}, value=octets(value))
        return self._client.call("cache.APPEND", body, self.target).status == "OK"

    def prepend(self, key: Data, value: Data) -> bool:
        """Puts bytes before the value. Whether there is such an entry."""
        body = self._body(key, {}, value=octets(value))
        return self._client.call("cache.PREPEND", body, self.target).status == "OK"

    # One key whose value is a map.

    def map_get(self, key: Data, fields: Iterable[str] = ()) -> Optional[Fields]:
        """These fields, or all of them; None if there is no such entry."""
        body = {"key": octets(key), "fields": list(fields), "read": {}}
        answer = self._client.call("cache.MAP_GET", body, self.target)
        if answer.status != "OK":
            return None
        found = answer.result["fields"]
        values = {field["name"]: field["value"] for field in found}
        versions = {field["name"]: field["version"] for field in found}
        return Fields(answer.result["version"], values, versions)

    def map_update(
        self,
        key: Data,
        set: Mapping[str, Data] = MappingProxyType({}),
        add: Mapping[str, int] = MappingProxyType({}),
        remove: Iterable[str] = (),
        mode: str = "MERGE",
        version: Optional[int] = None,
        ttl: Optional[float] = None,
    ) -> Updated:
        """Changes fields, all of it or nothing; the entry is made if it is not there. What others
        have changed since `version` is told and written over; with the mode STRICT nothing is done
        then. REPLACE drops the fields that are not named."""
        changes = [{"name": n, "op": "SET", "value": octets(v)} for n, v in set.items()]
        for name, delta in add.items():
            value = delta.to_bytes(8, "big", signed=True)
            changes.append({"name": name, "op": "ADD", "value": value})
        write = write_options(ttl, expect=version)
        body = self._body(key, write, mode=mode, changes=changes, removals=list(remove))
        answer = self._client.call("cache.MAP_UPDATE", body, self.target)
        conflicts = tuple(answer.result.get("conflicts", ()))
        return Updated(answer.status == "OK", answer.result["version"], conflicts)

    # Many keys: as many requests as it takes, all under way at once.

    def get_many(self, keys: Iterable[Data]) -> dict[bytes, bytes]:
        """The values of those keys that are there."""
        found: dict[bytes, bytes] = {}
        asked = [octets(key) for key in keys]
        parts = list(self._chunks(asked))
        read = {"VALUE": True}
        answers = self._many("cache.GET_MANY", [{"keys": p, "read": read} for p in parts])
        for part, answer in zip(parts, answers):
            for key, item in zip(part, answer["entries"]):
                if item["status"] == "OK":
                    found[key] = item["entry"]["VALUE"]
        return found

    def put_many(self, entries: Mapping[Any, Data], ttl: Optional[float] = None) -> None:
        """Writes all of them, each on its own."""
        pairs = [{"key": octets(k), "value": octets(v)} for k, v in entries.items()]
        write = write_options(ttl)
        bodies = [{"write": write, "entries": part} for part in self._chunks(pairs)]
        self._many("cache.PUT_MANY", bodies)

    def remove_many(self, keys: Iterable[Data]) -> int:
        """Removes all of them, each on its own. How many were there."""
        parts = self._chunks([octets(key) for key in keys])
        answers = self._many("cache.REMOVE_MANY", [{"keys": part, "write": {}} for part in parts])
        return sum(item["status"] == "OK" for answer in answers for item in answer["results"])

    # The whole cache.

    def size(self, exact: bool = False) -> int:
        """How many entries there are; an estimate unless `exact`."""
        answer = self._client.call("cache.SIZE", {"exact": exact}, self.target)
        return int(answer.result["entries"])

    def clear(self, notify: bool = False) -> None:
        """Removes all entries."""
        self._client.call("cache.CLEAR", {"delay_ms": 0, "notify": notify}, self.target)

    def scan(self, glob: Optional[str] = None, values: bool = True) -> Iterator[Entry]:
        """All entries of one moment whose key matches. Survives a lost connection."""
        from .streams import scan

        return scan(self._client, self.target, glob, values)

    def listen(
        self, glob: Optional[str] = None, initial: bool = False, values: bool = True
    ) -> "Listener":
        """Follows changes: iterate over the result, and close it. See `Event`."""
        from .streams import Listener

        return Listener(self._client, self.target, glob, initial, values)

    # Within.

    def _get(self, key: Data, read: dict[str, Any]) -> Optional[Entry]:
        body = {"key": octets(key), "read": read}
        answer = self._client.call("cache.GET", body, self.target)
        if answer.status != "OK":
            return None
        return Entry.of(answer.result["entry"], octets(key))

    def _put(
        self, key: Data, value: Data, write: dict[str, Any], fence: "Optional[Held]" = None
    ) -> Written:
        body = self._body(key, write, value=octets(value))
        answer = self._client.call("cache.PUT", body, self.target, _fence(fence))
        return Written(answer.status == "OK", answer.result["version"])

    @staticmethod
    def _body(key: Data, write: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"key": octets(key), "write": write, **more}

    def _chunks(self, items: list[Any]) -> Iterator[list[Any]]:
        most = self._client.limit("max_keys")
        for at in range(0, len(items), most):
            yield items[at : at + most]

    def _many(self, op: str, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
        calls = [self._client.begin(op, body, self.target) for body in bodies]
        answers = [call.wait().result for call in calls]
        _check([i["status"] for a in answers for i in a.get("entries", a.get("results", []))])
        return answers


def _check(statuses: list[str]) -> None:
    """That each key has an outcome: in a cluster the members that have some may be lost."""
    failed, unknown = statuses.count("FAILED"), statuses.count("UNKNOWN")
    why = f"of the keys {failed} were not done, and {unknown} perhaps"
    if unknown:
        raise Unknown.named("OUTCOME_UNKNOWN", why)
    if failed:
        raise Failed.named("SEGMENT_UNAVAILABLE", why)


def _fence(held: "Optional[Held]") -> Optional[dict[str, Any]]:
    if held is None:
        return None
    if not held.is_held():
        raise Failed.named("LEASE_EXPIRED", f"the lock {held.key!r} is no longer held")
    return {"fence": {"object": held.target, "key": held.key, "token": held.token}}
