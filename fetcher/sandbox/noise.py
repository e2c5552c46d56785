"""Randomness with an address: integer noise that any minute can be asked for without the minutes before it.

Integers only, so that every machine, array length and memory layout gives the same candle (vectorised sines do not).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeAlias

import numpy as np

Bits: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.uint64]]"
Whole: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int64]]"

HEIGHT = 65_536
"""Noise lies in [-HEIGHT, HEIGHT)."""


def key_of(*parts: object) -> int:
    """A 64-bit key for a name, the same in every process (`hash` is salted)."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def scramble(places: Whole, key: int) -> Bits:
    """64 independent bits for each place: shape (n,), uint64. The finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    bits = places.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    bits ^= bits >> np.uint64(30)
    bits *= np.uint64(0xBF58476D1CE4E5B9)
    bits ^= bits >> np.uint64(27)
    bits *= np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    return bits


def field(bits: Bits, at: int, width: int) -> Whole:
    """`width` of the bits from place `at` as numbers: shape (n,), int64."""
    return ((bits >> np.uint64(at)) & np.uint64((1 << width) - 1)).astype(np.int64)


def wander(places: Whole, octave: int, key: int) -> Whole:
    """Noise that turns once every 2**octave places, straight in between; `places` ascend without a hole: int64."""
    cells = places >> octave
    heights = field(scramble(np.arange(cells[0], cells[-1] + 2, dtype=np.int64), key), 0, 17) - HEIGHT
    if octave == 0:
        return heights[:-1]
    cells -= cells[0]
    left, right = heights[cells], heights[1:][cells]
    noise: Whole = left + ((right - left) * (places & ((1 << octave) - 1)) >> octave)
    return noise
