"""Every vector of docs/protocol/vectors, both ways; what must be refused is."""

import json
import os
import subprocess
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isogrid import frame, tables
from isogrid.codec import DEFAULT_LIMITS, Malformed, Reader, type_of
from isogrid.frame import Frame, FrameDecoder, Reassembly
from isogrid.message import Message, control_type, decode, encode
from isogrid.segment import segment_of, xxh64

from .spelling import read, spell

CLIENT = Path(__file__).resolve().parent.parent
ROOT = Path(os.environ.get("ISOGRID_SOURCE", CLIENT.parent.parent))
VECTORS = ROOT / "docs" / "protocol" / "vectors"


def vectors(*names: str) -> list[dict[str, Any]]:
    found = []
    for name in names:
        found += json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))["vectors"]
    return found


def frame_files() -> Iterator[str]:
    special = {"refused", "primitives", "preface", "segments", "fragments", "misuse"}
    for path in sorted(VECTORS.glob("*.json")):
        if path.stem not in special:
            yield path.stem


def spelled(message: Message) -> dict[str, Any]:
    """A message as `decoded` has it."""
    told: dict[str, Any] = {"type": message.type, "stream": message.stream, "epoch": message.epoch}
    if message.flags:
        told["flags"] = message.flags
    if message.ext is not None:
        told["ext"] = {name: spell(tag_type(name), v) for name, v in message.ext.items()}
    if message.op:
        told["op"] = message.op if message.type in ("REQ", "RES", "ITEM") else code(message)
    if message.type == "REQ":
        told.update(timeout_ms=message.timeout_ms, object=message.object)
        told["body"] = spell(message.operation.request, message.body)
    elif message.type == "RES":
        told["status"] = message.status
        told["result"] = spell(message.operation.replies[message.status], message.result)
    elif message.type == "ITEM":
        told["items"] = [spell(message.operation.item, item) for item in message.items]
        if message.trailer is not None:
            told["trailer"] = spell(message.operation.trailer, message.trailer)
    else:
        told["payload"] = spell(control_type(message.type), message.payload)
    return told


def code(message: Message) -> int:
    return message.operation.code if isinstance(message.op, str) else message.op


def tag_type(name: str) -> Any:
    tags = list(tables.REQUEST_TAGS.values()) + list(tables.REPLY_TAGS.values())
    return type_of(dict(tags)[name])


def unspelled(told: dict[str, Any]) -> Message:
    """A message out of `decoded`."""
    message = Message(told["type"], told["stream"], told.get("op", 0), told["epoch"])
    message.flags = told.get("flags", 0)
    if "ext" in told:
        message.ext = {name: read(tag_type(name), v) for name, v in told["ext"].items()}
    if message.type == "REQ":
        message.timeout_ms, message.object = told["timeout_ms"], told["object"]
        message.body = read(message.operation.request, told["body"])
    elif message.type == "RES":
        message.status = told["status"]
        message.result = read(message.operation.replies[message.status], told["result"])
    elif message.type == "ITEM":
        message.items = [read(message.operation.item, item) for item in told["items"]]
        if "trailer" in told:
            message.trailer = read(message.operation.trailer, told["trailer"])
    else:
        message.payload = read(control_type(message.type), told["payload"])
    return message


def whole(data: bytes, step: int) -> list[Frame]:
    """The messages in bytes that come `step` at a time."""
    frames, parts = FrameDecoder(), Reassembly()
    messages = []
    for at in range(0, len(data), step):
        for one in frames.feed(data[at : at + step]):
            message = parts.push(one)
            messages += [message] if message else []
    return messages


