"""The shipped weights in a form that other engines read: Q4_1 as Q5_1, whose values are exactly the same.

Both keep 32 weights as a scale, a minimum and quants; the fifth bit of each quant, which Q5_1 has between the minimum
and the other four, is zero. (The format: github.com/ggml-org/ggml/blob/master/docs/gguf.md.)
"""

import struct
from pathlib import Path
from typing import BinaryIO

Q4_1, Q5_1 = 3, 7
Q4_1_BLOCK, Q5_1_BLOCK = 20, 24
SCALE_AND_MINIMUM = 4
WEIGHTS_IN_A_BLOCK = 32
FIXED_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Of a value of metadata, by its type."""
STRING, ARRAY = 8, 9


def with_five_bits(source: Path, target: Path) -> None:
    """Write the weights anew."""
    with source.open("rb") as weights:
        magic, version, tensors, pairs = struct.unpack("<4sIQQ", weights.read(24))
        assert (magic, version) == (b"GGUF", 3)
        for _ in range(pairs):
            _string(weights)
            _skip_value(weights, _number(weights, "I"))
        about_tensors = weights.tell()
        table = [_tensor(weights) for _ in range(tensors)]
        end_of_table = weights.tell()
        start = end_of_table + _padding(end_of_table)
        weights.seek(0, 2)
        ends = sorted([*(offset for _, _, _, offset in table), weights.tell() - start])
        weights.seek(0)
        with target.open("wb") as out:
            out.write(weights.read(about_tensors))
            out.seek(end_of_table)
            out.write(bytes(_padding(end_of_table)))
            rows = []
            for name, shape, kind, offset in table:
                rows.append((name, shape, Q5_1 if kind == Q4_1 else kind, out.tell() - start))
                weights.seek(start + offset)
                data = weights.read(next(end for end in ends if end > offset) - offset)
                if kind == Q4_1:
                    data = _widened(data)
                out.write(data + bytes(_padding(len(data))))
            out.seek(about_tensors)
            for name, shape, kind, offset in rows:
                out.write(struct.pack("<Q", len(name)) + name)
                out.write(struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset))


def _widened(data: bytes) -> bytes:
    whole = len(data) - len(data) % Q4_1_BLOCK  # behind the last block there may be padding
    wide = bytearray(whole // Q4_1_BLOCK * Q5_1_BLOCK)
    gap = Q5_1_BLOCK - Q4_1_BLOCK
    for place in range(Q4_1_BLOCK):
        wide[place + (gap if place >= SCALE_AND_MINIMUM else 0) :: Q5_1_BLOCK] = data[place:whole:Q4_1_BLOCK]
    return bytes(wide)


def _tensor(weights: BinaryIO) -> tuple[bytes, tuple[int, ...], int, int]:
    name = _string(weights)
    dimensions = _number(weights, "I")
    shape = struct.unpack(f"<{dimensions}Q", weights.read(8 * dimensions))
    return name, shape, _number(weights, "I"), _number(weights, "Q")


def _skip_value(weights: BinaryIO, kind: int) -> None:
    if kind == STRING:
        _string(weights)
    elif kind == ARRAY:
        items, count = _number(weights, "I"), _number(weights, "Q")
        for _ in range(count):
            _skip_value(weights, items)
    else:
        weights.read(FIXED_SIZES[kind])


def _string(weights: BinaryIO) -> bytes:
    return weights.read(_number(weights, "Q"))


def _number(weights: BinaryIO, form: str) -> int:
    size = struct.calcsize("<" + form)
    return int(struct.unpack("<" + form, weights.read(size))[0])


def _padding(size: int) -> int:
    return -size % 32
