"""Who heals a fallback's candles, when the most preferred source cannot, and how often one that refuses is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from fetcher.clock import parse_utc
from fetcher.model import DAY, HOUR, MINUTE
from fetcher.outcome import Outcome
from tests.contract.wire import Reply
from tests.integration.test_sources_failures import CANDLES, Relay
from tests.integration.world_of_sources import SourceWorld, market_of, open_sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = parse_utc("2026-06-01T00:00:30Z")
SPEED = 20
START = "2026-05-31T18:00:00Z"
NOT_LISTED = {"binance": ", symbols: {BTC/USDT: NOSUCHMARKET}"}
REFUSALS = {
    "wrong question": Reply(400, b'{"code":-1102,"msg":"Mandatory parameter was not sent."}'),
    "key refused": Reply(401, b'{"code":-2015,"msg":"Invalid API-key, IP, or permissions."}'),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SourceWorld]:
    """A sandbox whose venues are all well."""
    with open_sources(tmp_path) as opened:
        yield opened


def run(world: SourceWorld, now: int) -> Outcome:
    """One run at a time that compares nothing."""
    world.compared(now)
    return world.run(clock=world.set_clock(now, SPEED)).outcome


def test_the_second_heals_the_third_where_the_first_does_not_list_the_market(world: SourceWorld) -> None:
    """Binance has no such market: what Kraken gave while OKX was away becomes OKX's."""
    world.configure_sources(market_of("BTC/USDT", "1h", "2026-05-20", "binance", "okx", "kraken"), more=NOT_LISTED)
    world.down("okx")
    run(world, NOW)
    assert world.served("BTC/USDT", "1h").keys() == {"kraken"}
    world.down()
    for minutes in (5, 6, 7):
        run(world, NOW + minutes * MINUTE)
    assert world.served("BTC/USDT", "1h").keys() == {"okx"}
    assert world.jobs().keys() == {"done"}


def test_the_second_heals_the_third_beyond_the_reach_of_the_first(world: SourceWorld) -> None:
    """Of what Yahoo gave Kraken heals its newest 720 minutes, and Binance what is older."""
    world.configure_sources(market_of("BTC/USDT", "1m", "2026-05-31T00:00:00Z", "kraken", "binance", "yahoo"))
    world.down("kraken", "binance")
    run(world, NOW)
    assert world.served("BTC/USDT", "1m").keys() == {"yahoo"}
    world.down()
    for minutes in (5, 6):
        run(world, NOW + minutes * MINUTE)
    served = world.served("BTC/USDT", "1m")
    assert served.keys() == {"kraken", "binance"}
    assert 600 < served["kraken"] <= 732
    older = world.rows_of("BTC/USDT", "1m", "binance")["open_time"]
    assert int(older[-1]) < int(world.rows_of("BTC/USDT", "1m", "kraken")["open_time"][0])
    assert int(older[0]) == parse_utc("2026-05-31")
    assert world.jobs().keys() == {"done"}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_source_that_refuses_to_heal_is_not_asked_in_every_run(world: SourceWorld, refusal: str) -> None:
    """It answers, though not with candles: its jobs wait longer and longer, or for a person, and count attempts."""
    world.configure_sources(market_of("BTC/USDT", "1m", START, "binance", "okx"))
    world.down("binance")
    run(world, NOW)
    world.down()
    with Relay(world.sandbox.url, CANDLES["binance"]) as relay:
        world.configure_sources(market_of("BTC/USDT", "1m", START, "binance", "okx"), urls={"binance": relay.url})
        relay.answer(*[REFUSALS[refusal]] * 1000)
        for minutes in range(5, 25):
            run(world, NOW + minutes * MINUTE)
        asked = [parse_qs(urlsplit(path).query) for path in relay.seen if path.startswith(CANDLES["binance"])]
    healing = [each for each in asked if int(each.get("startTime", ["0"])[0]) in {parse_utc(START), NOW - 6 * HOUR}]
    assert 0 < len(healing) <= 12, "20 runs asked it for what closed, few of them for what OKX gave"
    waiting = world.query("SELECT attempts, not_before FROM jobs WHERE kind = 'heal' AND status = 'queued'")
    assert waiting
    assert all(attempts > 0 for attempts, _ in waiting)
    assert any(due > NOW + 25 * MINUTE for _, due in waiting)


def test_what_waits_for_a_rest_heals_as_soon_as_that_is_lifted(world: SourceWorld) -> None:
    """Banned for an hour, then lifted by hand: the next run heals at once."""
    world.sandbox.configure(retry_after=3600)
    world.configure_sources(market_of("BTC/USDT", "1m", START, "binance", "okx"))
    world.down("binance")
    run(world, NOW)
    world.down()
    world.sandbox.script("status:418", 1, path="*")
    run(world, NOW + 5 * MINUTE)
    assert world.served("BTC/USDT", "1m").keys() == {"okx"}
    assert world.query("SELECT count(*) FROM jobs WHERE kind = 'heal' AND status = 'queued'") != [(0,)]
    world.change("UPDATE endpoint_state SET stop_until = NULL, breaker = 'closed', failures = 0")
    assert run(world, NOW + 7 * MINUTE) is Outcome.OK
    assert world.served("BTC/USDT", "1m").keys() == {"binance"}


def test_a_source_that_knows_without_asking_is_remembered_too(world: SourceWorld) -> None:
    """CoinGecko quotes nothing in FDUSD: a run plans to heal from there once a day, not every minute."""
    world.configure_sources(market_of("BTC/FDUSD", "4h", "2026-05-20", "coingecko", "okx"))
    run(world, NOW)
    assert world.served("BTC/FDUSD", "4h").keys() == {"okx"}
    planned = []
    for minutes in (1, 2, 3, 4):
        run(world, NOW + minutes * MINUTE)
        planned += world.query("SELECT count(*) FROM jobs WHERE kind = 'heal'")
    assert planned[0] == planned[-1]
    run(world, NOW + DAY + HOUR)
    assert world.query("SELECT count(*) FROM jobs WHERE kind = 'heal'") > [planned[-1]]
