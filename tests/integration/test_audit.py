"""Audit of candles: whatever was deleted or added is seen, repaired, and fetched again exactly."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import event

from db import coverage
from db.engine import open_engine, writing
from fetcher.audit import audit
from fetcher.gaps import GapDetector
from fetcher.model import HOUR, MINUTE, Window
from tests.databases import chosen
from tests.integration.damage import (
    COPY,
    FIRST,
    NOW,
    OUTAGE,
    asked_again,
    copied,
    delete,
    filled_world,
    look,
    told,
)
from tests.integration.world import World, same_candles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fetcher.sandbox.control import SandboxControl
    from tests.databases import Databases


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[tuple[SandboxControl, Path]]:
    """A sandbox and a database that the program filled from it, once for all tests here."""
    with chosen(databases), filled_world(tmp_path_factory.mktemp("filled")) as made:
        yield made


@pytest.fixture
def world(databases: Databases, filled: tuple[SandboxControl, Path], tmp_path: Path) -> World:
    """A copy of the filled database, to be damaged."""
    with chosen(databases):
        return copied(filled, tmp_path)


def test_a_database_that_the_program_filled_is_sound(world: World) -> None:
    """Outages, months and anchored grids give no finding, and repairing nothing writes nothing."""
    before = world.coverage("BTC/USDT", "1m")
    report = look(world, repair=True, deep=True)
    assert told(report) == []
    assert (report.sound, report.repaired) == (True, 0)
    assert world.coverage("BTC/USDT", "1m") == before
    assert OUTAGE in world.absent("BTC/USDT", "1m")


@pytest.mark.parametrize("number", [1, 10, 300])
def test_deleted_rows_are_seen_and_only_these_fetched_again(world: World, number: int) -> None:
    """Rows deleted in runs and alone: audit names exactly these slots, the next run asks for exactly these."""
    series, true = world.series("BTC/USDT", "1m"), world.rows("BTC/USDT", "1m")
    covered = world.coverage("BTC/USDT", "1m")
    chance = random.Random(number)
    deleted = set(true["open_time"][: max(1, number // 3)].tolist()) if number > 1 else set()
    deleted |= set(true["open_time"][3000 : 3000 + number // 3].tolist())
    deleted |= {*chance.sample(sorted(set(true["open_time"].tolist()) - deleted), number - len(deleted))}
    delete(world, "BTC/USDT", "1m", *deleted)

    runs = GapDetector(series.grid).runs(np.array(sorted(deleted), dtype=np.int64))
    report = look(world)
    assert not any(run.start < OUTAGE.end and run.end > OUTAGE.start for run in runs)
    assert [(kind, window) for _, kind, window, _ in told(report)] == [("rows_missing", run) for run in runs]
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


@pytest.mark.parametrize("timeframe", ["1d", "3d", "1w", "1M"])
def test_every_grid_is_audited(world: World, timeframe: str) -> None:
    """First, middle and last candle of days, weeks, months and anchored three-day candles are found when gone."""
    series, true = world.series("ETH/USDT", timeframe), world.rows("ETH/USDT", timeframe)
    times = true["open_time"]
    gone = [int(times[place]) for place in (0, len(times) // 2, len(times) - 1)]
    delete(world, "ETH/USDT", timeframe, *gone)
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
    delete(world, "BTC/USDT", "1m", gone)
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


@pytest.mark.parametrize("seed", range(3))
def test_whatever_was_damaged_one_repair_and_one_run_make_it_whole(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and coverage removed at random: afterwards the candles are the true ones, and all of it is sound."""
    series, true, before = (
        world.series("BTC/USDT", "1m"),
        world.rows("BTC/USDT", "1m"),
        world.coverage("BTC/USDT", "1m"),
    )
    chance = random.Random(seed)
    monkeypatch.setattr("fetcher.audit._CHUNK_SLOTS", 700)
    engine = open_engine(world.database_url)
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
    delete(world, "BTC/USDT", "1m", FIRST + 605 * MINUTE)
    look(world, repair=True)
    assert told(look(world, deep=True)) == []


def test_what_was_mended_meanwhile_is_not_taken_back(world: World) -> None:
    """Between looking and repairing another process fetches the candle: its coverage stays, nothing is told."""
    gone, before = FIRST + 50 * MINUTE, world.coverage("BTC/USDT", "1m")
    series = world.series("BTC/USDT", "1m")
    delete(world, "BTC/USDT", "1m", gone)
    engine = open_engine(world.database_url)

    event.listen(engine, "commit", lambda _: world.change(COPY, series=series.id, ms=FIRST, by=gone - FIRST), once=True)
    report = audit(engine, [series], repair=True)
    engine.dispose()
    assert told(report) == []
    assert world.coverage("BTC/USDT", "1m") == before
