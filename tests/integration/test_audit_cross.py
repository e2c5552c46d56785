"""Sources compared through the whole program: one sandbox, several venues over one market, each in its own format."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from db import state
from db.engine import reading
from fetcher.app import App, build
from fetcher.audit_cross import NOT_COMPARED, CrossFinding, cross, sample
from fetcher.clock import Clock, parse_utc
from fetcher.config import load
from fetcher.crosscheck import FACTOR, PRICE, SHIFTED
from fetcher.events import CrossChecked
from fetcher.model import HOUR, Series, Window
from fetcher.observe.factlog import FactLog
from fetcher.sandbox.control import SandboxControl, spawn_sandbox
from fetcher.sandbox.registry import VENUES
from tests.integration.commands import CommandLine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.databases import Databases

CLOCK = "2026-06-01T00:00:30Z"
NOW = parse_utc(CLOCK)
FROM = "2026-05-10"
DOWN = "2026-05-01T00:00:00Z/2026-07-01T00:00:00Z"


@dataclass
class Venues:
    """A sandbox, and a program whose database is filled from Binance."""

    sandbox: SandboxControl
    folder: Path
    databases: Databases

    def configure(self, second: str, markets: str) -> Path:
        """A configuration of Binance and a second source."""
        settings = {
            "okx": "client: ccxt, exchange: okx",
            "kraken": "client: ccxt, exchange: kraken",
            "coinbase": "client: ccxt, exchange: coinbaseexchange",
            "coingecko": "client: coingecko, symbols: {BTC/USDT: bitcoin}",
            "yahoo": "client: yahoo, symbols: {ETH/USDT: UNI-USD}",
        }
        url = f"{self.sandbox.url}/{second}" + ("/api/v3" if second == "coingecko" else "")
        path = self.folder / "config.yaml"
        path.write_text(
            f"database_url: {self.databases.url(self.folder)}\n"
            "sources:\n"
            f"  binance: {{client: binance, base_urls: ['{self.sandbox.url}'], archive_url: null}}\n"
            f"  {second}: {{{settings[second]}, base_url: '{url}', "
            "weight_per_minute: 60000}\n"
            f"markets:\n  - {{{markets}, start: {FROM}, sources: [binance, {second}]}}\n",
            encoding="utf-8",
        )
        return path

    @contextmanager
    def filled(self, second: str, markets: str) -> Iterator[tuple[App, list[Series]]]:
        """The program with its database filled, and its series."""
        app = build(load(self.configure(second, markets), {}), Clock(NOW, 20.0))
        try:
            result = app.fetcher.backfill([(each, Window(parse_utc(FROM), NOW)) for each in app.fetcher.sync()])
            assert result.series
            self.sandbox.clear_log()
            yield app, app.fetcher.sync()
        finally:
            app.close()


@pytest.fixture
def venues(tmp_path: Path, database: Databases) -> Iterator[Venues]:
    """A sandbox whose clock stands still."""
    with spawn_sandbox("--clock", CLOCK, *(f"--venue-limit={name}=100000/60s" for name in VENUES)) as sandbox:
        yield Venues(sandbox, tmp_path, database)


BTC = "symbols: [BTC/USDT], timeframes: [{}]"


def crossed(app: App, all_series: list[Series], windows: int = 2) -> list[CrossFinding]:
    """What `audit --cross` would find."""
    return [*cross(app.router, app.engine, all_series, windows=windows, seed=1).findings]


@pytest.mark.parametrize(
    ("second", "timeframes"),
    [
        ("okx", "1m, 1h, 1d"),
        ("kraken", "1m, 1h"),
        ("coinbase", "1m, 1h"),
        ("coingecko", "30m, 4h"),
        ("yahoo", "1m, 1h, 1d"),
    ],
)
def test_every_source_agrees_with_binance(venues: Venues, second: str, timeframes: str) -> None:
    """Venues of one market agree in each format, and really were asked; nothing is stored of it."""
    with venues.filled(second, BTC.format(timeframes)) as (app, all_series):
        before = _rows(app)
        assert crossed(app, all_series) == []
        assert len(venues.sandbox.log(venue=second)) >= len(all_series)
        assert _rows(app) == before


def test_pages_lie_within_reach_and_cost_one_question_each(venues: Venues) -> None:
    """The newest page and two older ones of a series of 12 pages; Kraken is asked for nothing beyond its 720 rows."""
    with venues.filled("okx", BTC.format("5m")) as (app, all_series):
        assert crossed(app, all_series, 2) == []
        asked = [entry for entry in venues.sandbox.log(venue="okx") if "candles" in entry["path"]]
        assert len(asked) == 3
    (venues.folder / "anew").mkdir()
    venues.folder /= "anew"
    with venues.filled("kraken", BTC.format("5m")) as (app, all_series):
        assert crossed(app, all_series, 5) == []
        assert 1 <= len(venues.sandbox.log("/kraken/0/public/OHLC")) <= 2


def test_a_candle_that_one_venue_restates(venues: Venues) -> None:
    """One close 15 % away is told with its time, and nothing is changed."""
    with venues.filled("okx", BTC.format("1h")) as (app, all_series):
        at = NOW - NOW % HOUR - 5 * HOUR
        venues.sandbox.restate("BTCUSDT", "1h", at, "200000", venue="okx")
        [found] = crossed(app, all_series, 0)
        assert (found.kind, found.start_ms, found.end_ms, found.other) == (PRICE, at, at + HOUR, "okx")
        assert found.disagrees
        assert not found.repaired


def test_stored_prices_of_another_unit_and_time(venues: Venues) -> None:
    """What is wrong on our own side shows the same way: cents for dollars, an hour late."""
    with venues.filled("okx", BTC.format("1h")) as (app, all_series):
        with app.engine.begin() as connection:
            columns = ", ".join(f"{name} = {name} * 100" for name in ("open", "high", "low", "close", "quote_volume"))
            connection.exec_driver_sql(f"UPDATE candles SET {columns}")  # noqa: S608 - names of ours only
        assert {each.kind for each in crossed(app, all_series)} == {FACTOR}
        with app.engine.begin() as connection:
            columns = columns.replace("*", "/")
            connection.exec_driver_sql(f"UPDATE candles SET {columns}")  # noqa: S608 - names of ours only
            connection.exec_driver_sql(f"UPDATE candles SET open_time = -open_time - {HOUR}")  # noqa: S608 - a number
            connection.exec_driver_sql("UPDATE candles SET open_time = -open_time")
        assert {each.kind for each in crossed(app, all_series)} == {SHIFTED}


def test_a_source_that_cannot_be_reached_is_no_disagreement(venues: Venues) -> None:
    """It is said once a series that nothing was compared, and why; the second series does not ask again."""
    with venues.filled("okx", BTC.format("1h, 4h")) as (app, all_series):
        venues.sandbox.configure(venues={"okx": {"down": [DOWN]}})
        found = crossed(app, all_series)
        assert [(each.series, each.kind) for each in found] == [(each, NOT_COMPARED) for each in all_series]
        assert not any(each.disagrees for each in found)
        assert all("not compared with okx: " in each.message for each in found)
        asked = len(venues.sandbox.log(venue="okx"))
        assert crossed(app, all_series[1:])
        assert asked < 20


def test_a_market_that_the_second_source_does_not_know(venues: Venues) -> None:
    """An unknown symbol is a reason too, and the next series is compared."""
    with venues.filled("yahoo", "symbols: [ETH/USDT, BTC/USDT], timeframes: [1h]") as (app, all_series):
        found = crossed(app, all_series)
        assert {(each.series.symbol, each.kind) for each in found} == {("ETH/USDT", NOT_COMPARED)}
        assert len(venues.sandbox.log("/yahoo/v8/finance/chart/BTC-USD", venue="yahoo")) >= 2


def test_a_single_source_has_nothing_to_be_compared_with(venues: Venues) -> None:
    """A timeframe that only one source offers is passed over without a word or a question."""
    with venues.filled("coingecko", BTC.format("1h")) as (app, all_series):
        assert crossed(app, all_series) == []
        assert sample(app.router, app.engine, all_series, app.clock, app.clock.now_ms()) is None
        assert venues.sandbox.log(venue="coingecko") == []


def test_each_run_samples_one_series_that_is_due(venues: Venues) -> None:
    """One after the other, each once an hour, with one question for candles; remembered in the cache."""
    with venues.filled("okx", "symbols: [BTC/USDT, ETH/USDT], timeframes: [1h]") as (app, all_series):
        facts = [sample(app.router, app.engine, all_series, app.clock, app.clock.now_ms()) for _ in range(3)]
        assert facts == [CrossChecked(f"{base}/USDT 1h", "okx", (), "") for base in ("BTC", "ETH")] + [None]
        assert len([entry for entry in venues.sandbox.log(venue="okx") if "candles" in entry["path"]]) == 2
        with reading(app.engine) as connection:
            kept = state.cache_get(connection, f"cross:{all_series[0].id}")
        assert kept is not None
        assert json.loads(kept[0])["kinds"] == []
        assert NOW <= kept[1] < NOW + HOUR
        later = sample(app.router, app.engine, all_series, app.clock, kept[1] + HOUR)
        assert later is not None
        assert later.series == "BTC/USDT 1h"


def test_a_sample_ends_with_the_run(venues: Venues) -> None:
    """It is tried once, and not at all of a source whose answer may take longer than is left."""
    with venues.filled("okx", BTC.format("1h")) as (app, all_series):
        assert sample(app.router, app.engine, all_series, app.clock, NOW, seconds=12.0) is None
        assert venues.sandbox.log(venue="okx") == []
        venues.sandbox.configure(venues={"okx": {"down": [DOWN]}})
        fact = sample(app.router, app.engine, all_series, app.clock, NOW, seconds=20.0)
        assert fact is not None
        assert fact.kinds == (NOT_COMPARED,)
        asked = [entry["path"].rpartition("/")[2] for entry in venues.sandbox.log(venue="okx")]
        assert max(asked.count(each) for each in asked) == 1


def test_a_sample_that_disagrees_is_a_warning(venues: Venues, caplog: pytest.LogCaptureFixture) -> None:
    """The log says who disagrees about what; a source that is down is no warning."""
    with venues.filled("okx", BTC.format("1h")) as (app, all_series):
        venues.sandbox.restate("BTCUSDT", "1h", NOW - NOW % HOUR - 5 * HOUR, "200000", venue="okx")
        fact = sample(app.router, app.engine, all_series, app.clock, app.clock.now_ms())
        assert fact is not None
        assert fact.kinds == (PRICE,)
        venues.sandbox.configure(venues={"okx": {"down": [DOWN]}})
        down = sample(app.router, app.engine, all_series, app.clock, NOW + 2 * HOUR)
        assert down is not None
        assert down.kinds == (NOT_COMPARED,)
    with caplog.at_level(logging.INFO, "fetcher"):
        FactLog()(fact)
        FactLog()(down)
    assert [(each.levelname, each.getMessage()[:21]) for each in caplog.records] == [
        ("WARNING", "okx disagrees (price)")
    ]


def test_the_command_tells_and_fails_when_sources_disagree(venues: Venues) -> None:
    """`audit --cross` ends with 0 while they agree or cannot be compared, and with 1 when they disagree."""
    line = CommandLine(venues.sandbox, venues.folder)
    with venues.filled("okx", BTC.format("1h")):
        pass
    assert "they agree" in line.command("audit", "--cross").out
    assert line.answer("audit", "--cross")["agrees"] is True
    assert line.answer("audit")["agrees"] is None
    venues.sandbox.restate("BTCUSDT", "1h", NOW - NOW % HOUR - 5 * HOUR, "200000", venue="okx")
    said = line.command("audit", "--cross")
    assert said.code == 1, said
    assert "Sources disagree in 1 place." in said.out
    [found] = json.loads(line.command("--json", "audit", "--cross").out)["findings"]
    assert (found["kind"], found["source"], found["symbol"]) == (PRICE, "okx", "BTC/USDT")
    venues.sandbox.configure(venues={"okx": {"down": [DOWN]}})
    said = line.command("audit", "--cross")
    assert said.code == 0
    assert "Nothing was compared: the last column says why." in said.out
    assert line.answer("audit", "--cross")["agrees"] is None


def test_nothing_stored_is_not_agreement(venues: Venues) -> None:
    """Before the first run there is nothing to compare, and that is what is said."""
    line = CommandLine(venues.sandbox, venues.folder)
    venues.configure("okx", BTC.format("1h"))
    said = line.command("audit", "--cross")
    assert (said.code, said.out.splitlines()[-1][:22]) == (0, "Nothing was compared: ")
    assert line.answer("audit", "--cross")["agrees"] is None


def _rows(app: App) -> list[tuple[Any, ...]]:
    with reading(app.engine) as connection:
        query = "SELECT source_id, count(*), sum(close) FROM candles GROUP BY source_id"
        return [tuple(row) for row in connection.exec_driver_sql(query)]
