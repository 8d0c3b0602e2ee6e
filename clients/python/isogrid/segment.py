"""Which segment a key belongs to: xxh64 (Yann Collet's specification), in Python."""

_MASK = (1 << 64) - 1
_P1, _P2, _P3, _P4, _P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK


def _round(accumulator: int, lane: int) -> int:
    return _rotate((accumulator + lane * _P2) & _MASK, 31) * _P1 & _MASK


def _stripes(data: bytes) -> int:
    """The accumulators over all whole stripes of 32 bytes, merged."""
    lanes = [_P1 + _P2 & _MASK, _P2, 0, -_P1 & _MASK]
    for at in range(0, len(data) // 32 * 32, 8):
        lane = at // 8 % 4
        lanes[lane] = _round(lanes[lane], int.from_bytes(data[at : at + 8], "little"))
    merged = sum(_rotate(one, bits) for one, bits in zip(lanes, (1, 7, 12, 18))) & _MASK
    for lane_value in lanes:
        merged = ((merged ^ _round(0, lane_value)) * _P1 + _P4) & _MASK
    return merged


def _tail(value: int, tail: bytes) -> int:
    at = 0
    while len(tail) - at >= 8:
        value ^= _round(0, int.from_bytes(tail[at : at + 8], "little"))
        value = (_rotate(value, 27) * _P1 + _P4) & _MASK
        at += 8
    if len(tail) - at >= 4:
        value ^= int.from_bytes(tail[at : at + 4], "little") * _P1 & _MASK
        value = (_rotate(value, 23) * _P2 + _P3) & _MASK
        at += 4
    for byte in tail[at:]:
        value ^= byte * _P5 & _MASK
        value = _rotate(value, 11) * _P1 & _MASK
    return value


def xxh64(data: bytes) -> int:
    """The hash with seed 0."""
    value = _stripes(data) if len(data) >= 32 else _P5
    value = _tail((value + len(data)) & _MASK, data[len(data) // 32 * 32 :])
    value = (value ^ value >> 33) * _P2 & _MASK
    value = (value ^ value >> 29) * _P3 & _MASK
    return value ^ value >> 32


def segment_of(key: bytes, segments: int) -> int:
    """The segment of a key; `segments` is in WELCOME."""
    return xxh64(key) % segments
