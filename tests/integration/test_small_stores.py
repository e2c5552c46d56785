"""Stores that stay small: what nothing depends on any more goes once a day, and a file does not grow for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db import quarantine, state
from db.engine import reading, writing
from db.quarantine import QuarantineRow
from db.series import ensure_sources
from fetcher import housekeeping
from fetcher.clock import Clock, parse_utc
from fetcher.events import Pruned
from fetcher.housekeeping import Housekeeping
from fetcher.model import DAY
from fetcher.sections import Keep
from tests.databases import ON_SQLITE

if TYPE_CHECKING:
    import pytest
    from sqlalchemy import Engine

    from fetcher.events import Fact

NOW = parse_utc("2026-06-01T00:00:00Z")
DEFAULTS = Keep()


def refused(engine: Engine, count: int, at_ms: int) -> None:
    """So many rows that nobody can use, refused then."""
    with writing(engine) as conn:
        source = ensure_sources(conn, ["binance"])["binance"]
        rows = [QuarantineRow(None, source, "rest", None, "not_json", f"{at_ms} {n} {'x' * 200}") for n in range(count)]
        quarantine.add(conn, rows, at_ms)


def kept(engine: Engine) -> int:
    """How many refused rows there are."""
    with reading(engine) as conn:
        return sum(quarantine.counts(conn).values())


def tidy(engine: Engine, now: int, keep: Keep = DEFAULTS) -> list[Fact]:
    """Keep house at that time; what was told of it."""
    told: list[Fact] = []
    Housekeeping(engine, Clock(now, 0.0), keep, told.append).tidy()
    return told


def test_old_rows_go_once_a_day(engine: Engine) -> None:
    """What is a year old goes, and the rest stays; within the day after nothing is looked for."""
    refused(engine, 3, NOW - 366 * DAY)
    refused(engine, 2, NOW - 364 * DAY)
    assert tidy(engine, NOW) == [Pruned((("quarantine", 3),))]
    assert kept(engine) == 2
    assert tidy(engine, NOW + DAY - 1, Keep.model_validate({"quarantine": "1d"})) == []
    assert kept(engine) == 2
    assert tidy(engine, NOW + 2 * DAY) == [Pruned((("quarantine", 2),))]


def test_null_keeps_for_ever(engine: Engine) -> None:
    """Whoever wants to keep everything can."""
    refused(engine, 3, NOW - 3000 * DAY)
    assert tidy(engine, NOW, Keep(quarantine=None, quarantine_rows=None, revisions_rows=None)) == []
    assert kept(engine) == 3


def test_a_clock_that_was_ahead_is_no_excuse(engine: Engine) -> None:
    """A last time in the future is of a clock that was wrong."""
    with writing(engine) as conn:
        state.cache_put(conn, "housekeeping", "", NOW + 900 * DAY)
    refused(engine, 1, NOW - 366 * DAY)
    assert tidy(engine, NOW) == [Pruned((("quarantine", 1),))]


def test_much_goes_in_small_steps(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run deletes so many rows at most, in short transactions; the next goes on at once."""
    monkeypatch.setattr(housekeeping, "BATCH_ROWS", 10)
    monkeypatch.setattr(housekeeping, "BATCHES", 8)
    refused(engine, 100, NOW - 366 * DAY)
    counts = []
    while kept(engine):
        tidy(engine, NOW)
        counts.append(kept(engine))
    assert counts == [60, 20, 0]


@ON_SQLITE
def test_the_file_of_a_store_does_not_grow_for_ever(engine: Engine) -> None:
    """Pages that are free are used again: what comes and goes takes the room that it took at first."""
    sizes = []
    for year in range(6):
        now = NOW + year * 400 * DAY
        refused(engine, 2_000, now)
        tidy(engine, now)
        with reading(engine) as conn:
            sizes.append(conn.exec_driver_sql("PRAGMA page_count").scalar_one())
    assert sizes[-1] <= sizes[1] * 1.05
