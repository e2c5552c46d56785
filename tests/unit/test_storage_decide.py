"""Which candle may replace which, against the plainest model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.candles import STORED_DTYPE
from fetcher.merging import Merge, decide
from fetcher.model import ANOMALY, CANDLE, CUT_SHORT, HOUR, OFF_GRID, VALUE_COLUMNS

if TYPE_CHECKING:
    from fetcher.model import Rows

T0 = 1_704_067_200_000  # 2024-01-01
BINANCE, OKX, GONE = 1, 2, 3
RANKS = {BINANCE: 0, OKX: 1}


def fetched(*hours: int, **cells: float) -> Rows:
    """Candles as a page brings them, with some cells changed: dtype CANDLE."""
    rows = np.zeros(len(hours), dtype=CANDLE)
    rows["open_time"] = [T0 + hour * HOUR for hour in hours]
    rows["open"], rows["high"], rows["low"], rows["close"], rows["volume"], rows["trades"] = 10, 12, 9, 11, 5, 3
    for name, value in cells.items():
        rows[name] = value
    return rows


def held(source_id: int, *hours: int, **cells: float) -> Rows:
    """The same as the database has them: dtype STORED_DTYPE."""
    rows = np.zeros(len(hours), dtype=STORED_DTYPE)
    for name in CANDLE.names or ():
        rows[name] = fetched(*hours, **cells)[name]
    rows["source_id"] = source_id
    return rows


def numbers(merge: Merge) -> tuple[list[int], list[int], list[int]]:
    """Hours written, replaced and held."""
    return (hours_of(merge.write), hours_of(merge.replaced), hours_of(merge.held))


def hours_of(rows: Rows) -> list[int]:
    """Open times as hours after T0."""
    return [(int(ms) - T0) // HOUR for ms in rows["open_time"]]


def test_new_slots_are_written() -> None:
    """Before, between and after what is there, and into nothing."""
    assert numbers(decide(held(BINANCE)[:0], fetched(1, 2), BINANCE, RANKS)) == ([1, 2], [], [1, 2])
    assert numbers(decide(held(BINANCE, 2, 4), fetched(1, 3, 5), BINANCE, RANKS)) == ([1, 3, 5], [], [1, 3, 5])
    assert numbers(decide(held(BINANCE, 2, 4), fetched(), BINANCE, RANKS)) == ([], [], [])


def test_the_same_candle_again_changes_nothing() -> None:
    """What the source said before is not written, but is the source's to prove."""
    assert numbers(decide(held(BINANCE, 1, 2), fetched(1, 2), BINANCE, RANKS)) == ([], [], [1, 2])


@pytest.mark.parametrize("column", VALUE_COLUMNS)
def test_a_restated_candle_replaces_its_own(column: str) -> None:
    """A source that changes any value of its closed candle is believed; the old row is handed out to be kept."""
    merge = decide(held(BINANCE, 1, 2, 3), fetched(1, 2, 3, **{column: 99}), BINANCE, RANKS)
    assert numbers(merge) == ([1, 2, 3], [1, 2, 3], [1, 2, 3])
    assert merge.replaced.tolist() == held(BINANCE, 1, 2, 3).tolist()


def test_better_replaces_worse_and_never_the_reverse() -> None:
    """By the market's order, whatever the values; a source no longer configured is worse than any that is."""
    for better, worse in ((BINANCE, OKX), (OKX, GONE), (BINANCE, GONE)):
        for close in (11, 99):
            assert numbers(decide(held(worse, 1), fetched(1, close=close), better, RANKS)) == ([1], [1], [1])
            assert numbers(decide(held(better, 1), fetched(1, close=close), worse, RANKS)) == ([], [], [])


def test_unknown_equals_unknown() -> None:
    """NaN is no change, nor are unknown trades; from unknown to known is one, and back."""
    unknown = {"quote_volume": math.nan, "taker_base": math.nan, "trades": -1}
    assert numbers(decide(held(BINANCE, 1, **unknown), fetched(1, **unknown), BINANCE, RANKS))[0] == []
    assert numbers(decide(held(BINANCE, 1, **unknown), fetched(1), BINANCE, RANKS))[0] == [1]
    assert numbers(decide(held(BINANCE, 1), fetched(1, **unknown), BINANCE, RANKS))[0] == [1]


def test_our_own_judgement_is_no_restatement() -> None:
    """`anomaly` depends on where a page begins; the other flags are facts of the candle."""
    assert numbers(decide(held(BINANCE, 1, flags=ANOMALY), fetched(1), BINANCE, RANKS))[0] == []
    assert numbers(decide(held(BINANCE, 1), fetched(1, flags=ANOMALY), BINANCE, RANKS))[0] == []
    for flag in (OFF_GRID, CUT_SHORT):
        assert numbers(decide(held(BINANCE, 1), fetched(1, flags=flag | ANOMALY), BINANCE, RANKS))[0] == [1]


SLOTS = st.dictionaries(
    st.integers(0, 12), st.tuples(st.sampled_from([10.0, 11.0, math.nan]), st.sampled_from([BINANCE, OKX, GONE, 4]))
)
INCOMING = st.dictionaries(st.integers(0, 12), st.sampled_from([10.0, 11.0, math.nan]))


@given(SLOTS, INCOMING, st.sampled_from([BINANCE, OKX, GONE]))
def test_any_merge_agrees_with_the_model(
    before: dict[int, tuple[float, int]], arriving: dict[int, float], source_id: int
) -> None:
    """Slot by slot: free, better, same and different, or left alone; order and pairing of rows are kept."""
    existing, incoming = held(0, *sorted(before)), fetched(*sorted(arriving))
    existing["volume"] = [before[hour][0] for hour in sorted(before)]
    existing["source_id"] = [before[hour][1] for hour in sorted(before)]
    incoming["volume"] = [arriving[hour] for hour in sorted(arriving)]
    merge = decide(existing, incoming, source_id, RANKS)

    write, replaced, kept = [], [], []
    for hour, volume in sorted(arriving.items()):
        old = before.get(hour)
        if old is not None and RANKS.get(old[1], 2) < RANKS.get(source_id, 2):
            continue
        kept.append(hour)
        if old is not None and old[1] == source_id and repr(old[0]) == repr(volume):
            continue
        write.append(hour)
        if old is not None:
            replaced.append(hour)
    assert numbers(merge) == (write, replaced, kept)
    assert merge.replaced.dtype == STORED_DTYPE
    assert [repr(v) for v in merge.write["volume"].tolist()] == [repr(arriving[hour]) for hour in write]
