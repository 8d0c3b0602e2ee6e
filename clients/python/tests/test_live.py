"""Against a server: ISOGRID_ADDRESS is its native port, e.g. 127.0.0.1:7400."""

import os
import threading
import unittest
import uuid
from typing import Any

from isogrid import Client, Condition, Conflict, Failed, Logged, Lost, Step

ADDRESS = os.environ.get("ISOGRID_ADDRESS", "")


@unittest.skipUnless(ADDRESS, "ISOGRID_ADDRESS does not say where a server is")
class Live(unittest.TestCase):
    def setUp(self) -> None:
        self.client = Client(ADDRESS, timeout=30, app="test_live")
        self.addCleanup(self.client.close)
        self.name = f"py-{uuid.uuid4().hex[:8]}"
        self.cache = self.client.cache(self.name, {})
        self.addCleanup(self.client.drop, "CACHE", self.name)

    def refused(self, name: str, call: Any, *arguments: Any, **more: Any) -> Failed:
        with self.assertRaises(Failed) as caught:
            call(*arguments, **more)
        self.assertEqual(caught.exception.name, name)
        return caught.exception


class Maps(Live):
    def test_fields_are_read_and_changed_by_themselves(self) -> None:
        self.assertIsNone(self.cache.map_get("m"))
        first = self.cache.map_update("m", set={"a": "1", "b": b"\0"}, add={"n": -3})
        read = self.cache.map_get("m")
        assert read is not None
        n = (-3).to_bytes(8, "big", signed=True)
        self.assertEqual(read.values, {"a": b"1", "b": b"\0", "n": n})
        second = self.cache.map_update("m", set={"a": "2"}, remove=["b"])
        read = self.cache.map_get("m", ["a", "b", "n"])
        assert read is not None
        self.assertEqual(read.versions, {"a": second.version, "n": first.version})
        over = self.cache.map_update("m", set={"a": "3"}, version=first.version)
        self.assertEqual((bool(over), over.conflicts), (True, ("a",)))
        late = self.cache.map_update("m", set={"n": ""}, mode="STRICT", version=first.version)
        self.assertEqual((bool(late), late.version), (False, over.version))
        self.cache.put("k", "plain")
        self.refused("WRONG_TYPE", self.cache.map_get, "k")


