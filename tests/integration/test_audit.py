"""Audit of a database that the program filled: damage of every kind is seen, repaired, and fetched again exactly."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from db import coverage
from db.engine import open_engine, writing
from db.manager import DatabaseManager
from fetcher.audit import AuditReport, audit
from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.gaps import GapDetector
from fetcher.model import HOUR, MINUTE, Window
from tests.integration.world import World, market, open_world, same_candles, slots_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fetcher.sandbox.control import SandboxControl

NOW = parse_utc("2024-02-10T00:00:00Z")
FIRST = parse_utc("2024-02-06")
OUTAGE = Window(parse_utc("2024-02-08T02:00"), parse_utc("2024-02-08T03:30"))
MARKETS = (market("BTC/USDT", "1m 1h", "2024-02-06"), market("ETH/USDT", "1d 3d 1w 1M", "2021-01-01"))
DELETE = "DELETE FROM candles WHERE series_id = :series AND open_time = :ms"
COPY = (
    "INSERT INTO candles SELECT series_id, open_time + :by, open, high, low, close, volume, quote_volume, trades, "
    "taker_base, taker_quote, flags, source_id FROM candles WHERE series_id = :series AND open_time = :ms"
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SandboxControl, Path]]:
    """A sandbox that stands still at NOW, and a database that the program filled from it."""
    folder = tmp_path_factory.mktemp("filled")
    outage = f"{format_utc(OUTAGE.start)}/{format_utc(OUTAGE.end)}"
    with open_world(folder, "--clock", "2024-02-10T00:00:00Z", "--outage", outage, "--weight-limit", "900000") as made:
        made.configure(*MARKETS, weight=900_000)
        made.run(clock=Clock(NOW))
        assert made.run(clock=Clock(NOW)).missing == 0
        copy = folder / "copy.db"
        engine = open_engine(f"sqlite:///{made.database_path}")
        DatabaseManager(engine, str(engine.url)).backup(copy)
        engine.dispose()
        yield made.sandbox, copy


@pytest.fixture
def world(filled: tuple[SandboxControl, Path], tmp_path: Path) -> World:
    """A copy of the filled database, to be damaged."""
    sandbox, copy = filled
    made = World(sandbox, tmp_path)
    made.configure(*MARKETS, weight=900_000)
    made.database_path.write_bytes(copy.read_bytes())
    sandbox.clear_log()
    return made


def look(world: World, *, repair: bool = False, deep: bool = False) -> AuditReport:
    """Audit every series of the world."""
    engine = open_engine(f"sqlite:///{world.database_path}")
    try:
        with world.app(Clock(NOW)) as app:
            return audit(engine, app.fetcher.sync(), repair=repair, deep=deep)
    finally:
        engine.dispose()


def told(report: AuditReport) -> list[tuple[str, str, Window, int]]:
    """The findings in short: series, kind, window, rows."""
    return [(str(f.series), f.kind, Window(f.start_ms, f.end_ms), f.rows) for f in report.findings]


def asked_again(world: World) -> dict[tuple[str, str], set[int]]:
    """Run once; the slots that the sandbox was then asked for, by symbol and timeframe."""
    world.sandbox.clear_log()
    assert world.run(clock=Clock(NOW)).missing == 0
    found: dict[tuple[str, str], set[int]] = {}
    for each in world.klines():
        assert each.start is not None
        assert each.end is not None
        slots = slots_of([Window(each.start, each.end)], each.timeframe)
        found.setdefault((each.symbol, each.timeframe), set()).update(slots)
    return found


def replace_coverage(world: World, start: int, end: int, rows: int) -> None:
    """Write an interval of stored BTC/USDT 1m coverage past every rule, as another program could."""
    world.change(
        "INSERT INTO coverage (series_id, start_ms, end_ms, state, rows, source_id, route) "
        "VALUES (:series, :start, :end, 'stored', :rows, 1, 'rest')",
        series=world.series("BTC/USDT", "1m").id,
        start=start,
        end=end,
        rows=rows,
    )


def test_a_database_that_the_program_filled_is_sound(world: World) -> None:
    """Outages, months and anchored grids give no finding, and repairing nothing writes nothing."""
    before = world.coverage("BTC/USDT", "1m")
    report = look(world, repair=True, deep=True)
    assert told(report) == []
    assert (report.sound, report.repaired) == (True, 0)
    assert world.coverage("BTC/USDT", "1m") == before
    assert OUTAGE in world.absent("BTC/USDT", "1m")


@pytest.mark.parametrize("number", [1, 10, 1000])
def test_deleted_rows_are_seen_and_only_these_fetched_again(world: World, number: int) -> None:
    """Rows deleted in runs and alone: audit names exactly these slots, the next run asks for exactly these."""
    series, true = world.series("BTC/USDT", "1m"), world.rows("BTC/USDT", "1m")
    covered = world.coverage("BTC/USDT", "1m")
    chance = random.Random(number)
    deleted = set(true["open_time"][: max(1, number // 3)].tolist()) if number > 1 else set()
    deleted |= set(true["open_time"][3000 : 3000 + number // 3].tolist())
    deleted |= {*chance.sample(sorted(set(true["open_time"].tolist()) - deleted), number - len(deleted))}
    for ms in deleted:
        world.change(DELETE, series=series.id, ms=ms)

    runs = GapDetector(series.grid).runs(np.array(sorted(deleted), dtype=np.int64))
    report = look(world)
    assert [(kind, window) for _, kind, window, _ in told(report)] == _split_at(OUTAGE, runs)
    assert sum(finding.rows for finding in report.findings) == number
    assert not report.sound
    assert world.coverage("BTC/USDT", "1m") == covered, "an audit without --repair changes nothing"

    repaired = look(world, repair=True)
    assert repaired.sound
    assert repaired.repaired == len(report.findings)
    assert told(look(world)) == []

    asked = asked_again(world)
    assert asked.keys() == {("BTCUSDT", "1m")}
    assert asked["BTCUSDT", "1m"] == deleted
    assert same_candles(world.rows("BTC/USDT", "1m"), true)
    assert world.coverage("BTC/USDT", "1m") == covered
    assert told(look(world)) == []


def _split_at(outage: Window, runs: Sequence[Window]) -> list[tuple[str, Window]]:
    """Runs of consecutive slots as findings; no stored interval reaches across an outage."""
    assert not any(run.start < outage.end and run.end > outage.start for run in runs)
    return [("rows_missing", run) for run in runs]


@pytest.mark.parametrize("timeframe", ["1d", "3d", "1w", "1M"])
def test_every_grid_is_audited(world: World, timeframe: str) -> None:
    """First, middle and last candle of days, weeks, months and anchored three-day candles are found when gone."""
    series, true = world.series("ETH/USDT", timeframe), world.rows("ETH/USDT", timeframe)
    times = true["open_time"]
    gone = [int(times[place]) for place in (0, len(times) // 2, len(times) - 1)]
    for ms in gone:
        world.change(DELETE, series=series.id, ms=ms)
    report = look(world, repair=True)
    assert told(report) == [
        (f"ETH/USDT {timeframe}", "rows_missing", Window(ms, series.grid.next(ms)), 1) for ms in gone
    ]
    asked = asked_again(world)
    assert asked.keys() == {("ETHUSDT", timeframe)}
    assert set().union(*({series.grid.floor(ms) for ms in slots} for slots in asked.values())) >= set(gone)
    assert same_candles(world.rows("ETH/USDT", timeframe), true)
    assert told(look(world)) == []


def test_equal_totals_hide_nothing(world: World) -> None:
    """A row deleted here and another put there leave every total as it was; both are seen."""
    series = world.series("BTC/USDT", "1m")
    gone, stray = FIRST + 500 * MINUTE, FIRST + 900 * MINUTE
    world.change(COPY, series=series.id, ms=stray, by=7)
    world.change(DELETE, series=series.id, ms=gone)
    world.change(COPY, series=series.id, ms=stray, by=NOW - stray)
    report = look(world)
    [interval] = [each for each in world.coverage("BTC/USDT", "1m") if each.start_ms == FIRST]
    assert told(report) == [
        ("BTC/USDT 1m", "off_grid_rows", Window(interval.start_ms, interval.end_ms), 1),
        ("BTC/USDT 1m", "rows_missing", Window(gone, gone + MINUTE), 1),
        ("BTC/USDT 1m", "rows_uncovered", Window(NOW, NOW + 1), 1),
    ]
    repaired = look(world, repair=True)
    assert (repaired.repaired, repaired.sound) == (1, False), "candles are never deleted: a person has to look"
    assert asked_again(world) == {("BTCUSDT", "1m"): {gone}}
    assert [kind for _, kind, *_ in told(look(world))] == ["off_grid_rows", "rows_uncovered"]


def test_a_candle_inside_an_outage_takes_its_absence_back(world: World) -> None:
    """Only that slot's absence is doubted, and asked for again; the rest keeps its evidence."""
    series = world.series("BTC/USDT", "1m")
    wrong = OUTAGE.start + 10 * MINUTE
    world.change(COPY, series=series.id, ms=FIRST, by=wrong - FIRST)
    report = look(world, repair=True)
    assert told(report) == [("BTC/USDT 1m", "rows_in_absent", Window(wrong, wrong + MINUTE), 1)]
    assert world.absent("BTC/USDT", "1m") == [Window(OUTAGE.start, wrong), Window(wrong + MINUTE, OUTAGE.end)]
    assert [kind for _, kind, *_ in told(look(world))] == ["rows_uncovered"]


