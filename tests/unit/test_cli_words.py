"""The command line's pure parts: how a series stands, costs of a plan, endpoints and steps in words."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from db.endpoints import EndpointRow
from db.intervals import Interval
from db.jobs import JobRow
from db.state import RunRow
from fetcher.cli.daemon import in_words
from fetcher.cli.gaps import reasons
from fetcher.cli.plan import Pace, cost, total
from fetcher.cli.show import plain, put_table, utc
from fetcher.cli.status import percent, why
from fetcher.cli.summary import series_line
from fetcher.cli.unfetched import unfetched
from fetcher.clock import Clock
from fetcher.config import Config
from fetcher.daemon import StepResult, Tally
from fetcher.endpoints import endpoint_states, unreachable
from fetcher.model import DAY, HOUR, MINUTE, Series, Timeframe, Window
from fetcher.planner import PlannedJob
from fetcher.results import RunResult, SeriesResult
from fetcher.standing import standing

SERIES = Series(1, "BTC/USDT", Timeframe("1h"), 0, ("binance",), listed_ms=0, closed_until_ms=10 * HOUR)
URL = "http://127.0.0.1:9"
CONFIG = Config.model_validate(
    {
        "sources": {"binance": {"client": "binance", "base_urls": [URL]}},
        "markets": [{"symbols": ["BTC/USDT"], "timeframes": ["1h"], "start": "2026-01-01", "sources": ["binance"]}],
    }
)
ENDPOINT = EndpointRow(
    f"binance {URL}", "binance", breaker="closed", failures=0, successes=0, opened_ms=None, probe_owner=None,
    probe_until=None, window_ms=None, used=0, weight_limit=None, stop_until=None, stop_reason=None, requests=7,
    errors=1, latency_ms=12.0, last_ok_ms=1000, last_error=None, last_error_ms=None,
)  # fmt: skip
POOL = replace(ENDPOINT, endpoint="binance", window_ms=60 * MINUTE, used=40, weight_limit=600, last_ok_ms=None)
NOW = 60 * MINUTE + 5


def stored(start: int, end: int, source: int = 1) -> Interval:
    """Stored hours."""
    return Interval(start * HOUR, end * HOUR, "stored", end - start, source, "rest")


def absent(start: int, end: int) -> Interval:
    """Absent hours."""
    return Interval(start * HOUR, end * HOUR, "absent", 0, 1, "rest", "{}", 2, 0, 0)


def job(start: int, end: int, status: str = "queued", error: str | None = None) -> JobRow:
    """A job for some hours."""
    return JobRow(1, 1, "gap", start * HOUR, end * HOUR, 20, status, 0, 0, None, None, error, 0, 0)


def test_missing_slots_are_told_apart_by_why() -> None:
    """Slots of waiting jobs, of given up ones, and of none add up to what is missing; a slot of both waits."""
    found = standing(
        SERIES, [stored(0, 2), stored(2, 3, 2), absent(3, 4)], [job(5, 7), job(6, 9, "failed", "gone")],
        {1: "binance", 2: "okx"}, 11 * HOUR,
    )  # fmt: skip
    assert (found.stored, dict(found.by_source), found.absent) == (3, {"binance": 2, "okx": 1}, 1)
    assert (found.missing, found.queued, found.failed, found.unplanned) == (6, 2, 2, 2)
    assert (found.complete, found.newest_ms, found.lag_ms) == (0.4, 3 * HOUR, 8 * HOUR)
    assert why(found) == "2 queued, 2 given up, 2 not planned yet: gone"


def test_a_series_before_its_first_run_claims_nothing() -> None:
    """Without a proven close nobody knows what is expected or missing, and nothing is complete."""
    new = replace(SERIES, closed_until_ms=None)
    found = standing(new, [], [], {}, HOUR)
    assert (found.expected, found.missing, found.complete, found.until_ms) == (None, None, 0.0, None)
    assert why(found) == "never fetched"
    waiting = standing(new, [], [job(0, 2, error="refused")], {}, HOUR)
    assert (waiting.unfetched, why(waiting)) == (True, "1 job waiting: refused")


def test_a_start_to_come_is_no_fault() -> None:
    """What starts tomorrow lacks nothing today."""
    later = replace(SERIES, wanted_start_ms=2 * DAY)
    for series in (later, replace(later, closed_until_ms=None)):
        found = standing(series, [], [], {}, 11 * HOUR)
        assert (found.expected, found.missing, found.complete, found.unfetched) == (0, 0, None, False)
        assert why(found) == "nothing to fetch before 1970-01-03T00:00Z"


def test_rows_are_counted_from_the_configured_start() -> None:
    """Where the start was moved on, what lies before it is still in the database, but no part of the series."""
    found = standing(replace(SERIES, wanted_start_ms=4 * HOUR), [stored(0, 10)], [], {1: "binance"}, 11 * HOUR)
    assert (found.stored, dict(found.by_source), found.missing) == (6, {"binance": 6}, 0)


def test_what_holds_up_a_series_is_told() -> None:
    """Before the first run, after one that failed, while a source rests, and before the start: each has its reason."""
    new = replace(SERIES, closed_until_ms=None)
    run = RunRow(1, "run", 0, "host", 1, 1, "failed", 1)
    states = endpoint_states([replace(POOL, stop_until=NOW + MINUTE, stop_reason="429"), ENDPOINT], CONFIG, NOW)

    def reason(series: Series, *jobs: JobRow, last: RunRow | None = run, resting: bool = False) -> str:
        [found] = unfetched([series], {1: jobs}, states if resting else [], last, NOW)
        return str(found["reason"])

    assert reason(new, last=None) == "there was no run yet"
    assert reason(new, job(0, 1), job(1, 2, error="refused")) == "refused"
    assert reason(new, resting=True) == "binance is resting until 1970-01-01T01:01Z: 429"
    assert reason(new) == "the next run will ask for it"
    assert reason(new, last=replace(run, ended_ms=None)) == "a run is at work, or was killed"
    assert reason(replace(new, wanted_start_ms=DAY)) == "it starts 1970-01-02T00:00Z"
    assert unfetched([SERIES], {}, [], None, NOW) == []


def test_only_what_lacks_nothing_is_100_percent() -> None:
    """One slot of a hundred million is not rounded away."""
    assert percent(1.0) == "100 %"
    assert percent(1 - 1e-8) == "99.99 %"
    assert percent(None) == "-"


def test_a_gap_has_every_reason_that_applies() -> None:
    """Jobs are counted by status and error; what no job is for is not planned yet."""
    gap = Window(0, 10 * HOUR)
    found = reasons(gap, [job(0, 2), job(2, 4), job(4, 6, "failed", "gone"), job(20, 30)])
    assert found == [
        {"status": "queued", "jobs": 2, "reason": None},
        {"status": "failed", "jobs": 1, "reason": "gone"},
        {"status": "unplanned", "jobs": 0, "reason": None},
    ]
    assert len(reasons(gap, [job(0, 10)])) == 1


def test_a_plan_counts_pages_per_job() -> None:
    """Each job's last page may be short; an unknown listing costs two requests more."""
    jobs = [
        PlannedJob(1, "backfill", Window(0, 2500 * HOUR)),
        PlannedJob(1, "backfill", Window(3000 * HOUR, 3001 * HOUR)),
    ]
    pace = Pace(2, 6000, 100.0, 8)
    found = cost(jobs, SERIES, 1000, pace)
    assert (found.slots, found.requests, found.weight, found.bytes) == (2501, 4, 8, 2501 * 170)
    assert cost(jobs, replace(SERIES, listed_ms=None), 1000, pace).requests == 6
    assert cost([], replace(SERIES, listed_ms=None), 1000, pace).requests == 0


