"""The client against a server that answers late, wrongly, or not at all."""

import queue
import socket
import threading
import unittest
from typing import Any

from isogrid import Client, Conflict, Failed, Scram, Unknown
from isogrid.frame import server_preface
from isogrid.message import Message
from isogrid.retry import OTHER_MEMBERS, Attempts, repeat_of

from .fake import OBJECT, FakeServer, Peer


def hit(value: bytes) -> Any:
    return {"entry": {"VALUE": value}}


class Pipelining(unittest.TestCase):
    def test_answers_may_come_in_any_order(self) -> None:
        def script(peer: Peer) -> None:
            peer.greet()
            requests = [peer.request() for _ in range(20)]
            for request in reversed(requests):
                peer.reply(request, **hit(request.body["key"]))
            peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            cache = client.cache("c")
            read = {"VALUE": True}
            keys = [str(n).encode() for n in range(20)]
            bodies = [{"key": key, "read": read} for key in keys]
            calls = [client.begin("cache.GET", body, cache.target) for body in bodies]
            values = [call.wait().result["entry"]["VALUE"] for call in calls]
            self.assertEqual(values, keys)

    def test_a_large_value_goes_in_fragments(self) -> None:
        value = bytes(range(256)) * 1000

        def script(peer: Peer) -> None:
            peer.greet()
            request = peer.request()
            assert request.body["value"] == value
            peer.reply(request, version=5, prev=None)
            peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            self.assertEqual(client.cache("c").put("k", value), 5)