class Caches(Live):
    def test_a_value_comes_back_with_its_version_flags_and_lifetime(self) -> None:
        self.assertIsNone(self.cache.get("k"))
        version = self.cache.put("k", "grün", ttl=600, flags=7)
        entry = self.cache.entry("k")
        assert entry is not None
        self.assertEqual((entry.value, entry.version), ("grün".encode(), version))
        self.assertEqual(entry.flags, 7)
        self.assertTrue(0 < entry.ttl <= 600, entry)
        self.cache.put("k", b"\0\xff")
        entry = self.cache.entry("k")
        assert entry is not None
        self.assertEqual((entry.value, entry.ttl), (b"\0\xff", 0))
        self.assertGreater(entry.version, version)

    def test_conditions(self) -> None:
        cache = self.cache
        self.assertFalse(cache.replace("k", "0"))
        first = cache.add("k", "1")
        self.assertTrue(first)
        second = cache.add("k", "2")
        self.assertEqual((second.done, second.version), (False, first.version))
        self.assertTrue(cache.replace("k", "3"))
        self.assertFalse(cache.put_if("k", "4", first.version))
        entry = cache.entry("k")
        assert entry is not None
        self.assertTrue(cache.put_if("k", "5", entry.version))
        self.assertFalse(cache.put_if("k", "6", 0))
        self.assertTrue(cache.put_if("new", "7", 0))
        self.assertEqual(cache.get_and_put("k", "8"), b"5")
        self.assertIsNone(cache.get_and_put("other", "9"))
        self.assertFalse(cache.remove_if("k", first.version))
        self.assertTrue(cache.remove("k"))
        self.assertFalse(cache.remove("k"))

    def test_lifetimes(self) -> None:
        cache = self.cache
        self.assertFalse(cache.touch("k", ttl=5))
        self.assertIsNone(cache.get_and_touch("k", ttl=5))
        version = cache.put("k", "v")
        self.assertTrue(cache.touch("k", ttl=500))
        entry = cache.entry("k", touch=False)
        assert entry is not None
        self.assertTrue(0 < entry.ttl <= 500 and entry.version == version, entry)
        self.assertEqual(cache.get_and_touch("k", ttl=0), b"v")
        entry = cache.entry("k")
        assert entry is not None
        self.assertEqual(entry.ttl, 0)

    def test_counting_and_joining(self) -> None:
        cache = self.cache
        self.assertIsNone(cache.incr("n"))
        self.assertEqual(cache.incr("n", initial=40), 40)
        self.assertEqual([cache.incr("n"), cache.incr("n", -2), cache.incr("n", -99)], [41, 39, 0])
        cache.put("n", "x")
        self.refused("NOT_A_NUMBER", cache.incr, "n")
        self.assertFalse(cache.append("none", "y"))
        self.assertTrue(cache.append("n", "y") and cache.prepend("n", "w"))
        self.assertEqual(cache.get("n"), b"wxy")

    def test_many(self) -> None:
        entries = {f"key-{n}": f"value-{n}" for n in range(2500)}
        self.cache.put_many(entries, ttl=600)
        self.assertEqual(self.cache.size(exact=True), 2500)
        found = self.cache.get_many(list(entries) + ["none"])
        self.assertEqual(found, {k.encode(): v.encode() for k, v in entries.items()})
        self.assertEqual(self.cache.remove_many(["key-1", "key-2", "none"]), 2)
        self.cache.clear()
        self.assertEqual(self.cache.size(exact=True), 0)

    def test_a_large_value_in_fragments(self) -> None:
        value = os.urandom(700_000)
        self.cache.put("large", value)
        self.assertEqual(self.cache.get("large"), value)

    def test_pipelining(self) -> None:
        bodies = [{"key": b"k%d" % n, "value": b"%d" % n, "write": {}} for n in range(3000)]
        calls = [self.client.begin("cache.PUT", body, self.cache.target) for body in bodies]
        for call in calls:
            self.assertEqual(call.wait().status, "OK")
        self.assertEqual(self.cache.get("k2999"), b"2999")

    def test_threads_share_a_client(self) -> None:
        def count() -> None:
            for _ in range(100):
                self.cache.incr("n", initial=1)

        threads = [threading.Thread(target=count) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.cache.get("n"), b"800")

    def test_refusals(self) -> None:
        for key in ("", "k" * 2000):
            with self.assertRaises(Failed):
                self.cache.put(key, "v")
        self.cache.put("k", "v")
        self.assertEqual(self.cache.get("k"), b"v")


class Repeats(Live):
    def test_the_same_idem_counts_once(self) -> None:
        idem = {"idem": self.client.next_idem()}
        body = {"key": b"n", "delta": 1, "initial": 0, "write": {}}
        answers = [
            self.client.call("cache.INCR", body, self.cache.target, idem).result for _ in range(3)
        ]
        self.assertEqual(answers, [answers[0]] * 3)
        self.assertEqual(self.cache.incr("n", 0), 0)


