"""python-binary-memcached over the binary protocol."""
import sys
import time

import bmemcached

client = bmemcached.Client((f"127.0.0.1:{sys.argv[1]}",), socket_timeout=10)

assert client.set("greeting", "hello") is True
assert client.get("greeting") == "hello"
assert client.get("none") is None
assert client.set("object", {"a": [1, 2, 3], "b": None}) and client.get("object")["a"] == [1, 2, 3]
assert client.set("number", 17) and client.get("number") == 17
assert client.set("compressed", "x" * 100_000) and client.get("compressed") == "x" * 100_000

assert client.add("greeting", "x") is False and client.add("new", "x") is True
assert client.replace("none", "x") is False and client.replace("new", "y") is True

value, cas = client.gets("new")
assert value == "y" and cas
assert client.cas("new", "z", cas) is True
assert client.cas("new", "lost", cas) is False
assert client.get("new") == "z"

assert client.incr("counter", 5, default=10) == 10
assert client.incr("counter", 5) == 15
assert client.decr("counter", 100) == 0

assert client.set_multi({f"key:{i}": str(i) for i in range(300)}) == []
there = client.get_multi([f"key:{i}" for i in range(300)] + ["none"])
assert len(there) == 300 and there["key:7"] == "7"
assert client.delete_multi(["key:1", "key:2"])
assert client.get_multi(["key:1", "key:2", "key:3"]) == {"key:3": "3"}

assert client.set("short", "1", time=1)
time.sleep(1.2)
assert client.get("short") is None
assert client.delete("new") and client.get("new") is None

stats = client.stats()[f"127.0.0.1:{sys.argv[1]}"]
assert int(stats["curr_items"]) > 200, stats
assert client.flush_all() is True
assert client.get("greeting") is None
client.disconnect_all()
