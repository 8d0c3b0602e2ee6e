"""Prefaces, frames and fragments: docs/PROTOCOL.md sections 2 and 4."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Optional

from . import tables
from .codec import DEFAULT_LIMITS, Limits, Malformed

MAGIC = b"\xf7GRD"
PREFACE_LEN = 8

MORE, EXT, COMPRESSED, NO_REPLY = 1, 2, 4, 8

HEADER = struct.Struct(">IBBHII")
_BEHIND_LENGTH = HEADER.size - 4

NUMBERS = {name: number for name, (number, _) in tables.FRAMES.items()}
NAMES = {number: name for name, number in NUMBERS.items()}

MESSAGES = ("REQ", "RES", "ERR", "ITEM")
"""The types of frames that may be cut into fragments and have extensions."""

FRAGMENT = 64 * 1024
"""Payloads above this are cut, so that one large value does not hold up everything else."""


def client_preface(lowest: int = 1, highest: int = tables.VERSION) -> bytes:
    return MAGIC + bytes((lowest, highest, 0, 0))


def server_preface(chosen: int, lowest: int = 1, highest: int = tables.VERSION) -> bytes:
    return MAGIC + bytes((chosen, lowest, highest, 0))


def check_magic(data: bytes) -> None:
    """Refuses what does not begin like a preface, as soon as that can be seen."""
    if data[:4] != MAGIC[: len(data)]:
        raise Malformed("PROTOCOL_ERROR", "the other side does not speak GNP")


@dataclass
class Frame:
    """One frame. `op` is a number: it may be one that nobody knows."""

    type: str
    stream: int = 0
    payload: bytes = b""
    op: int = 0
    flags: int = 0
    epoch: int = 0

    def encode(self) -> bytes:
        length = _BEHIND_LENGTH + len(self.payload)
        number = NUMBERS[self.type]
        header = HEADER.pack(length, number, self.flags, self.op, self.stream, self.epoch)
        return header + self.payload

    def fragments(self, most: int = FRAGMENT) -> list["Frame"]:
        """The frame, cut where its payload is longer than `most`."""
        if self.type not in MESSAGES or len(self.payload) <= most:
            return [self]
        starts = range(0, len(self.payload), most)
        cut = []
        for at in starts:
            flags = (self.flags if at == 0 else self.flags & ~(EXT | COMPRESSED)) | MORE
            piece = self.payload[at : at + most]
            cut.append(Frame(self.type, self.stream, piece, self.op, flags, self.epoch))
        cut[-1].flags &= ~MORE
        return cut


@dataclass
class FrameDecoder:
    """Frames out of bytes that come in pieces."""

    max_frame: int = DEFAULT_LIMITS["max_frame"]
    begun: bytes = b""
    """What came before."""

    def __post_init__(self) -> None:
        self._data = bytearray(self.begun)

    def rest(self) -> bytes:
        """What is not a whole frame yet."""
        return bytes(self._data)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Takes bytes and gives the frames that are whole. Raises Malformed, for good."""
        self._data += data
        while True:
            frame = self._next()
            if frame is None:
                return
            yield frame

    def _next(self) -> Optional[Frame]:
        if len(self._data) < HEADER.size:
            return None
        length, number, flags, op, stream, epoch = HEADER.unpack_from(self._data)
        self._check(length, number, flags)
        end = 4 + length
        if len(self._data) < end:
            return None
        payload = bytes(self._data[HEADER.size : end])
        del self._data[:end]
        return Frame(NAMES[number], stream, payload, op, flags, epoch)

    def _check(self, length: int, number: int, flags: int) -> None:
        if length > _BEHIND_LENGTH + self.max_frame:
            raise Malformed("FRAME_TOO_LARGE", f"a frame of {length} bytes")
        if length < _BEHIND_LENGTH:
            raise Malformed("PROTOCOL_ERROR", f"a frame says that it has {length} bytes")
        if number not in NAMES:
            raise Malformed("PROTOCOL_ERROR", f"no frame has the type {number}")
        if flags & ~(MORE | EXT | COMPRESSED | NO_REPLY):
            raise Malformed("PROTOCOL_ERROR", f"reserved flags in {flags:#x}")
        if flags & COMPRESSED:
            raise Malformed("PROTOCOL_ERROR", "a compressed frame, though no codec was agreed on")


@dataclass
class Reassembly:
    """Whole messages out of frames, some of which are fragments."""

    limits: Limits = field(default_factory=lambda: DEFAULT_LIMITS)
    _begun: dict[int, Frame] = field(default_factory=dict)
    _held: int = 0

    def push(self, frame: Frame) -> Optional[Frame]:
        """The message that is whole with this frame, if it is."""
        begun = self._begun.get(frame.stream)
        if frame.flags & MORE and (frame.stream == 0 or frame.type not in MESSAGES):
            raise Malformed("PROTOCOL_ERROR", f"MORE on a {frame.type} of stream {frame.stream}")
        if begun is None and not frame.flags & MORE:
            return frame
        if frame.type not in MESSAGES:
            return frame
        self._account(frame, 0 if begun is None else len(begun.payload))
        if begun is None:
            self._begun[frame.stream] = frame
            return None
        if (frame.type, frame.op) != (begun.type, begun.op) or frame.flags & (EXT | COMPRESSED):
            raise Malformed("PROTOCOL_ERROR", "fragments that do not belong together")
        begun.payload += frame.payload
        if frame.flags & MORE:
            return None
        self._held -= len(begun.payload)
        begun.flags &= ~MORE
        return self._begun.pop(frame.stream)

    def _account(self, frame: Frame, before: int) -> None:
        self._held += len(frame.payload)
        most = self.limits["max_message"]
        if before + len(frame.payload) > most or self._held > most:
            raise Malformed("FRAME_TOO_LARGE", f"messages of more than {most} bytes")
