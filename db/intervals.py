"""Coverage as intervals: pure arithmetic of cutting, adding and merging (db/coverage.py reads and writes the rows)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

STORED = "stored"
ABSENT = "absent"


class Interval(Struct, frozen=True):
    """What is proven of `[start_ms, end_ms)` (ms UTC): candles stored, or proven absent on named evidence.

    `rows` is the number of candles stored inside (0 where absent); it is below the number of slots where a source
    omits candles without trades. The four last fields belong to absent intervals.
    """

    start_ms: int
    end_ms: int
    state: str
    rows: int
    source_id: int
    route: str
    evidence: str | None = None
    answers: int | None = None
    checked_at: int | None = None
    recheck_at: int | None = None


class Changes(Struct, frozen=True):
    """What turns the old rows into the new ones: starts to delete, rows to update (same start), rows to insert."""

    deletes: tuple[int, ...]
    updates: tuple[Interval, ...]
    inserts: tuple[Interval, ...]


def splice(
    old: Sequence[Interval],
    removed: Iterable[tuple[int, int]],
    added: Sequence[Interval],
    slots: Callable[[int, int], int],
    stored: Callable[[int, int], int],
) -> Changes:
    """Take the windows `removed` out of `old`, put `added` in, merge stored neighbours.

    `old` must hold every interval that overlaps or touches a removed or added window; `added` is disjoint and lies
    inside `removed`. `slots(start, end)` counts the grid; `stored(start, end)` counts candles, and is asked only for
    what remains of a cut interval that was sparse. ValueError when `added` overlaps itself.
    """
    left = cut(old, removed, slots, stored)
    after = {interval.start_ms: interval for interval in merge([*left, *added])}
    before = {interval.start_ms: interval for interval in old}
    return Changes(
        deletes=tuple(start for start in before if start not in after),
        updates=tuple(new for start, new in after.items() if start in before and before[start] != new),
        inserts=tuple(new for start, new in after.items() if start not in before),
    )


def cut(
    intervals: Iterable[Interval],
    removed: Iterable[tuple[int, int]],
    slots: Callable[[int, int], int],
    stored: Callable[[int, int], int],
) -> list[Interval]:
    """What remains of the intervals without the windows `removed`."""
    holes = sorted(removed)
    return [piece for interval in intervals for piece in _without(interval, holes, slots, stored)]


def _without(
    interval: Interval,
    holes: Iterable[tuple[int, int]],
    slots: Callable[[int, int], int],
    stored: Callable[[int, int], int],
) -> list[Interval]:
    """The pieces of one interval outside the ascending holes."""
    pieces: list[tuple[int, int]] = []
    position = interval.start_ms
    for start, end in holes:
        if end <= position or start >= interval.end_ms:
            continue
        if start > position:
            pieces.append((position, start))
        position = end
    if position == interval.start_ms:
        return [interval]
    if position < interval.end_ms:
        pieces.append((position, interval.end_ms))
    if interval.state == ABSENT:
        return [replace(interval, start_ms=start, end_ms=end) for start, end in pieces]
    dense = interval.rows == slots(interval.start_ms, interval.end_ms)
    count = slots if dense else stored
    return [replace(interval, start_ms=start, end_ms=end, rows=count(start, end)) for start, end in pieces]


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """The intervals ascending, stored ones that touch and share source and route made one.

    Absent ones stay apart: each keeps the evidence of its own answers. ValueError when two overlap.
    """
    merged: list[Interval] = []
    for interval in sorted(intervals, key=lambda each: each.start_ms):
        last = merged[-1] if merged else None
        if last is not None and last.end_ms > interval.start_ms:
            raise ValueError(f"coverage intervals overlap: {last} and {interval}")
        if last is not None and last.end_ms == interval.start_ms and _alike(last, interval):
            merged[-1] = replace(last, end_ms=interval.end_ms, rows=last.rows + interval.rows)
        else:
            merged.append(interval)
    return merged


def _alike(one: Interval, other: Interval) -> bool:
    """Whether two intervals say the same; one with evidence of its own (a better source lacks it) stays apart."""
    same = (one.state, one.source_id, one.route) == (STORED, other.source_id, other.route) and other.state == STORED
    return same and one.evidence is None and other.evidence is None
