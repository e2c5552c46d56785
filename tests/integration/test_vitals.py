"""The vitals of a database that real runs have filled: every number is the one that a query by hand finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from db.engine import open_engine
from db.errors import DatabaseProblem
from fetcher.clock import parse_utc
from fetcher.config import load
from fetcher.model import HOUR
from fetcher.sandbox.control import spawn_sandbox
from fetcher.vitals import Vitals, read_vitals, vitals_or_none
from tests.databases import chosen
from tests.integration.commands import NOW, CommandLine
from tests.integration.world import market

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.databases import Databases

OUTAGE = "2026-05-30T02:00/2026-05-30T04:30"


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[CommandLine]:
    """A folder where one run has fetched more than a page of each, with an outage in it."""
    with spawn_sandbox("--clock", NOW, "--outage", OUTAGE) as sandbox, chosen(databases):
        made = CommandLine(sandbox, tmp_path_factory.mktemp("vitals"))
        made.configure(market("BTC/USDT ETH/USDT", "1h", "2026-04-15"))
        first = made.command()
        assert first.code == 0, first
        yield made


def vitals(line: CommandLine, now: str = NOW) -> Vitals:
    """The vitals at a time."""
    engine = open_engine(line.database_url)
    try:
        return read_vitals(engine, load(line.config_path, {}), parse_utc(now))
    finally:
        engine.dispose()


def test_a_complete_database_says_so(line: CommandLine) -> None:
    """Slots, requests, runs and shares are those of the tables."""
    found = vitals(line)
    [(stored,)] = line.query("SELECT count(*) FROM candles")
    [(requests, errors)] = line.query("SELECT sum(requests), sum(errors) FROM endpoint_hours")
    assert sum(place.stored for place in found.series) == stored
    assert (found.expected, found.missing, found.completeness) == (stored + 4, 0, 1.0)
    assert (found.api_success, found.unfetched, found.failed_in_row) == (1 - errors / requests, 0, 0)
    assert found.response_ms is not None
    assert found.response_ms > 0
    assert found.jobs == {}
    [(filled,)] = line.query("SELECT count(*) FROM jobs WHERE status = 'done' AND kind IN ('gap', 'backfill')")
    assert filled > 0
    assert (found.filled, found.given_up, found.gap_recovery) == (filled, 0, 1.0)
    last = found.last_run
    assert last is not None
    assert (last.kind, last.outcome, last.exit_code) == ("run", "ok", 0)
    assert {place.overdue_ms for place in found.series} == {0}


def test_time_that_passes_makes_candles_overdue(line: CommandLine) -> None:
    """Three hours later two closes are past by an hour and two: the first of them counts."""
    assert {place.overdue_ms for place in vitals(line, "2026-06-01T03:00:30Z").series} == {2 * HOUR + 30_000}


def test_a_clock_of_ours_that_is_wrong_makes_nothing_overdue(line: CommandLine) -> None:
    """What has closed is told by the clock of the source, as far as that was seen when ours was looked at."""
    [was] = line.query("SELECT clock_ms, clock_seen_ms FROM sources WHERE name = 'binance'")
    line.change("UPDATE sources SET clock_seen_ms = clock_ms + 2 * 3600000 WHERE name = 'binance'")
    assert {place.overdue_ms for place in vitals(line, "2026-06-01T02:00:30Z").series} == {0}
    assert {place.overdue_ms for place in vitals(line, "2026-06-01T05:00:30Z").series} == {2 * HOUR + 30_000}
    line.change("UPDATE sources SET clock_ms = :ms, clock_seen_ms = :seen", ms=was[0], seen=was[1])


def test_jobs_are_counted_by_purpose_and_state(line: CommandLine) -> None:
    """What waits, what was given up, and since when; a job that was given up lowers the recovery."""
    before = vitals(line)
    line.change("DELETE FROM coverage WHERE series_id = 2")
    add = (
        "INSERT INTO jobs (series_id, kind, start_ms, end_ms, priority, status, not_before, last_error, created_ms, "
        "updated_ms) VALUES (2, :kind, :start, :end, :priority, :status, 0, 'no', :made, :made)"
    )
    start, now = parse_utc("2026-05-20T00:00Z"), parse_utc(NOW)
    new = [("gap", 20, "failed"), ("gap", 20, "queued"), ("tail", 10, "queued")]
    for number, (kind, priority, status) in enumerate(new):
        line.change(
            add, kind=kind, priority=priority, status=status, start=start + number * HOUR,
            end=start + (number + 1) * HOUR, made=now - number * HOUR,
        )  # fmt: skip
    found = vitals(line)
    assert found.jobs == {("gap", "failed"): 1, ("gap", "queued"): 1, ("tail", "queued"): 1}
    assert found.oldest_job_ms == now - 2 * HOUR
    assert (found.filled, found.given_up) == (before.filled, 1)
    place = found.series[1]
    assert (place.queued, place.failed, place.jobs_failed, place.last_error) == (2, 1, 1, "no")
    assert found.missing == place.missing == place.expected
    line.change("DELETE FROM jobs WHERE status <> 'done'")


def test_refused_rows_are_counted_by_reason(line: CommandLine) -> None:
    """Those released are not held any more, and those of more than an hour ago are not new."""
    now = parse_utc(NOW)
    for number, (reason, received, released) in enumerate(
        [("frozen", now - 5, 0), ("frozen", now - 2 * HOUR, 0), ("stale", now - 2 * HOUR, 0), ("stale", now, now)]
    ):
        line.change(
            "INSERT INTO quarantine (series_id, source_id, route, reason, payload, digest, received_ms, last_seen_ms, "
            "released_ms) VALUES (1, 1, 'rest', :reason, '[]', :digest, :received, :received, NULLIF(:released, 0))",
            reason=reason, digest=str(number), received=received, released=released,
        )  # fmt: skip
    held = {reason: (each.rows, each.new) for reason, each in vitals(line).quarantine.items()}
    assert held == {"frozen": (2, 1), "stale": (1, 0)}


def test_a_database_that_cannot_be_read_is_told(line: CommandLine) -> None:
    """As a problem with its sentence, or as None for who only wants to know."""
    config = load(line.config_path, {})
    engine = open_engine(f"sqlite:///{line.folder}/empty.db")
    (line.folder / "empty.db").write_bytes(b"not a database, and long enough to be taken for a file of one" * 20)
    with pytest.raises(DatabaseProblem):
        read_vitals(engine, config, 0)
    assert vitals_or_none(engine, config, 0) is None
    engine.dispose()