def test_a_plans_time_is_that_of_the_tighter_limit() -> None:
    """Few requests take their latency, many the minutes in which their weight may be spent."""
    pace = Pace(2, 6000, 100.0, 8)
    assert pace.seconds(80) == pytest.approx(1.0)
    assert pace.seconds(3000) == pytest.approx(37.5)
    assert pace.seconds(3001) == pytest.approx(60.0)
    one = cost([PlannedJob(1, "backfill", Window(0, 2_000_000 * HOUR))], SERIES, 1000, pace)
    assert total([(one, "a"), (one, "b")], {"a": pace, "b": pace}).seconds == pytest.approx(one.seconds)
    assert total([(one, "a"), (one, "a")], {"a": pace, "b": pace}).seconds > one.seconds


@pytest.mark.parametrize(
    ("endpoint", "pool", "words"),
    [
        (ENDPOINT, POOL, "reachable"),
        (replace(ENDPOINT, last_ok_ms=None), POOL, "not asked yet"),
        (replace(ENDPOINT, last_error="reset", last_error_ms=2000), POOL, "failing: reset"),
        (replace(ENDPOINT, last_error="reset", last_error_ms=900), POOL, "reachable"),
        (ENDPOINT, replace(POOL, stop_until=NOW + MINUTE, stop_reason="429"), "resting until 1970-01-01T01:01Z: 429"),
        (ENDPOINT, replace(POOL, stop_until=NOW - 1, stop_reason="429"), "reachable"),
        (
            replace(ENDPOINT, breaker="open", opened_ms=NOW, last_error="reset"),
            POOL,
            "resting until 1970-01-01T01:01Z: reset",
        ),
        (replace(ENDPOINT, breaker="open", opened_ms=0, last_error="reset"), POOL, "failing: reset"),
        (replace(ENDPOINT, breaker="half-open", last_error="reset"), POOL, "failing: reset (being tried again)"),
    ],
)
def test_an_endpoint_is_told_in_words(endpoint: EndpointRow, pool: EndpointRow, words: str) -> None:
    """Rests of the pool and the endpoint, breaker and last error come to one state; seconds are left out at zero."""
    [state] = endpoint_states([pool, endpoint], CONFIG, NOW)
    assert state.sentence == words


