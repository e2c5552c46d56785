"""Sources that leave out candles without trades: quiet minutes are none, an outage is absent, others keep theirs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from db.coverage import ABSENT, STORED
from fetcher.audit import audit
from fetcher.clock import format_utc, parse_utc
from fetcher.model import HOUR, MINUTE
from fetcher.outcome import Outcome
from tests.integration.commands import CommandLine
from tests.integration.world import slots_of, window
from tests.integration.world_of_sources import SourceWorld, market_of, open_sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = parse_utc("2026-06-01T00:00:30Z")
SPEED = 20
AWAY = window("2026-05-31T20:00", "2026-05-31T22:00")


class Line(SourceWorld, CommandLine):
    """The command line over a world of sources."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Line]:
    """A sandbox whose venues are all well."""
    with open_sources(tmp_path, "--clock", format_utc(NOW)) as opened:
        yield Line(opened.sandbox, tmp_path)


def assert_each_row_is_its_sources(world: SourceWorld) -> None:
    """Coverage counts for each source exactly the candles that are its own, and an audit says so too."""
    counted: dict[str, int] = {}
    names = dict(world.query("SELECT id, name FROM sources"))
    for each in world.coverage("BTC/USDT", "1m"):
        counted[names[each.source_id]] = counted.get(names[each.source_id], 0) + each.rows
    assert counted == world.served("BTC/USDT", "1m")
    with world.app() as app:
        assert audit(app.engine, app.fetcher.sync()).findings == ()


def test_what_the_better_source_left_out_stays_the_others(world: Line) -> None:
    """Coinbase heals all that was traded there; Binance's flat minutes stay its own, as asked about and lacked."""
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-30T06:00:00Z", "coinbase", "binance"))
    world.compared(NOW)
    world.down("coinbase")
    assert world.run(clock=world.set_clock(NOW, SPEED)).outcome is Outcome.OK
    world.down()
    assert world.run(clock=world.set_clock(NOW + 5 * MINUTE, SPEED)).outcome is Outcome.OK

    served = world.served("BTC/USDT", "1m")
    assert served["coinbase"] > 10 * served["binance"] > 0
    assert_each_row_is_its_sources(world)
    ids = {name: number for number, name in world.query("SELECT id, name FROM sources")}
    kept = [each for each in world.coverage("BTC/USDT", "1m") if each.source_id == ids["binance"]]
    assert {each.route for each in kept} == {"rest"}
    assert {json.loads(each.evidence or "{}").get("source") for each in kept} == {"coinbase"}
    assert all(each.recheck_at for each in kept)

    said = " ".join(world.command("gaps", "--fallback", FETCHER_CLOCK=format_utc(NOW + 6 * MINUTE)).out.split())
    assert "coinbase has none of it, asked again at 2026-06-01T01" in said
    assert "no job yet" not in said

    world.sandbox.clear_log()
    again = NOW + 3 * HOUR
    world.compared(again)
    assert world.run(clock=world.set_clock(again, SPEED)).outcome is Outcome.OK
    asked = [each for each in world.sandbox.log(venue="coinbase") if each["path"].endswith("/candles")]
    assert len(kept) > 3
    assert len(asked) <= 3 * 9, "a page and two confirmations for each page of 42 hours, not for each quiet minute"
    assert_each_row_is_its_sources(world)


@pytest.mark.parametrize("source", ["okx", "coinbase"])
def test_an_outage_is_absent_and_asked_again(world: Line, source: str) -> None:
    """Two hours are no quiet time: proven with evidence, asked again when due, and there when they turn up."""
    spans = [f"{format_utc(AWAY.start)}/{format_utc(AWAY.end)}"]
    world.sandbox.configure(venues={source: {"outages": spans}})
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T06:00:00Z", source))
    assert world.run(clock=world.set_clock(NOW, SPEED)).missing <= 9, "only a quiet newest edge may wait"
    [gone] = [each for each in world.coverage("BTC/USDT", "1m") if each.state == ABSENT]
    assert gone.start_ms <= AWAY.start < AWAY.end <= gone.end_ms
    assert (gone.answers, gone.recheck_at) != (None, None)
    proof = json.loads(gone.evidence or "")
    assert proof["source"] == source
    assert all(gone.start_ms - MINUTE in each["came_back"] for each in proof["answers"])
    assert all(gone.end_ms in each["came_back"] for each in proof["answers"])

    told = world.answer("status")["series"][0]
    assert told["expected"] == told["stored"] + told["quiet"] + told["absent"] + told["missing"]
    assert told["absent"] >= AWAY.span // MINUTE
    assert (told["quiet"] > 0) == (source == "coinbase")
    assert world.answer("gaps")["quiet"] == told["quiet"]

    world.sandbox.configure(venues={source: {"outages": []}})
    again = NOW + 3 * HOUR
    for minutes in (0, 1):  # the candles, then the quiet slots among them
        world.run(clock=world.set_clock(again + minutes * MINUTE, SPEED))
    assert world.absent("BTC/USDT", "1m") == []
    times = set(world.rows("BTC/USDT", "1m")["open_time"].tolist())
    assert len(slots_of([AWAY], "1m") & times) > 110
    assert_each_row_is_its_sources(world)


def test_quiet_minutes_are_counted_and_not_called_anything_else(world: Line) -> None:
    """Where nothing is missing but minutes had no trade, `gaps` says so, and status has a column for them."""
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T18:00:00Z", "coinbase"))
    for minutes in range(0, 20, 2):  # until a run ends on a minute with trades
        if world.run(clock=world.set_clock(NOW + minutes * MINUTE, SPEED)).missing == 0:
            break
    told = world.answer("status")
    quiet = told["series"][0]["quiet"]
    assert quiet == told["total"]["quiet"] > 0
    assert sum(each.rows == 0 for each in world.coverage("BTC/USDT", "1m") if each.state == STORED) == 0
    assert f"is stored, quiet ({quiet}: no trades) or proven absent." in world.command("gaps").out
    assert "  quiet  " in world.command("status").out


def test_a_short_run_across_two_jobs_is_judged_whole(world: Line) -> None:
    """An outage of half an hour that two backfills find in halves of a quarter each is an absence all the same."""
    halt = window("2026-05-31T20:45", "2026-05-31T21:15")
    world.sandbox.configure(venues={"coinbase": {"outages": [f"{format_utc(halt.start)}/{format_utc(halt.end)}"]}})
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-06-01", "coinbase"))
    for start, end in (("21:00", "22:00"), ("20:00", "21:00")):
        asked = window(f"2026-05-31T{start}", f"2026-05-31T{end}")
        assert world.backfill(asked, world.set_clock(NOW, SPEED)).missing == 0
    assert slots_of(world.absent("BTC/USDT", "1m"), "1m") >= slots_of([halt], "1m")