class Objects(Live):
    def test_open_or_create(self) -> None:
        options = {"ttl": "10m"}
        other = f"{self.name}-o"
        self.addCleanup(self.client.drop, "CACHE", other)
        self.assertTrue(self.client.create("CACHE", other, options))
        self.assertFalse(self.client.create("CACHE", other, options))
        self.refused("OBJECT_EXISTS", self.client.cache, other, {"ttl": "11m"})
        self.refused("OBJECT_EXISTS", self.client.create, "CACHE", other, options, only_new=True)
        cache = self.client.cache(other, options)
        cache.put("k", "v")
        entry = cache.entry("k")
        assert entry is not None
        self.assertTrue(0 < entry.ttl <= 600, entry)
        names = [one["name"] for one in self.client.objects("CACHE", f"{self.name}*")]
        self.assertEqual(names, sorted([self.name, other]))

    def test_of_callers_at_once_exactly_one_makes_it(self) -> None:
        made = []
        clients = [Client(ADDRESS, timeout=30) for _ in range(8)]
        name = f"{self.name}-race"
        self.addCleanup(self.client.drop, "CACHE", name)

        def create(client: Client) -> None:
            with client:
                made.append(client.create("CACHE", name, {}))

        threads = [threading.Thread(target=create, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((len(made), made.count(True)), (8, 1))

    def test_what_is_not_there_and_what_was_dropped(self) -> None:
        missing = self.client.cache("there-is-no-such-cache")
        self.refused("NO_SUCH_OBJECT", missing.get, "k")
        self.cache.put("k", "v")
        self.assertTrue(self.client.drop("CACHE", self.name))
        self.refused("NO_SUCH_OBJECT", self.cache.get, "k")
        again = self.client.cache(self.name, {})
        self.assertIsNone(again.get("k"))
        self.assertIsNone(self.cache.get("k"))


class Administration(Live):
    def test_the_node_tells_of_itself(self) -> None:
        self.client.ping()
        self.assertEqual(self.client.info()["server"]["name"], "isogrid")
        health = self.client.health()
        self.assertTrue(health["live"] and health["ready"], health)

    def test_a_method_of_the_administration(self) -> None:
        told = self.client.admin("node.info")
        self.assertTrue(told)
        with self.assertRaises(Failed):
            self.client.admin("no.such.method")


class Queues(Live):
    def test_a_message_is_published_once_refused_and_done(self) -> None:
        self.addCleanup(self.client.drop, "QUEUE", self.name)
        jobs = self.client.queue(self.name, {"attempts": 2, "backoff": "0s"})
        first = jobs.publish("resize", headers={"to": "100x100"}, dedup="7")
        self.assertEqual(jobs.publish("resize", dedup="7"), first)
        self.assertGreater(jobs.publish(b"\0now", priority=9), first)
        now, resize = jobs.pull(5)
        self.assertEqual((now.body, resize.body), (b"\0now", b"resize"))
        self.assertEqual(resize.headers, {"to": "100x100"})
        self.assertTrue(now.ack() and resize.extend(60) and resize.refuse("busy"))
        again = next(jobs.consume())
        self.assertEqual((again.id, again.attempt), (first, 2))
        self.assertFalse(resize.ack())
        self.assertTrue(again.refuse(refusal="DEAD_LETTER"))
        (dead,) = jobs.browse("DEAD")
        self.assertEqual((dead.id, dead.attempts, dead.reasons), (first, 2, ["busy", "refused"]))
        self.assertEqual((dead.body, dead.headers, dead.group), (b"resize", {"to": "100x100"}, None))
        self.assertEqual((jobs.stats()["dead"], jobs.redrive()), (1, 1))
        self.assertEqual(jobs.pull(wait=0.01)[0].attempt, 1)
        self.assertEqual((jobs.pull(wait=0.01), jobs.purge()), ([], 0))
        self.refused("INVALID_ARGUMENT", jobs.publish, "x", priority=10)


    def test_who_waits_is_woken_and_browsing_goes_on_over_pages(self) -> None:
        self.addCleanup(self.client.drop, "QUEUE", self.name)
        jobs = self.client.queue(self.name, {})
        later = threading.Timer(0.1, lambda: [jobs.publish(str(n), group="g") for n in range(70)])
        later.start()
        (first,) = jobs.pull(9, wait=10)
        later.join()
        self.assertEqual((first.body, first.attempt), (b"0", 1))
        self.assertEqual([one.state for one in jobs.browse()], ["IN_FLIGHT"] + ["READY"] * 69)
        self.assertEqual([int(one.body) for one in jobs.browse("READY")], list(range(1, 70)))
        self.assertTrue(first.ack())
        self.assertEqual([one.body for one in jobs.pull(64)], [b"1"], "one of a group at a time")
        self.assertEqual(jobs.purge(), 68)


class Topics(Live):
    def test_groups_get_each_message_and_who_reads_does_too(self) -> None:
        self.addCleanup(self.client.drop, "TOPIC", self.name)
        news = self.client.topic(self.name, {"max_len": 3})
        group = news.group("g", options={"attempts": 2})
        reader = news.subscribe()
        first = news.publish("one", headers={"to": "all"}, dedup="1")
        self.assertEqual(news.publish("one", dedup="1"), first)
        one = group.pull(5)
        self.assertEqual([(each.id, each.body) for each in one], [(first, b"one")])
        self.assertTrue(one[0].ack())
        read = next(reader)
        assert isinstance(read, Logged)
        self.assertEqual((read.id, read.body, read.headers), (first, b"one", {"to": "all"}))
        later = threading.Timer(0.1, news.publish, ["two"])
        later.start()
        self.assertEqual([each.body for each in news.read(first + 1, wait=10).messages], [b"two"])
        later.join()
        for body in ("three", "four", "five"):
            news.publish(body)
        self.assertEqual(next(reader), Lost(1))
        read = next(reader)
        assert isinstance(read, Logged)
        self.assertEqual(read.body, b"three")
        self.assertEqual(news.read(first, 1).lost, 2)
        self.assertEqual(len(news.read(f"@{read.published_ms}").messages), 3)
        late = news.group("late", "first")
        self.assertEqual([each.body for each in late.pull(9)], [b"three", b"four", b"five"])
        self.assertEqual((group.stats()["ready"], news.stats()["lost"]), (3, 2))
        self.refused("OUT_OF_RANGE", news.read, news.read("new").next + 1)
        self.assertEqual(news.purge(), 3)


class Sessions(Live):
    def test_two_requests_change_different_attributes_and_a_logout_stays(self) -> None:
        web = self.client.sessions(self.name)
        (a, b) = (os.urandom(16), os.urandom(16))
        self.assertIsNotNone(web.create(a, {"user": "ann"}, lifetime=9000, index=["user:1"]))
        self.assertIsNone(web.create(a))
        first = web.load(a)
        assert first is not None
        self.assertEqual((first.attributes, first.index), ({"user": b"ann"}, ["user:1"]))
        self.assertEqual(first.idle_left, 1800)
        one = web.save(a, {"cart": "1"}, base=first.version, add={"hits": 2})
        two = web.save(a, {"theme": b"\0dark"}, base=first.version, merge={"j": '{"a":1}'})
        assert one is not None and two is not None
        self.assertEqual((one.conflicts, two.conflicts), ([], []))
        three = web.save(a, {"cart": "2"}, delete=["j"], base=first.version, default={"user": "x"})
        assert three is not None
        self.assertEqual(three.conflicts, ["cart", "j"])
        self.assertIsNone(web.save(a, {"cart": "3"}, base=first.version, mode="STRICT"))
        now = web.load(a, names=["cart", "hits"], touch=False)
        assert now is not None
        self.assertEqual(now.attributes, {"cart": b"2", "hits": (2).to_bytes(8, "big")})
        self.assertIsNone(web.load(a, known=now.version))
        self.assertEqual(web.touch(a), 1800)
        self.assertIsNotNone(web.renew(a, b))
        self.refused("SESSION_GONE", web.save, a, {"cart": "4"})
        self.assertTrue(web.index(b, add=["team:7"]))
        self.assertEqual((web.find("team:7"), web.count()), ([b], 1))
        (shown,) = web.list()
        self.assertEqual((int(shown["attributes"]), shown["index"]), (4, ["team:7", "user:1"]))
        self.assertEqual(web.destroy_by("user:1"), 1)
        self.refused("SESSION_GONE", web.save, b, {"cart": "5"})
        self.assertIsNone(web.load(b))
        self.assertFalse(web.destroy(b))


class CountersAndLocks(Live):
    def test_counters(self) -> None:
        counters = self.client.counters()
        a, b, orders = (f"{self.name}-{name}" for name in ("a", "b", "orders"))
        self.assertIsNone(counters.get(a))
        self.assertEqual([counters.add(a), counters.add(a, -5)], [1, -4])
        self.assertEqual((counters.set(a, 10), counters.get(a)), (-4, 10))
        self.assertTrue(counters.cas(a, 10, 11))
        self.assertFalse(counters.cas(a, 10, 12))
        self.assertEqual(counters.add_many({a: 1, b: 2}), {a: 12, b: 2})
        self.assertEqual(counters.reset(a), 0)
        ids = counters.ids(orders, block=10)
        numbers = [next(ids) for _ in range(25)]
        other = counters.ids(orders, block=10)
        numbers += [next(other) for _ in range(25)]
        self.assertEqual(len(set(numbers)), 50)

    def test_locks_and_fences(self) -> None:
        locks, job = self.client.locks(), f"{self.name}-job"
        self.assertIsNone(locks.holder(job))
        first = locks.acquire(job, ttl=30)
        assert first is not None
        self.assertTrue(first.is_held())
        self.cache.put("k", "v1", fence=first)
        with Client(ADDRESS, timeout=30) as other:
            theirs = other.locks()
            self.assertIsNone(theirs.acquire(job))
            holder = theirs.holder(job)
            assert holder is not None
            self.assertEqual(int(holder["fence"]), first.token)
            first.release()
            second = theirs.acquire(job, wait=10)
            assert second is not None
            self.assertGreater(second.token, first.token)
            stale = {"object": first.target, "key": job.encode(), "token": first.token}
            body = {"key": b"k", "value": b"late", "write": {}}
            arguments = ("cache.PUT", body, self.cache.target, {"fence": stale})
            self.refused("FENCED", self.client.call, *arguments)
            second.release()
        self.assertEqual(self.cache.get("k"), b"v1")

    def test_a_waiting_lock_is_given_when_it_is_free(self) -> None:
        locks, job = self.client.locks(), f"{self.name}-job"
        first = locks.acquire(job)
        assert first is not None
        got = []
        waiter = threading.Thread(target=lambda: got.append(locks.acquire(job, wait=60)))
        waiter.start()
        while True:
            holder = locks.holder(job)
            if holder and holder["waiting"]:
                break
        first.release()
        waiter.join()
        (held,) = got
        assert held is not None
        self.assertGreater(held.token, first.token)
        held.release()


class Transactions(Live):
    def test_all_or_nothing(self) -> None:
        cache = self.cache
        cache.put("a", "1")
        with self.assertRaises(Conflict):
            with self.client.transaction() as tx:
                tx.get(cache, "a")
                cache.put("a", "2")
                tx.put(cache, "b", "late")
        self.assertIsNone(cache.get("b"))
        with self.client.transaction() as tx:
            self.assertEqual(tx.get(cache, "a"), b"2")
            self.assertIsNone(tx.get(cache, "b"))
            tx.put(cache, "b", "3")
            tx.remove(cache, "a")
        self.assertEqual((cache.get("a"), cache.get("b")), (None, b"3"))

    def test_no_update_is_lost(self) -> None:
        self.cache.put("n", "0")

        def work(tx: Any) -> None:
            tx.put(self.cache, "n", str(int(tx.get(self.cache, "n")) + 1))

        def run() -> None:
            for _ in range(25):
                self.client.transact(work, timeout=120)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.cache.get("n"), b"100")

    def test_execute(self) -> None:
        cache = self.cache
        absent = Condition(cache, "a", "ABSENT")
        steps = [Step.put(cache, "a", "1"), Step.put(cache, "b", "2")]
        done = self.client.execute([absent], steps)
        self.assertEqual((done.held, done.done, len(done.replies)), (True, True, 2))
        done = self.client.execute([absent], steps, [Step.get(cache, "a"), Step.get(cache, "z")])
        self.assertFalse(done.held)
        found = [entry and entry.value for entry in done.entries()]
        self.assertEqual(found[0], b"1")


class Streams(Live):
    def test_a_scan_finds_every_entry_of_one_moment(self) -> None:
        entries = {f"scan:{n}": str(n) for n in range(5000)}
        self.cache.put_many(entries)
        self.cache.put("other", "1")
        found = {}
        for entry in self.cache.scan("scan:*"):
            self.assertNotIn(entry.key, found)
            found[entry.key] = entry.value
        self.assertEqual(found, {k.encode(): v.encode() for k, v in entries.items()})

    def test_a_scan_may_be_left(self) -> None:
        self.cache.put_many({str(n): "v" for n in range(5000)})
        scan = self.cache.scan(values=False)
        self.assertEqual(next(scan).value, b"")
        scan.close()  # type: ignore[attr-defined]
        self.client.ping()

    def test_listening(self) -> None:
        self.cache.put("before", "1")
        with self.cache.listen(initial=True) as listener:
            first = listener.next(60)
            assert first is not None
            self.assertEqual((first.kind, first.entry.key), ("CREATE", b"before"))
            told = []
            for change in (lambda: self.cache.put("k", "v"), lambda: self.cache.remove("k")):
                change()
                event = listener.next(60)
                assert event is not None
                told.append((event.kind, event.entry.key, event.entry.value))
        self.assertEqual(told, [("CREATE", b"k", b"v"), ("REMOVE", b"k", b"")])


if __name__ == "__main__":
    unittest.main()
