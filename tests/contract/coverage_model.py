"""A slot-by-slot model of coverage, and random operations on it: what the interval arithmetic must agree with."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import strategies as st

from db.intervals import ABSENT, STORED, Interval

STEP = 60_000
SLOTS = 24


def slots(start: int, end: int) -> int:
    """How many slots of the model's grid lie in `[start, end)` ms."""
    return (end - start) // STEP


@dataclass(frozen=True)
class Operation:
    """Stored, absent or erased windows (in slots, disjoint, ascending); `present` are the slots that have candles."""

    kind: str
    windows: tuple[tuple[int, int], ...]
    source_id: int = 1
    route: str = "rest"
    present: frozenset[int] = frozenset()

    def intervals(self, number: int) -> list[Interval]:
        """What to cover; `number` tells the evidence of one operation from another's."""
        if self.kind == STORED:
            return [
                Interval(a * STEP, b * STEP, STORED, len(self.present & {*range(a, b)}), self.source_id, self.route)
                for a, b in self.windows
            ]
        return [
            Interval(a * STEP, b * STEP, ABSENT, 0, self.source_id, self.route, f"answer {number} for {a}", 2, 7, 9)
            for a, b in self.windows
        ]


@dataclass
class Model:
    """What each slot is covered by, and which slots have candles."""

    covered: dict[int, Interval] = field(default_factory=dict)
    candles: set[int] = field(default_factory=set)

    def apply(self, operation: Operation, number: int) -> None:
        """Do the operation slot by slot."""
        made = operation.intervals(number) if operation.kind != "erase" else [None] * len(operation.windows)
        for (start, end), interval in zip(operation.windows, made, strict=True):
            for slot in range(start, end):
                self.covered.pop(slot, None)
                if interval is not None:
                    self.covered[slot] = interval
                    self.candles.discard(slot)
                    self.candles |= {slot} & operation.present

    def expected(self) -> list[Interval]:
        """The fewest intervals that say the same: runs of slots with one state, source, route and evidence."""
        found: list[list[int]] = []
        for slot in sorted(self.covered):
            if found and found[-1][-1] == slot - 1 and self._kind(slot - 1) == self._kind(slot):
                found[-1].append(slot)
            else:
                found.append([slot])
        return [self._interval(run) for run in found]

    def _kind(self, slot: int) -> tuple[object, ...]:
        each = self.covered[slot]
        return (each.state, each.source_id, each.route, each.evidence)

    def _interval(self, run: list[int]) -> Interval:
        first = self.covered[run[0]]
        rows = len(self.candles & {*run}) if first.state == STORED else 0
        return Interval(
            run[0] * STEP, (run[-1] + 1) * STEP, first.state, rows, first.source_id, first.route,
            first.evidence, first.answers, first.checked_at, first.recheck_at,
        )  # fmt: skip


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    """One or two windows stored (whole or sparse), proven absent, or erased."""
    edges = sorted(draw(st.sets(st.integers(0, SLOTS), min_size=2, max_size=4)))
    windows = tuple(pair for number, pair in enumerate(pairwise(edges)) if number % 2 == 0)
    kind = draw(st.sampled_from((STORED, STORED, STORED, ABSENT, "erase")))
    inside = {slot for start, end in windows for slot in range(start, end)}
    left_out = draw(st.just(frozenset[int]()) | st.frozensets(st.sampled_from(sorted(inside))))
    return Operation(
        kind,
        windows,
        draw(st.sampled_from((1, 2))),
        draw(st.sampled_from(("rest", "archive"))),
        frozenset(inside - left_out) if kind == STORED else frozenset(),
    )
