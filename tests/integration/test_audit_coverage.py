"""Audit of coverage: what claims too much, too little or the same twice is taken back and proven again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
    replace_coverage,
    told,
)
from tests.integration.world import World, same_candles, slots_of

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
    delete(world, "BTC/USDT", "1m", *(FIRST + (100 + 7 * slot) * MINUTE for slot in range(5)))
    assert told(look(world)) == []
    if change < 0:
        delete(world, "BTC/USDT", "1m", FIRST + 50 * MINUTE)
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
    before = world.coverage("BTC/USDT", "1m")
    delete(world, "BTC/USDT", "1m", FIRST + 30 * MINUTE)
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


@pytest.mark.parametrize("sparse", [False, True])
def test_candles_of_another_source_are_not_counted_as_its_own(world: World, sparse: bool) -> None:
    """Whoever put them there, coverage speaks for one source: named, taken back and asked for again, nothing else."""
    series, before = world.series("BTC/USDT", "1m"), world.coverage("BTC/USDT", "1m")
    strange = [Window(FIRST + at * MINUTE, FIRST + (at + 2) * MINUTE) for at in (100, 300)]
    if sparse:
        delete(world, "BTC/USDT", "1m", *(FIRST + (500 + slot) * MINUTE for slot in range(5)))
        world.change(
            "UPDATE coverage SET rows = rows - 5 WHERE series_id = :series AND start_ms = :start",
            series=series.id, start=FIRST,
        )  # fmt: skip
    world.change("INSERT INTO sources (id, name) VALUES (77, 'other')")
    for run in strange:
        world.change(
            "UPDATE candles SET source_id = 77 WHERE series_id = :series AND open_time >= :start AND open_time < :end",
            series=series.id, start=run.start, end=run.end,
        )  # fmt: skip
    report = look(world, repair=True)
    assert told(report) == [("BTC/USDT 1m", "rows_of_others", run, 2) for run in strange]
    assert report.sound
    assert [kind for _, kind, *_ in told(look(world))] == ["rows_uncovered"] * 2
    assert asked_again(world) == {("BTCUSDT", "1m"): slots_of(strange, "1m")}
    assert told(look(world)) == []
    if not sparse:
        assert world.coverage("BTC/USDT", "1m") == before