def test_the_budget_is_this_minutes_and_other_hosts_are_left_out() -> None:
    """Weight of an earlier minute is spent no more; endpoints that the configuration no longer names are not shown."""
    gone = replace(ENDPOINT, endpoint="binance http://127.0.0.1:8")
    [state] = endpoint_states([POOL, ENDPOINT, gone], CONFIG, NOW)
    assert (state.used, state.weight_limit) == (40, 600)
    [later] = endpoint_states([POOL, ENDPOINT], CONFIG, NOW + MINUTE)
    assert later.used == 0


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (SeriesResult(SERIES, 0, 0, 0, None), "BTC/USDT 1h  complete until 1970-01-01T10:00Z"),
        (SeriesResult(replace(SERIES, closed_until_ms=None), 0, 0, 0, None), "BTC/USDT 1h  nothing closed yet"),
        (SeriesResult(SERIES, 3, 2, 0, "reset"), "BTC/USDT 1h  3 missing, 2 jobs waiting: reset"),
        (
            SeriesResult(SERIES, 1, 0, 0, None),
            "BTC/USDT 1h  1 missing: binance did not tell of it yet; the next run asks again",
        ),
        (SeriesResult(SERIES, 0, 0, 1, "a\x1bb"), "BTC/USDT 1h  1 job given up: a\\x1bb"),
    ],
)
def test_a_run_ends_with_a_line_per_series(result: SeriesResult, line: str) -> None:
    """How far it is complete, or what is missing, what waits, and the last error."""
    assert series_line(result) == line


@pytest.mark.parametrize(
    ("series", "asked", "words"),
    [
        (SERIES, Window(2 * HOUR + 1, 5 * HOUR), "complete from 1970-01-01T03:00Z to 1970-01-01T05:00Z"),
        (SERIES, Window(0, 99 * HOUR), "complete from 1970-01-01T00:00Z to 1970-01-01T10:00Z"),
        (
            SERIES, Window(10 * HOUR, 12 * HOUR),
            "nothing to do: candles are closed until 1970-01-01T10:00Z, what was asked for begins 1970-01-01T10:00Z",
        ),
        (
            replace(SERIES, listed_ms=5 * HOUR), Window(0, 3 * HOUR),
            "nothing to do: it was listed 1970-01-01T05:00Z, what was asked for ends 1970-01-01T03:00Z",
        ),
        (
            SERIES, Window(HOUR + 1, HOUR + 2),
            "nothing to do: no candle opens between 1970-01-01T01:00Z and 1970-01-01T01:00Z",
        ),
        (replace(SERIES, wanted_start_ms=DAY), None, "starts 1970-01-02T00:00Z, nothing to fetch yet"),
        (replace(SERIES, listed_ms=DAY), None, "is listed 1970-01-02T00:00Z, nothing to fetch yet"),
    ],
)  # fmt: skip
def test_a_line_names_what_it_is_about(series: Series, asked: Window | None, words: str) -> None:
    """A backfill's line names the range; where nothing was to do it says why."""
    assert series_line(SeriesResult(series, 0, 0, 0, None), asked=asked) == f"BTC/USDT 1h  {words}"