class Vectors(unittest.TestCase):
    maxDiff = None

    def test_frames_both_ways(self) -> None:
        seen = set()
        for name in frame_files():
            for vector in vectors(name):
                with self.subTest(file=name, vector=vector["name"]):
                    data = bytes.fromhex(vector["hex"])
                    (one,) = whole(data, len(data))
                    message = decode(one)
                    self.assertEqual(spelled(message), vector["decoded"])
                    self.assertEqual(
                        encode(unspelled(vector["decoded"])).encode().hex(), data.hex()
                    )
                    seen.add((message.type, message.op, message.status))
        self.every_answer_was_seen(seen)

    def every_answer_was_seen(self, seen: set) -> None:
        for name, told in tables.OPERATIONS.items():
            self.assertIn(("REQ", name, "OK"), seen)
            for status in told["replies"]:
                self.assertIn(("RES", name, status), seen)
            self.assertEqual(("ITEM", name, "OK") in seen, told["item"] is not None, name)

    def test_every_error_has_a_vector(self) -> None:
        codes = [vector["decoded"]["payload"]["code"] for vector in vectors("errors")]
        self.assertEqual(sorted(set(codes)), sorted(tables.ERRORS))

    def test_bytes_may_come_in_any_pieces(self) -> None:
        every = [v for name in frame_files() for v in vectors(name)]
        data = bytes.fromhex("".join(vector["hex"] for vector in every))
        expected = [vector["decoded"] for vector in every]
        for step in (1, 7, 4096, len(data)):
            self.assertEqual([spelled(decode(one)) for one in whole(data, step)], expected, step)

    def test_fragments(self) -> None:
        for vector in vectors("fragments"):
            with self.subTest(vector["name"]):
                data = bytes.fromhex("".join(vector["hex"]))
                (one,) = whole(data, 3)
                self.assertEqual(spelled(decode(one)), vector["decoded"])
                again = encode(unspelled(vector["decoded"]))
                for most in (1, 2, 5, 1000):
                    cut = b"".join(piece.encode() for piece in again.fragments(most))
                    self.assertEqual(whole(cut, len(cut)), [again])

    def test_primitives(self) -> None:
        for vector in vectors("primitives"):
            with self.subTest(vector["name"]):
                kind, data = type_of(vector["type"]), bytes.fromhex(vector["hex"])
                reader = Reader(data)
                self.assertEqual(spell(kind, kind.read(reader)), vector["decoded"])
                reader.done()
                out = bytearray()
                kind.write(out, read(kind, vector["decoded"]), DEFAULT_LIMITS)
                self.assertEqual(out.hex(), vector["hex"])

    def test_prefaces(self) -> None:
        for vector in vectors("preface"):
            told = vector["decoded"]
            versions = told["version_min"], told["version_max"]
            ours = (
                frame.server_preface(told["chosen"], *versions)
                if "chosen" in told
                else frame.client_preface(*versions)
            )
            self.assertEqual(ours.hex(), vector["hex"], vector["name"])

    def test_segments(self) -> None:
        for vector in vectors("segments"):
            key = vector["key"].encode("utf-8")
            self.assertEqual(f"{xxh64(key):016x}", vector["xxh64"])
            self.assertEqual(segment_of(key, 1024), vector["segment"])


class Refused(unittest.TestCase):
    def test_what_must_be_refused(self) -> None:
        for vector in vectors("refused"):
            with self.subTest(vector["name"]):
                expect, data = vector["expect"], bytes.fromhex(vector["hex"])
                found = self.refusal(expect["scope"], data)
                if expect["scope"] != "preface":
                    self.assertEqual(found, (expect["scope"], expect["error"]))
                    self.assertEqual(tables.ERRORS[expect["code"]][0], expect["error"])

    def test_fragments_that_do_not_fit(self) -> None:
        for vector in vectors("misuse"):
            if vector["name"].startswith("fragments/"):
                with self.subTest(vector["name"]):
                    with self.assertRaises(Malformed) as caught:
                        whole(bytes.fromhex("".join(vector["hex"])), 3)
                    self.assertEqual(caught.exception.code, vector["expect"]["error"])

    def refusal(self, scope: str, data: bytes) -> tuple[str, str]:
        """Where it was refused: a frame ends the connection, a request only itself."""
        if scope == "preface":
            with self.assertRaises(Malformed):
                frame.check_magic(data)
            return scope, ""
        try:
            (one,) = whole(data, 1)
        except Malformed as error:
            return "connection", error.code
        with self.assertRaises(Malformed) as caught:
            decode(one)
        return "request" if one.type == "REQ" else "connection", caught.exception.code


class Tables(unittest.TestCase):
    def test_tables_are_what_protocol_json_says(self) -> None:
        command = [sys.executable, str(CLIENT / "generate.py"), "--check"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
