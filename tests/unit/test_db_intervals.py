"""Coverage arithmetic: cutting, adding and merging intervals, without a database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.intervals import ABSENT, STORED, Interval, merge, splice
from tests.contract.coverage_model import STEP, Model, Operation, operations, slots


def stored(start: int, end: int, *, rows: int | None = None, source_id: int = 1) -> Interval:
    """A stored interval from slot to slot, dense unless `rows` says otherwise."""
    return Interval(start * STEP, end * STEP, STORED, end - start if rows is None else rows, source_id, "rest")


def never_counted(_start: int, _end: int) -> int:
    """A count of candles that must not be asked for."""
    raise AssertionError("candles were counted")


def test_appending_next_to_a_neighbour_is_one_update() -> None:
    """The common case, a page after the last page, changes one row and inserts none."""
    changes = splice([stored(0, 5)], [(5 * STEP, 8 * STEP)], [stored(5, 8)], slots, never_counted)
    assert changes.updates == (stored(0, 8),)
    assert not changes.deletes
    assert not changes.inserts


def test_writing_the_same_again_changes_nothing() -> None:
    """An idempotent write touches no row."""
    changes = splice([stored(0, 5)], [(STEP, 3 * STEP)], [stored(1, 3)], slots, never_counted)
    assert changes == type(changes)((), (), ())


def test_a_cut_sparse_interval_counts_its_candles() -> None:
    """What remains of a sparse interval asks the candles, since its slots do not tell its rows."""
    counted: list[tuple[int, int]] = []

    def count(start: int, end: int) -> int:
        counted.append((start // STEP, end // STEP))
        return 1

    changes = splice([stored(0, 9, rows=4)], [(3 * STEP, 5 * STEP)], [], slots, count)
    assert counted == [(0, 3), (5, 9)]
    assert changes.updates == (stored(0, 3, rows=1),)
    assert changes.inserts == (stored(5, 9, rows=1),)


def test_absent_neighbours_stay_apart() -> None:
    """Two absent intervals that touch keep the evidence of their own answers."""
    one = Interval(0, STEP, ABSENT, 0, 1, "rest", "first", 2)
    two = Interval(STEP, 2 * STEP, ABSENT, 0, 1, "rest", "second", 2)
    assert merge([two, one]) == [one, two]


def test_overlapping_additions_are_refused() -> None:
    """Intervals that contradict one another are a mistake of the caller, told as such."""
    with pytest.raises(ValueError, match="overlap"):
        splice([], [(0, 3 * STEP), (2 * STEP, 4 * STEP)], [stored(0, 3), stored(2, 4)], slots, never_counted)


@given(st.lists(operations(), max_size=12))
def test_any_operations_agree_with_the_model_slot_by_slot(todo: list[Operation]) -> None:
    """After random covers and erases the intervals equal the model's: disjoint and merged as far as can be."""
    table: dict[int, Interval] = {}
    model = Model()
    for number, operation in enumerate(todo):
        windows = [(start * STEP, end * STEP) for start, end in operation.windows]
        added = [] if operation.kind == "erase" else operation.intervals(number)
        lowest, highest = windows[0][0], windows[-1][1]
        model.apply(operation, number)
        changes = splice(
            [each for _, each in sorted(table.items()) if each.start_ms <= highest and each.end_ms >= lowest],
            windows,
            added,
            slots,
            lambda start, end: sum(start <= slot * STEP < end for slot in model.candles),
        )
        for start in changes.deletes:
            del table[start]
        for each in changes.updates:
            assert each.start_ms in table
        for each in changes.inserts:
            assert each.start_ms not in table
        table |= {each.start_ms: each for each in (*changes.updates, *changes.inserts)}
        assert [each for _, each in sorted(table.items())] == model.expected()