def test_what_no_job_waits_for_has_its_reason_too() -> None:
    """The source that stands in is behind: its newest candle is missing, and no job was left with an error."""
    series = replace(SERIES, sources=("okx", "coingecko"))
    troubles = {"okx": "okx is resting until noon: okx answered 429"}
    assert series_line(SeriesResult(series, 1, 0, 0, None), troubles=troubles) == (
        "BTC/USDT 1h  1 missing: okx did not serve, coingecko did not tell of it yet; the next run asks again"
    )


def test_a_job_that_met_nothing_yet_tells_how_its_source_is() -> None:
    """Its turn did not come: the first source of its series is failing, and that is why."""
    new = replace(SERIES, closed_until_ms=None)
    place = standing(new, [], [job(0, 2)], {}, HOUR)
    [state] = endpoint_states([replace(ENDPOINT, last_error="reset", last_error_ms=2000), POOL], CONFIG, NOW)
    assert unreachable([state], ("binance",)) is state
    assert unreachable([replace(state, state="reachable"), state], ("binance",)) is None
    assert why(place, state) == "1 job waiting: binance is failing: reset"
    assert why(standing(SERIES, [stored(0, 10)], [], {1: "binance"}, 11 * HOUR), state) == ""


def test_a_reason_is_told_once() -> None:
    """What a source's own line says is not repeated for each of its series; another reason is."""
    troubles = {"binance": "binance did not serve: host refused the connection"}
    lines = [
        series_line(SeriesResult(SERIES, 3, 1, 0, error), troubles=troubles)
        for error in ("host refused the connection (tried 4 times)", "binance rests until noon: 429", "unknown symbol")
    ]
    assert lines == [
        "BTC/USDT 1h  3 missing, 1 job waiting",
        "BTC/USDT 1h  3 missing, 1 job waiting",
        "BTC/USDT 1h  3 missing, 1 job waiting: unknown symbol",
    ]


def test_a_long_table_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers stand right, texts left, wide characters take two places, and thousands of rows take no time."""
    put_table(["#id", "symbol", "why"], [(1, "币安/USDT", "a"), (1000, "BTC/USDT", None)])
    assert capsys.readouterr().out == "   id  symbol     why\n    1  币安/USDT  a\n1,000  BTC/USDT   -\n"
    before = Clock()
    put_table(["#id", "symbol"], [(number, "BTC/USDT") for number in range(40_000)])
    assert before.elapsed() < 5


@pytest.mark.parametrize(
    ("missing", "queued", "words"), [(0, 0, "nothing is missing"), (0, 2, "2 jobs waiting"), (1440, 2, "1,440 missing")]
)
def test_a_step_says_what_is_left(missing: int, queued: int, words: str) -> None:
    """Of a market that nobody has reached no slot is known to be missing: its job waits, and that is told."""
    result = RunResult((SeriesResult(SERIES, missing, queued, 0, None),))
    step = StepResult(0, 9.6, worked=True, tally=Tally(put_back=2), result=result)
    assert in_words(step) == f"2 jobs put back in 9.6 s; {words}"


def test_times_and_strangers_words_are_plain() -> None:
    """Milliseconds are left out, seconds only at zero; long or unprintable text is cut and escaped."""
    assert utc(DAY + 61_001) == "1970-01-02T00:01:01Z"
    assert utc(None) == plain(None) == "-"
    assert plain("x\n" * 200).endswith("…")
    assert plain("\x1b[31m") == "\\x1b[31m"
    assert plain("rests until 2026-06-01T00:00:00Z, 2026-06-01T00:00:01Z") == (
        "rests until 2026-06-01T00:00Z, 2026-06-01T00:00:01Z"
    )
