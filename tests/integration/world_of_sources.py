"""A small world with several sources: one sandbox whose venues share one market, and the program with fallbacks."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from db import candles
from fetcher.clock import Clock, format_utc
from fetcher.sandbox.control import spawn_sandbox
from fetcher.sandbox.generated import GeneratedMarket
from fetcher.sandbox.registry import VENUES
from tests.integration.world import World, as_candles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fetcher.model import Rows, Timeframe, Window

CLIENTS = {
    "okx": "client: ccxt, exchange: okx",
    "kraken": "client: ccxt, exchange: kraken",
    "coinbase": "client: ccxt, exchange: coinbaseexchange",
    "coingecko": "client: coingecko, symbols: {BTC/USDT: bitcoin, ETH/USDT: ethereum}",
    "yahoo": "client: yahoo",
}
PATHS = {"coingecko": "/coingecko/api/v3"}
"""Where a venue's interface begins below the sandbox, unless it is its name alone."""
IDS = {
    "binance": "{0}USDT", "okx": "{0}-USDT", "coinbase": "{0}-USDT", "yahoo": "{0}-USD",
    "coingecko": "{0}", "kraken": "{0}USDT",
}  # fmt: skip
_LONG = "2000-01-01/2100-01-01"
_OWN_NAMES = {"coingecko": {"BTC": "bitcoin", "ETH": "ethereum"}, "kraken": {"BTC": "XBT"}}


def market_of(symbols: str, timeframes: str, start: str, *sources: str) -> str:
    """One entry of `markets` with its sources, the best first; symbols and timeframes are separated by blanks."""
    listed = (", ".join(words.split()) for words in (symbols, timeframes))
    return "- {{symbols: [{}], timeframes: [{}], start: {}, sources: [{}]}}".format(*listed, start, ", ".join(sources))


class SourceWorld(World):
    """A world whose configuration names Binance and other venues of the sandbox."""

    def configure_sources(
        self, *markets: str, timeout: str = "10s", workers: int = 4, urls: Mapping[str, str] | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Write a configuration with every venue as a source; `urls` are other addresses, `more` further settings."""
        told, extra = urls or {}, more or {}
        base = told.get("binance", self.sandbox.url)
        own = f"timeout: {timeout}, archive_url: null{extra.get('binance', '')}"
        lines = [f"  binance: {{client: binance, base_urls: ['{base}'], {own}}}"]
        for name, client in CLIENTS.items():
            url = told.get(name, self.sandbox.url + PATHS.get(name, f"/{name}"))
            lines.append(f"  {name}: {{{client}, base_url: '{url}', timeout: {timeout}{extra.get(name, '')}}}")
        self.config_path.write_text(
            f"database_url: {self.database_url}\nsources:\n"
            + "".join(f"{line}\n" for line in lines)
            + "markets:\n"
            + "".join(f"  {entry}\n" for entry in markets)
            + f"run: {{workers: {workers}}}\n",
            encoding="utf-8",
        )

    def down(self, *names: str) -> None:
        """Let exactly these venues answer nobody, their time endpoints included."""
        self.sandbox.configure(
            venues={name: {"down": [_LONG] if name in names else []} for name in ("binance", *VENUES)}
        )

    def set_clock(self, now_ms: int, speed: float = 1.0) -> Clock:
        """Set the sandbox's clock, and return one for the program that shows and runs the same."""
        self.sandbox.configure(clock=written(now_ms, speed))
        return Clock(now_ms, speed)

    def compared(self, now_ms: int) -> None:
        """Let every series have been compared with another source just now, so that no run asks for a sample."""
        with self.app(Clock(now_ms)) as app:
            app.fetcher.sync()
        told = (
            "INSERT INTO cache (key, value, fetched_ms) SELECT 'cross:' || id, '{}', :now FROM series WHERE true "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value, fetched_ms = excluded.fetched_ms"
        )
        self.change(told, now=now_ms)

    def served(self, symbol: str, timeframe: str) -> dict[str, int]:
        """How many stored candles each source stands for."""
        found = self.query(
            "SELECT o.name, count(*) FROM candles c JOIN sources o ON o.id = c.source_id "
            "WHERE c.series_id = :series GROUP BY o.name",
            series=self.series(symbol, timeframe).id,
        )
        return dict(found)

    def rows_of(self, symbol: str, timeframe: str, source: str) -> Rows:
        """The stored candles that one source stands for: packed dtype CANDLE."""
        [(number,)] = self.query("SELECT id FROM sources WHERE name = :name", name=source)
        with self._reading() as connection:
            rows = candles.read(connection, self.series(symbol, timeframe).id, 0, 2**62)
        return as_candles(rows[rows["source_id"] == number])

    def failures(self) -> dict[str, tuple[str, int]]:
        """Breaker and consecutive failures of each source's endpoint."""
        found = self.query("SELECT source, breaker, failures FROM endpoint_state WHERE endpoint LIKE '% %'")
        return {source: (breaker, failures) for source, breaker, failures in found}


@contextmanager
def open_sources(folder: Path, *arguments: str) -> Iterator[SourceWorld]:
    """A world of sources whose sandbox was started with these arguments."""
    with spawn_sandbox(*arguments) as sandbox:
        yield SourceWorld(sandbox, folder)


def written(now_ms: int, speed: float) -> str:
    """A clock as `--clock` and FETCHER_CLOCK take it."""
    return f"{format_utc(now_ms)} x{speed:g}"


def oracle(source: str, base: str, timeframe: Timeframe, window: Window, now_ms: int) -> Rows:
    """What a right client has of BASE/USDT from one source: its closed candles in the window, dtype CANDLE."""
    if source == "binance":
        return GeneratedMarket().oracle(f"{base}USDT", timeframe, window, now_ms)
    own = IDS[source].format(_OWN_NAMES.get(source, {}).get(base, base))
    return VENUES[source](GeneratedMarket()).oracle(own, timeframe, window, now_ms)