def test_coverage_removed_by_hand_is_fetched_again(world: World) -> None:
    """Without coverage the candles prove nothing: named, left alone, and proven again by the next run."""
    true = world.rows("BTC/USDT", "1h")
    world.change("DELETE FROM coverage WHERE series_id = :series", series=world.series("BTC/USDT", "1h").id)
    report = look(world, repair=True)
    assert {(name, kind) for name, kind, *_ in told(report)} == {("BTC/USDT 1h", "rows_uncovered")}
    assert sum(finding.rows for finding in report.findings) == len(true)
    assert (report.repaired, report.sound) == (0, False)
    asked = asked_again(world)
    assert asked.keys() == {("BTCUSDT", "1h")}
    assert told(look(world)) == []
    assert same_candles(world.rows("BTC/USDT", "1h"), true)


def test_a_wrong_count_is_corrected(world: World) -> None:
    """Where every slot has its candle only the count is wrong: it is written, nothing is fetched."""
    before = world.coverage("BTC/USDT", "1m")
    for rows in (before[0].rows - 3, before[0].rows + 3):
        series = world.series("BTC/USDT", "1m").id
        world.change(
            "UPDATE coverage SET rows = :rows WHERE series_id = :series AND start_ms = :start",
            rows=rows, series=series, start=before[0].start_ms,
        )  # fmt: skip
        report = look(world, repair=True)
        whole = Window(before[0].start_ms, before[0].end_ms)
        assert told(report) == [("BTC/USDT 1m", "count_wrong", whole, before[0].rows)]
        assert report.sound
        assert world.coverage("BTC/USDT", "1m") == before
    assert asked_again(world) == {}