class Outcomes(unittest.TestCase):
    def test_overloaded_is_tried_again_with_the_same_idem(self) -> None:
        idems: list[int] = []

        def script(peer: Peer) -> None:
            peer.greet()
            for _ in range(3):
                request = peer.request()
                idems.append(request.ext["idem"])
                peer.fail(request, "OVERLOADED", after_ms=1)
            request = peer.request()
            idems.append(request.ext["idem"])
            peer.reply(request, value=4, version=9)
            peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            self.assertEqual(client.cache("c").incr("k"), 4)
        self.assertEqual((len(idems), len(set(idems))), (4, 1))

    def test_a_lost_connection_is_made_anew_and_the_request_sent_again(self) -> None:
        seen: list[Any] = []

        def script(peer: Peer) -> None:
            peer.greet()
            request = peer.request()
            seen.append((peer.hello["client"]["instance"], request.ext["idem"]))
            if peer.number == 2:
                peer.reply(request, version=1)
                peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            self.assertTrue(client.cache("c").append("k", "v"))
        self.assertEqual((len(seen), len(set(seen))), (3, 1))

    def test_what_was_never_sent_has_failed(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = "127.0.0.1:{}".format(free.getsockname()[1])
        with Client(address, timeout=0.05) as client:
            with self.assertRaises(Failed) as caught:
                client.cache("c").put("k", "v")
        self.assertEqual((caught.exception.outcome, caught.exception.name), ("FAILED", "NOT_READY"))

    def no_answer(self, call: Any) -> Any:
        """What a call ends with that the server reads and never answers."""
        cancelled: queue.Queue[bool] = queue.Queue()

        def script(peer: Peer) -> None:
            peer.greet()
            request = peer.request()
            rest = peer.until_end()
            cancelled.put(any(m.type == "CANCEL" and m.stream == request.stream for m in rest))

        with FakeServer(script) as server:
            with Client(server.address, timeout=0.05) as client:
                with self.assertRaises((Failed, Unknown)) as caught:
                    call(client.cache("c"))
            self.assertTrue(cancelled.get(timeout=60))
        return caught.exception

    def test_a_write_without_an_answer_is_unknown_and_cancelled(self) -> None:
        error = self.no_answer(lambda cache: cache.put("k", "v"))
        self.assertIsInstance(error, Unknown)

    def test_a_read_without_an_answer_has_failed_and_is_cancelled(self) -> None:
        error = self.no_answer(lambda cache: cache.get("k"))
        self.assertEqual((type(error), error.name), (Failed, "DEADLINE_EXCEEDED"))

    def test_an_attempt_of_unknown_outcome_is_not_forgotten(self) -> None:
        def script(peer: Peer) -> None:
            peer.greet()
            request = peer.request()
            if peer.number == 0:
                return
            peer.fail(request, "FORBIDDEN")
            peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            with self.assertRaises(Unknown) as caught:
                client.cache("c").put("k", "v")
        self.assertEqual(caught.exception.name, "FORBIDDEN")

    def test_a_refused_value_is_not_sent(self) -> None:
        def answering(peer: Peer) -> None:
            peer.greet(limits={"max_key": 3})
            peer.reply(peer.request())
            assert peer.until_end() == []

        with FakeServer(answering) as server, Client(server.address, timeout=0.5) as client:
            client.ping()
            for key, name in [("", "INVALID_ARGUMENT"), ("four", "KEY_TOO_LARGE")]:
                with self.assertRaises(Failed) as caught:
                    body = {"key": key.encode(), "read": {}}
                    client.call("cache.GET", body)
                self.assertEqual(caught.exception.name, name)

    def test_a_dropped_object_is_resolved_once_more(self) -> None:
        numbers: list[int] = []

        def script(peer: Peer) -> None:
            peer.greet()
            for dropped in (True, False, True, True):
                request = peer.request()
                numbers.append(request.object - OBJECT)
                if dropped:
                    peer.fail(request, "NO_SUCH_OBJECT")
                else:
                    peer.reply(request, "NOT_FOUND")
            peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            self.assertIsNone(client.cache("c").get("k"))
            with self.assertRaises(Failed) as caught:
                client.cache("c").get("k")
        self.assertEqual(caught.exception.name, "NO_SUCH_OBJECT")
        self.assertEqual(numbers, [0, 1, 1, 2])

    def test_an_error_says_what_the_server_said(self) -> None:
        def script(peer: Peer) -> None:
            peer.greet()
            peer.fail(peer.request(), "NOT_A_NUMBER")
            peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            with self.assertRaises(Failed) as caught:
                client.cache("c").incr("k")
        error = caught.exception
        self.assertEqual((error.code, error.retry, error.details), (3007, "NEVER", {"node": "n1"}))
        self.assertIn("error[E3007] NOT_A_NUMBER", str(error))
        self.assertTrue(error.help)


class Rules(unittest.TestCase):
    """Retry by class, as a table: what is done after one error."""

    def after(self, op: str, repeat: str, idem: bool, name: str) -> Any:
        attempts = Attempts(op, repeat, idem)
        error = (Unknown if name in ("INTERNAL", "OUTCOME_UNKNOWN") else Failed).named(name)
        again = attempts.pause_after(error) is not None
        return again, attempts.verdict(error).outcome

    def test_classes(self) -> None:
        for op, repeat, idem, name, expected in [
            ("cache.PUT", "I", False, "FORBIDDEN", (False, "FAILED")),
            ("cache.PUT", "I", False, "OVERLOADED", (True, "FAILED")),
            ("cache.PUT", "I", False, "NOT_OWNER", (True, "FAILED")),
            ("cache.PUT", "I", False, "INTERNAL", (True, "UNKNOWN")),
            ("cache.PUT", "D", True, "INTERNAL", (True, "UNKNOWN")),
            ("cache.PUT", "D", False, "INTERNAL", (False, "UNKNOWN")),
            ("cache.GET", "R", False, "INTERNAL", (True, "FAILED")),
            ("cache.PUT_MANY", "I", False, "OVERLOADED", (True, "UNKNOWN")),
            ("cache.PUT_MANY", "I", False, "FORBIDDEN", (False, "FAILED")),
            ("counter.ADD_MANY", "D", True, "OVERLOADED", (False, "UNKNOWN")),
            ("counter.ADD_MANY", "D", True, "OUT_OF_RANGE", (False, "UNKNOWN")),
        ]:
            self.assertEqual(self.after(op, repeat, idem, name), expected, (op, repeat, name))

    def test_other_members_are_tried_three_times(self) -> None:
        attempts = Attempts("cache.GET", "R", False)
        error = Failed.named("NOT_OWNER")
        again = [attempts.pause_after(error) is not None for _ in range(OTHER_MEMBERS + 1)]
        self.assertEqual(again, [True] * OTHER_MEMBERS + [False])

    def test_pauses_grow_and_respect_the_server(self) -> None:
        attempts = Attempts("cache.GET", "R", False, jitter=lambda: 0.5)
        error = Failed.named("OVERLOADED")
        pauses = [attempts.pause_after(error) for _ in range(9)]
        self.assertEqual(pauses, sorted(pauses))
        self.assertEqual(pauses[-1], 1.0)
        self.assertEqual(attempts.pause_after(Failed(4005, retry_after_ms=7000)), 7.0)

    def test_conditions_make_a_write_of_class_d(self) -> None:
        for op, write, repeat in [
            ("cache.PUT", {}, "I"),
            ("cache.PUT", {"EXPECT": 0}, "D"),
            ("cache.PUT", {"IF_ABSENT": True}, "D"),
            ("cache.TOUCH", {"TTL": 1}, "I"),
            ("cache.REMOVE", {"RETURN_PREV": True}, "D"),
        ]:
            self.assertEqual(repeat_of(op, "I", {"write": write}), repeat, (op, write))


class Handshake(unittest.TestCase):
    def refused(self, script: Any, **arguments: Any) -> Failed:
        with FakeServer(script) as server:
            with Client(server.address, timeout=0.5, **arguments) as client:
                with self.assertRaises(Failed) as caught:
                    client.ping()
        return caught.exception

    def test_no_version_in_common(self) -> None:
        def script(peer: Peer) -> None:
            peer.greet(preface=server_preface(0, 2, 3))

        self.assertEqual(self.refused(script).name, "UNSUPPORTED_VERSION")

    def test_another_protocol(self) -> None:
        def script(peer: Peer) -> None:
            peer.socket.sendall(b"HTTP/1.1 400 Bad Request\r\n")
            while peer.socket.recv(4096):
                pass

        self.assertEqual(self.refused(script).name, "PROTOCOL_ERROR")

    def test_wrong_credentials_are_not_tried_again(self) -> None:
        connections: list[int] = []

        def script(peer: Peer) -> None:
            connections.append(peer.number)
            peer.socket.recv(8)
            peer.socket.sendall(server_preface(1))
            peer.fail(peer.any(), "AUTH_FAILED")

        self.assertEqual(self.refused(script).name, "AUTH_FAILED")
        self.assertEqual(connections, [0])

    def test_scram_of_rfc_7677(self) -> None:
        scram = Scram("user", "pencil", nonce="rOprNGfwEbeRWgbNEkqO")
        self.assertEqual(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
        nonce = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        proof = "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        answer = scram.answer(f"{nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
        self.assertEqual(answer, f"c=biws,{nonce},{proof}")
        scram.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        with self.assertRaises(ValueError):
            scram.verify("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")

    def test_scram_conversation_in_auth_frames(self) -> None:
        def script(peer: Peer) -> None:
            # RFC 7677, section 3, but for the nonce, which is the client's own.
            peer.greet(auth={"state": "continue", "data": server_first(peer)})
            final = peer.any()
            assert final.type == "AUTH" and "p=" in final.payload, final
            peer.send(Message("AUTH", payload='{"state":"ok","data":"v=AAAA"}'))
            peer.until_end()

        def server_first(peer: Peer) -> str:
            return "r=abcSERVER,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"

        error = self.refused(script, login=lambda: Scram("user", "pencil", nonce="abc"))
        self.assertEqual(error.name, "AUTH_FAILED")
        self.assertIn("does not know the password", error.message)


class Liveness(unittest.TestCase):
    def test_pings_are_answered(self) -> None:
        def script(peer: Peer) -> None:
            peer.greet()
            request = peer.request()
            peer.send(Message("PING", payload={"opaque": 99}))
            pong = peer.any()
            assert (pong.type, pong.payload) == ("PONG", {"opaque": 99}), pong
            peer.reply(request)
            peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            client.ping()

    def test_class_other_goes_to_another_member(self) -> None:
        def refusing(peer: Peer) -> None:
            peer.greet()
            peer.fail(peer.request(), "NOT_OWNER")
            assert peer.until_end() == []

        def serving(peer: Peer) -> None:
            peer.greet()
            peer.reply(peer.request(), data=b"here")
            peer.until_end()

        with FakeServer(refusing) as first, FakeServer(serving) as second:
            with Client(first.address, second.address) as client:
                answer = client.call("conn.ECHO", {"data": b"where"})
        self.assertEqual(answer.result["data"], b"here")

    def test_a_silent_server_is_pinged_and_then_left(self) -> None:
        pinged = threading.Event()

        def script(peer: Peer) -> None:
            peer.greet(keepalive_ms=20)
            request = peer.request()
            if peer.number > 0:
                peer.reply(request)
            if any(message.type == "PING" for message in peer.until_end()):
                pinged.set()

        with FakeServer(script) as server, Client(server.address, timeout=60) as client:
            client.ping()
        self.assertTrue(pinged.is_set())

    def test_goaway_finishes_what_is_under_way_elsewhere_goes_what_is_new(self) -> None:
        came: list[Any] = []

        def script(peer: Peer) -> None:
            peer.greet()
            request = peer.request()
            came.append((peer.number, request.body["data"]))
            if peer.number == 0:
                bye = {"reason": 1, "drain_ms": 1000, "message": "", "alternatives": []}
                peer.send(Message("GOAWAY", payload=bye))
                # Behind the PONG the client has certainly read the GOAWAY.
                peer.send(Message("PING", payload={"opaque": 1}))
                assert peer.any().type == "PONG"
            peer.reply(request, data=request.body["data"])
            peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            for data in (b"old", b"new"):
                answer = client.call("conn.ECHO", {"data": data})
                self.assertEqual(answer.result["data"], data)
        self.assertEqual(came, [(0, b"old"), (1, b"new")])

    def test_an_answer_that_nobody_asked_for_ends_the_connection(self) -> None:
        def script(peer: Peer) -> None:
            peer.greet()
            request = peer.request()
            if peer.number == 0:
                request.stream += 1
            peer.reply(request)
            peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            client.ping()


def entries(*keys: bytes) -> list[Any]:
    return [{"KEY": key, "VALUE": b"v", "VERSION": 1} for key in keys]


class Streams(unittest.TestCase):
    def test_a_scan_goes_on_where_it_was(self) -> None:
        cursors: list[Any] = []

        def script(peer: Peer) -> None:
            peer.greet()
            request = peer.request()
            cursors.append(request.body["cursor"])
            if peer.number == 0:
                peer.items(request, entries(b"a", b"b"), {"cursor": b"one", "finished": []})
                return
            peer.items(request, entries(b"c"), {"cursor": b"two", "finished": [1]})
            peer.reply(request, "ENDED")
            peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            keys = [entry.key for entry in client.cache("c").scan()]
        self.assertEqual(keys, [b"a", b"b", b"c"])
        self.assertEqual(cursors, [None, b"one"])

    def test_credit_is_given_back(self) -> None:
        def script(peer: Peer) -> None:
            peer.greet()
            request = peer.request()
            left, sent = request.body["credit"], 0
            while sent < 5000:
                count = min(left, 500)
                peer.items(request, entries(b"k") * count, {"cursor": b"x", "finished": []})
                sent, left = sent + count, left - count
                while left < 500:
                    credit = peer.any()
                    assert (credit.type, credit.stream) == ("CREDIT", request.stream), credit
                    left += credit.payload["items"]
            peer.reply(request, "ENDED")
            peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            self.assertGreaterEqual(sum(1 for _ in client.cache("c").scan()), 5000)

    def test_more_items_than_credit_end_the_connection(self) -> None:
        def script(peer: Peer) -> None:
            peer.greet()
            request = peer.request()
            many = entries(b"k") * (request.body["credit"] + 1)
            peer.items(request, many, {"cursor": b"x", "finished": []})
            assert [m.type for m in peer.until_end()].count("CREDIT") == 0

        with FakeServer(script) as server, Client(server.address, timeout=0.3) as client:
            with self.assertRaises(Failed):
                list(client.cache("c").scan())

    def test_a_listener_survives_and_says_that_events_were_lost(self) -> None:
        def script(peer: Peer) -> None:
            peer.greet()
            request = peer.request()
            assert request.object == OBJECT
            event = {"event": 1, "segment": 3, "seq": 8 + peer.number}
            event.update(entry=entries(b"k")[0], prev=None)
            peer.items(request, [event])
            if peer.number == 1:
                peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            with client.cache("c").listen() as listener:
                events = [listener.next(60) for _ in range(3)]
        told = [(event.kind, event.segment, event.seq) for event in events if event]
        self.assertEqual(told, [("CREATE", 3, 8), ("RESYNC", 0xFFFF, 0), ("CREATE", 3, 9)])


class Transactions(unittest.TestCase):
    def test_a_conflict_runs_the_work_anew(self) -> None:
        def script(peer: Peer) -> None:
            peer.greet()
            for attempt in range(2):
                peer.reply(peer.request(), entry={"VALUE": b"%d" % attempt, "VERSION": attempt + 1})
                commit = peer.request()
                (read,) = commit.body["reads"]
                assert (read["object"], read["version"]) == (OBJECT, attempt + 1), commit
                conflict = {"object": OBJECT, "key": b"k", "version": 2}
                if attempt == 0:
                    peer.reply(commit, "VERSION_MISMATCH", conflicts=[conflict])
                else:
                    assert commit.body["writes"][0]["value"] == b"2", commit
                    peer.reply(commit, versions=[3])
            peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            cache = client.cache("c")

            def work(tx: Any) -> None:
                value = int(tx.get(cache, "k") or 0) + 1
                tx.put(cache, "k", str(value))
                self.assertEqual(tx.get(cache, "k"), str(value).encode())

            client.transact(work)

    def test_a_conflict_at_the_end_of_a_with(self) -> None:
        def script(peer: Peer) -> None:
            peer.greet()
            conflict = {"object": OBJECT, "key": b"k", "version": 2}
            peer.reply(peer.request(), "VERSION_MISMATCH", conflicts=[conflict])
            peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            with self.assertRaises(Conflict) as caught:
                with client.transaction() as tx:
                    tx.put(client.cache("c"), "k", "v")
        self.assertEqual(caught.exception.conflicts[0]["key"], b"k")


class LeasesAndLocks(unittest.TestCase):
    def test_a_lock_whose_lease_has_ended_is_not_used(self) -> None:
        def script(peer: Peer) -> None:
            peer.greet()
            while True:
                request = peer.request()
                if request.op == "lease.LEASE_GRANT":
                    peer.reply(request, lease=5)
                elif request.op == "lease.LOCK":
                    assert request.ext["lease"] == 5, request
                    peer.reply(request, fence=77)
                elif request.op == "lease.KEEPALIVE":
                    gone = {"status": "NOT_FOUND", "left": 0}
                    peer.reply(request, "PARTIAL", leases=[gone])
                else:
                    raise AssertionError(request)

        with FakeServer(script) as server, Client(server.address) as client:
            lease = client.locks("l").lease(ttl=0.03)
            held = client.locks("l").acquire("job", lease=lease)
            assert held is not None
            self.assertEqual(held.token, 77)
            lease._keeper.join()
            self.assertFalse(held.is_held())
            with self.assertRaises(Failed) as caught:
                client.cache("c").put("k", "v", fence=held)
        self.assertEqual(caught.exception.name, "LEASE_EXPIRED")

    def test_a_write_carries_the_fence(self) -> None:
        def script(peer: Peer) -> None:
            peer.greet()
            peer.reply(peer.request(), lease=5)
            peer.reply(peer.request(), fence=77)
            request = peer.request()
            fence = {"object": OBJECT, "key": b"job", "token": 77}
            assert request.ext["fence"] == fence, request
            peer.fail(request, "FENCED")
            assert peer.request().op == "lease.UNLOCK"
            peer.until_end()

        with FakeServer(script) as server, Client(server.address) as client:
            held = client.locks("l").acquire("job", lease=client.locks("l").lease(ttl=1000))
            with self.assertRaises(Failed) as caught:
                client.cache("c").put("k", "v", fence=held)
            client.begin("lease.UNLOCK", {"key": b"job", "fence": 77}, held.target)
        self.assertEqual(caught.exception.name, "FENCED")


if __name__ == "__main__":
    unittest.main()
