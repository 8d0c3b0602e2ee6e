"""pymemcache over the text protocol, as an application uses it."""
import sys
import time

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheClientError, MemcacheIllegalInputError, MemcacheServerError

client = Client(("127.0.0.1", int(sys.argv[1])), timeout=10)

assert client.set("greeting", "hello", noreply=False) is True
assert client.get("greeting") == b"hello"
assert client.get("none", default=b"?") == b"?"
assert client.set("greeting", b"hi", flags=77, noreply=False)
assert client.raw_command(b"get greeting", end_tokens=b"END\r\n") == b"VALUE greeting 77 2\r\nhi\r\n"

assert client.add("once", "1", noreply=False) is True
assert client.add("once", "2", noreply=False) is False
assert client.replace("twice", "1", noreply=False) is False
assert client.append("once", "x", noreply=False) and client.prepend("once", "y", noreply=False)
assert client.get("once") == b"y1x"

value, cas = client.gets("greeting")
assert value == b"hi"
assert client.cas("greeting", "won", cas, noreply=False) is True
assert client.cas("greeting", "lost", cas, noreply=False) is False
assert client.cas("none", "lost", cas, noreply=False) is None

client.set("n", "10", noreply=False)
assert client.incr("n", 5) == 15 and client.decr("n", 100) == 0
assert client.incr("none", 1) is None
try:
    client.incr("greeting", 1)
    raise AssertionError("incr of text")
except MemcacheClientError as error:
    assert "cannot increment or decrement non-numeric value" in str(error)

many = {f"key:{i}": f"value {i}" * (i % 7) for i in range(500)}
assert client.set_many(many, noreply=False) == []
there = client.get_many(list(many) + ["none"])
assert there == {key: value.encode() for key, value in many.items()}
assert len(client.gets_many(["key:1", "key:2", "none"])) == 2
assert client.delete_many(["key:1", "key:2"], noreply=False)
assert client.get_many(["key:1", "key:2", "key:3"]).keys() == {"key:3"}

client.set("quiet", "1")
client.append("quiet", "2", noreply=True)
client.delete("none", noreply=True)
assert client.get("quiet") == b"12", "noreply keeps the stream in step"

assert client.set("short", "1", expire=1, noreply=False)
assert client.touch("quiet", expire=100, noreply=False) is True
assert client.touch("none", expire=100, noreply=False) is False
time.sleep(1.2)
assert client.get("short") is None
assert client.set("gone", "1", expire=-1, noreply=False) and client.get("gone") is None
assert client.set("far", "1", expire=int(time.time()) + 1000, noreply=False)
assert client.get("far") == b"1"

try:
    client.set("big", b"x" * 2_000_000, noreply=False)
    raise AssertionError("a value of 2 MB")
except MemcacheServerError as error:
    assert "object too large for cache" in str(error)
assert client.set("large", b"x" * 1_000_000, noreply=False)
assert client.get("large") == b"x" * 1_000_000
try:
    client.get("k" * 251)
    raise AssertionError("a key of 251 bytes")
except MemcacheIllegalInputError:
    pass

stats = client.stats()
assert stats[b"curr_items"] > 400 and stats[b"pid"] > 0 and stats[b"threads"] >= 1, stats
assert isinstance(stats[b"rusage_user"], float)
settings = client.stats("settings")
assert settings[b"item_size_max"] == 1048576 and settings[b"cas_enabled"] == b"yes", settings
assert client.version().startswith(b"1.6.")
assert client.flush_all(noreply=False) is True
assert client.get("far") is None
client.quit()