@pytest.mark.parametrize("change", [-1, 1])
def test_a_sparse_interval_is_audited_by_count(world: World, change: int) -> None:
    """Where a source omits candles only their number is known: where it is wrong, all of it is fetched again."""
    series, before = world.series("BTC/USDT", "1m"), world.coverage("BTC/USDT", "1m")
    world.change(
        "UPDATE coverage SET rows = rows - 5 WHERE series_id = :series AND start_ms = :start",
        series=series.id, start=FIRST,
    )  # fmt: skip
    for slot in range(5):
        world.change(DELETE, series=series.id, ms=FIRST + (100 + 7 * slot) * MINUTE)
    assert told(look(world)) == []
    if change < 0:
        world.change(DELETE, series=series.id, ms=FIRST + 50 * MINUTE)
    else:
        world.change(COPY, series=series.id, ms=FIRST, by=100 * MINUTE)
    report = look(world, repair=True)
    [(name, kind, window, _)] = told(report)
    assert (name, kind) == ("BTC/USDT 1m", "rows_missing" if change < 0 else "count_wrong")
    assert (window.start, window.end) == (FIRST, OUTAGE.start)
    assert report.sound
    assert asked_again(world) == {("BTCUSDT", "1m"): slots_of([window], "1m")}
    assert world.coverage("BTC/USDT", "1m") == before


