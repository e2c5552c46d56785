"""What the vitals say beyond their numbers: shares, goals, runs that fail in a row, candles that are late. Pure."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from db.health import Spell
from db.intervals import Interval
from db.state import RunRow
from fetcher.endpoints import REACHABLE, EndpointState
from fetcher.goals import Goal, judged
from fetcher.model import DAY, HOUR, Series, Timeframe
from fetcher.sections import Goals
from fetcher.standing import standing
from fetcher.vitals import Vitals

SERIES = Series(1, "BTC/USDT", Timeframe("1h"), 0, ("binance",), listed_ms=0, closed_until_ms=10 * HOUR)
NONE = Vitals(10 * HOUR, (), (), {}, None, 0, 0, {}, ())


def stored(start: int, end: int) -> Interval:
    """Stored hours."""
    return Interval(start * HOUR, end * HOUR, "stored", end - start, 1, "rest")


def absent(start: int, end: int) -> Interval:
    """Hours proven absent."""
    return Interval(start * HOUR, end * HOUR, "absent", 0, 1, "rest", "{}", 3, 0, 0)


def endpoint(name: str, requests: int, success: float, mean_ms: float | None) -> EndpointState:
    """An endpoint as it did over a day."""
    spell = Spell(requests, round(requests * (1 - success)), success, mean_ms, mean_ms, mean_ms)
    return EndpointState(name, "binance", REACHABLE, day=spell)


def run(kind: str, outcome: str | None) -> RunRow:
    """A run that ended so; None: it has no end."""
    ended = None if outcome is None else 2
    return RunRow(1, kind, 1, "host", 1, ended, outcome, None if outcome is None else int(outcome != "ok"))


@pytest.mark.parametrize(
    ("covered", "now", "overdue"),
    [
        ([stored(0, 10)], 10 * HOUR, 0),
        ([stored(0, 10)], 11 * HOUR, 0),
        ([stored(0, 10)], 11 * HOUR + 5000, 5000),
        ([stored(0, 2), stored(4, 10)], 10 * HOUR + 5, 0),
        ([stored(0, 2), absent(2, 10)], 11 * HOUR + 5, 0),
        ([stored(0, 2), absent(2, 10)], 14 * HOUR, 3 * HOUR),
        ([], 10 * HOUR, 9 * HOUR),
        ([stored(0, 12)], 11 * HOUR, 0),
    ],
)
def test_a_candle_is_overdue_from_its_close_on(covered: list[Interval], now: int, overdue: int) -> None:
    """Before the close of the next one nothing is late; holes behind are another matter, and so is a silent market."""
    assert standing(SERIES, covered, [], {1: "binance"}, now).overdue_ms == overdue


def test_a_start_to_come_is_not_overdue() -> None:
    """What is wanted from tomorrow on cannot be late today."""
    assert standing(replace(SERIES, wanted_start_ms=2 * DAY), [], [], {}, DAY).overdue_ms == 0


def test_nothing_known_is_nothing_claimed() -> None:
    """Without a request, a job, a series or a run there is no share, and no goal is met or missed."""
    assert (NONE.completeness, NONE.gap_recovery, NONE.api_success, NONE.response_ms) == (None, None, None, None)
    assert [goal.met for goal in judged(NONE, Goals())] == [None, None, None, None]
    assert (NONE.last_run, NONE.failed_in_row) == (None, 0)


def test_shares_are_of_all_together() -> None:
    """Slots and requests are added up before they are divided; archives' files do not count as answers of an API."""
    full, half = standing(SERIES, [stored(0, 10)], [], {1: "binance"}, 0), standing(SERIES, [], [], {}, 0)
    found = replace(
        NONE, series=(full, full, half), filled=19, given_up=1,
        endpoints=(
            endpoint("binance a", 900, 1.0, 100), endpoint("binance b", 100, 0.5, 200),
            endpoint("binance c", 5, 0, None), endpoint("binance archive http://x", 1000, 0.1, 9000),
            EndpointState("okx", "okx", "not asked yet"),
        ),
    )  # fmt: skip
    assert found.completeness == pytest.approx(2 / 3)
    assert found.gap_recovery == 0.95
    assert found.api_success == pytest.approx(950 / 1005)
    assert found.response_ms == pytest.approx((900 * 100 + 50 * 200) / 950)


def test_goals_are_judged_one_by_one() -> None:
    """Completeness of all but one slot is missed, and a share that is just reached is met."""
    place = replace(standing(SERIES, [stored(0, 9)], [], {1: "binance"}, 0))
    found = replace(NONE, series=(place,), filled=95, given_up=5, endpoints=(endpoint("binance a", 100, 0.98, 2000),))
    assert judged(found, Goals()) == (
        Goal("api_success", 0.98, 0.99, met=False),
        Goal("response", 2.0, 2.0, met=False),
        Goal("gap_recovery", 0.95, 0.95, met=True),
        Goal("completeness", 0.9, 1.0, met=False),
    )
    lenient = Goals(api_success=0.9, response=3, completeness=0.5)
    assert all(goal.met for goal in judged(found, lenient))


def test_a_series_without_any_candle_misses_completeness() -> None:
    """Whether the others are complete or not."""
    new = standing(replace(SERIES, closed_until_ms=None), [], [], {}, 20 * HOUR)
    full = standing(SERIES, [stored(0, 10)], [], {1: "binance"}, 0)
    assert judged(replace(NONE, series=(new, full)), Goals())[-1] == Goal("completeness", None, 1.0, met=False)
    assert judged(replace(NONE, series=(new,)), Goals())[-1] == Goal("completeness", 0.0, 1.0, met=False)


@pytest.mark.parametrize(
    ("goal", "sentence"),
    [
        (Goal("api_success", 0.98999, 0.99, met=False), "API success 98.99 % (goal: at least 99 %)"),
        (Goal("completeness", 0.999999, 1.0, met=False), "completeness 99.99 % (goal: at least 100 %)"),
        (Goal("completeness", None, 1.0, met=False), "completeness unknown (goal: at least 100 %)"),
        (Goal("response", 2.04, 2.0, met=False), "mean response 2.0 s (goal: below 2.0 s)"),
        (Goal("response", 0.75, 0.5, met=False), "mean response 0.75 s (goal: below 0.50 s)"),
    ],
)
def test_a_goal_that_is_missed_never_looks_reached(goal: Goal, sentence: str) -> None:
    """Shares are rounded down."""
    assert goal.sentence == sentence


@pytest.mark.parametrize(
    ("runs", "failed"),
    [
        ([run("run", "ok"), run("run", "failed")], 0),
        ([run("run", "failed"), run("backfill", "ok"), run("run", "failed"), run("run", "partial")], 2),
        ([run("run", None), run("run", "failed"), run("run", None), run("daemon", "ok")], 2),
        ([run("backfill", "failed"), run("worker", None)], 0),
        ([run("run", "failed")] * 3, 3),
    ],
)
def test_runs_that_fail_in_a_row_are_counted(runs: list[RunRow], failed: int) -> None:
    """Only those that are alone count; the newest without an end is at work, an older one was killed."""
    assert replace(NONE, runs=tuple(runs)).failed_in_row == failed


def test_the_latest_run_of_a_kind_is_one_that_is_over() -> None:
    """One at work has no outcome yet."""
    over = run("run", "partial")
    found = replace(NONE, runs=(run("run", None), run("backfill", "ok"), over))
    assert found.latest("run") == over
    assert found.latest("worker") is None
