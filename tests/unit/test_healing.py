"""Who heals what: the best source that may be asked and reaches a window, of what worse ones stand for."""

from __future__ import annotations

import pytest

from db.intervals import ABSENT, STORED, Interval
from fetcher.healing import Healer, unhealed
from fetcher.model import HOUR, Window

NOW = 100 * HOUR
BEST, SECOND, THIRD, GONE = 1, 2, 3, 9
RANKS = {BEST: 0, SECOND: 1, THIRD: 2}
ALL = (Healer("best", 0), Healer("second", 1))


def stored(start: int, end: int, source: int, recheck: int | None = None, state: str = STORED) -> Interval:
    """An interval in hours; with `recheck` it is proven that a better source lacks it."""
    at = None if recheck is None else recheck * HOUR
    return Interval(start * HOUR, end * HOUR, state, end - start, source, "rest", recheck_at=at)


@pytest.mark.parametrize(
    ("covered", "by", "expected"),
    [
        pytest.param([stored(0, 5, BEST)], ALL[:1], [], id="the best source's own"),
        pytest.param([stored(0, 5, SECOND)], ALL[:1], [(0, 5, "best")], id="a worse one's"),
        pytest.param([stored(0, 5, THIRD)], ALL, [(0, 5, "best")], id="the best of two takes all that it reaches"),
        pytest.param(
            [stored(0, 5, THIRD)], (Healer("best", 0, 3 * HOUR), ALL[1]), [(0, 3, "second"), (3, 5, "best")],
            id="the second what the best no longer reaches",
        ),
        pytest.param([stored(0, 5, SECOND)], (Healer("best", 0, 3 * HOUR), ALL[1]), [(3, 5, "best")], id="not its own"),
        pytest.param([stored(0, 5, THIRD)], ALL[1:], [(0, 5, "second")], id="the best does not list the market"),
        pytest.param([stored(0, 5, SECOND)], ALL[1:], [], id="and the second's are as good as can be"),
        pytest.param([stored(0, 5, GONE)], ALL[:1], [(0, 5, "best")], id="a source that is configured no more"),
        pytest.param([stored(0, 5, THIRD, recheck=101)], ALL, [], id="proven to be lacked"),
        pytest.param([stored(0, 5, THIRD, recheck=100)], ALL, [(0, 5, "best")], id="and due to be asked again"),
        pytest.param([stored(0, 5, SECOND, 999, ABSENT)], ALL, [(0, 5, "best")], id="absent at a worse one only"),
        pytest.param([stored(0, 5, THIRD)], (), [], id="nobody to heal"),
        pytest.param(
            [stored(0, 2, SECOND), stored(2, 4, BEST), stored(4, 6, THIRD)], ALL,
            [(0, 2, "best"), (4, 6, "best")], id="ascending",
        ),
    ],
)  # fmt: skip
def test_each_window_is_healed_by_the_best_that_can(
    covered: list[Interval], by: tuple[Healer, ...], expected: list[tuple[int, int, str]]
) -> None:
    """Windows in hours with who is asked; a table of every way in which a better source may not be able to."""
    found = unhealed(covered, RANKS, by, NOW)
    assert [(part, healer.source) for part, healer in found] == [
        (Window(start * HOUR, end * HOUR), source) for start, end, source in expected
    ]