def test_coverage_that_contradicts_itself_is_taken_back(world: World) -> None:
    """Intervals over one another and coverage of the future go, with everything that lacks a candle in them."""
    series, before = world.series("BTC/USDT", "1m"), world.coverage("BTC/USDT", "1m")
    world.change(DELETE, series=series.id, ms=FIRST + 30 * MINUTE)
    replace_coverage(world, FIRST + 10 * MINUTE, FIRST + 25 * MINUTE, 15)
    replace_coverage(world, FIRST + 20 * MINUTE, FIRST + 40 * MINUTE, 20)
    replace_coverage(world, NOW, NOW + HOUR, 60)  # of a future that nobody can have seen
    report = look(world, repair=True)
    assert told(report) == [
        ("BTC/USDT 1m", "coverage_overlaps", Window(FIRST + 10 * MINUTE, FIRST + 40 * MINUTE), 30),
        ("BTC/USDT 1m", "rows_missing", Window(FIRST + 30 * MINUTE, FIRST + 31 * MINUTE), 1),
        ("BTC/USDT 1m", "rows_missing", Window(FIRST + 30 * MINUTE, FIRST + 31 * MINUTE), 1),
        ("BTC/USDT 1m", "rows_missing", Window(NOW, NOW + HOUR), 60),
    ]
    assert report.sound
    assert [kind for _, kind, *_ in told(look(world))] == ["rows_uncovered"]
    slots = slots_of([Window(FIRST + 10 * MINUTE, FIRST + 40 * MINUTE)], "1m")
    assert asked_again(world) == {("BTCUSDT", "1m"): slots}
    assert world.coverage("BTC/USDT", "1m") == before
    assert told(look(world)) == []


@pytest.mark.parametrize("seed", range(3))
def test_whatever_was_damaged_one_repair_and_one_run_make_it_whole(world: World, seed: int) -> None:
    """Rows and coverage removed at random: afterwards the candles are the true ones, and all of it is sound."""
    series, true, before = (
        world.series("BTC/USDT", "1m"),
        world.rows("BTC/USDT", "1m"),
        world.coverage("BTC/USDT", "1m"),
    )
    chance = random.Random(seed)
    engine = open_engine(f"sqlite:///{world.database_path}")
    for _ in range(6):
        start = FIRST + chance.randrange(5760) * MINUTE
        end = start + chance.choice([1, 5, 60, 700]) * MINUTE
        if chance.random() < 0.5:
            world.change(
                "DELETE FROM candles WHERE series_id = :series AND open_time >= :start AND open_time < :end",
                series=series.id, start=start, end=end,
            )  # fmt: skip
        else:
            with writing(engine) as conn:
                coverage.erase(conn, series.id, start, end, lambda a, b: series.grid.count(Window(a, b)))
    engine.dispose()
    look(world, repair=True)
    asked_again(world)
    assert same_candles(world.rows("BTC/USDT", "1m"), true)
    assert [each for each in world.coverage("BTC/USDT", "1m") if each.state == "stored"] == [
        each for each in before if each.state == "stored"
    ]
    assert told(look(world)) == []


def test_a_time_of_no_calendar_does_not_stop_the_audit(world: World) -> None:
    """A row with its time in µs, put there by hand, is named with its bare number."""
    series = world.series("BTC/USDT", "1m")
    world.change(COPY, series=series.id, ms=FIRST, by=FIRST * 999)
    [finding] = look(world).findings
    assert finding.kind == "rows_uncovered"
    assert str(FIRST * 1000) in finding.message


def test_children_that_do_not_add_up_are_told_and_left_alone(world: World) -> None:
    """One minute with another volume: the hour that holds it disagrees, coverage is sound, nothing is repaired."""
    minute, hour = FIRST + 605 * MINUTE, FIRST + 600 * MINUTE
    series = world.series("BTC/USDT", "1m")
    world.change(
        "UPDATE candles SET volume = volume + 1 WHERE series_id = :series AND open_time = :ms",
        series=series.id, ms=minute,
    )  # fmt: skip
    assert told(look(world)) == []
    report = look(world, repair=True, deep=True)
    assert told(report) == [("BTC/USDT 1h", "parent_disagrees", Window(hour, hour + HOUR), 60)]
    assert (report.sound, report.repaired) == (True, 0)
    assert "volume is" in report.findings[0].message


def test_incomplete_children_are_not_held_against_their_parent(world: World) -> None:
    """An hour that lacks a minute is not compared until the minute is back."""
    series = world.series("BTC/USDT", "1m")
    world.change(DELETE, series=series.id, ms=FIRST + 605 * MINUTE)
    look(world, repair=True)
    assert told(look(world, deep=True)) == []
