"""What one answer about a hole can say."""

from __future__ import annotations

import numpy as np
import pytest

from fetcher.look import Look
from fetcher.model import CANDLE, MINUTE, Series, Timeframe, Window
from fetcher.served import Served
from fetcher.validation import Refused
from fetcher.wire import empty_page

HOLE = Window(10 * MINUTE, 12 * MINUTE)


def look(*minutes: int, refused: tuple[Refused, ...] = ()) -> Look:
    """An answer with candles at these minutes."""
    rows = np.zeros(len(minutes), dtype=CANDLE)
    rows["open_time"] = np.array(minutes, dtype=np.int64) * MINUTE
    series = Series(1, "BTC/USDT", Timeframe("1m"), 0, ("binance",))
    return Look(series, Served(empty_page(), "binance", "rest", None), rows, refused)


@pytest.mark.parametrize(
    ("answer", "settles"),
    [
        pytest.param(look(9, 12), False, id="neighbours alone"),
        pytest.param(look(), False, id="nothing"),
        pytest.param(look(9, 11, 12), True, id="a candle inside"),
        pytest.param(look(9, 12, refused=(Refused(10 * MINUTE, "finite", "{}"),)), True, id="a refused one inside"),
        pytest.param(look(9, refused=(Refused(12 * MINUTE, "finite", "{}"),)), True, id="a refused neighbour"),
        pytest.param(look(9, 12, refused=(Refused(None, "malformed", "{}"),)), True, id="a refused one of no time"),
        pytest.param(
            look(9, 12, refused=(Refused(9 * MINUTE + 14_789, "off_grid", "{}"),)), False, id="a neighbour off the grid"
        ),
        pytest.param(
            look(9, 12, refused=(Refused(10 * MINUTE + 14_789, "off_grid", "{}"),)), True, id="one inside off the grid"
        ),
    ],
)
def test_an_answer_with_anything_inside_the_hole_says_nothing_of_absence(answer: Look, settles: bool) -> None:
    """A candle that came, or that came broken, is there: only its clean absence counts as an answer."""
    assert answer.settles(HOLE) is settles


def test_a_refused_candle_elsewhere_says_nothing_of_this_hole() -> None:
    """In a question about many holes a broken row settles its own; but one that answers another question spoils all."""
    later = Window(20 * MINUTE, 22 * MINUTE)
    broken = look(9, 12, 19, 22, refused=(Refused(21 * MINUTE, "ohlc_order", "{}"),))
    assert broken.silent([HOLE, later]) == [HOLE]
    outside = look(9, 12, 19, 22, refused=(Refused(90 * MINUTE, "inside_window", "{}"),))
    assert outside.silent([HOLE, later]) == []


def test_answers_agree_only_with_the_same_neighbours() -> None:
    """The nearest candles must be the same in both, and those that are stored beside the hole must be among them."""
    nothing = np.array([], dtype=np.int64)
    assert look(9, 12).agrees(HOLE, look(8, 9, 12), nothing)
    assert not look(8, 12).agrees(HOLE, look(8, 9, 12), nothing)
    assert not look(9, 11, 12).agrees(HOLE, look(9, 12), nothing)
    assert look(9, 12).agrees(HOLE, look(9, 12), np.array([3, 9, 12, 15], dtype=np.int64) * MINUTE)
    assert not look(8, 12).agrees(HOLE, look(8, 12), np.array([9, 12], dtype=np.int64) * MINUTE)


def test_neighbours_are_the_nearest_candles() -> None:
    """Of several candles beside the hole the nearest on each side count; a side without any has none."""
    assert look(8, 9, 12, 13).beside(HOLE) == (9 * MINUTE, 12 * MINUTE)
    assert look(8, 9).beside(HOLE) == (9 * MINUTE, None)
