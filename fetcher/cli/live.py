"""The questions that `doctor` asks a source: through router and gate, on the budget that all other requests draw on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.attempts import Effort
from fetcher.errors import SourceError
from fetcher.model import Timeframe

if TYPE_CHECKING:
    from fetcher.app import App
    from fetcher.clients.base import Answer, Endpoint, Market
    from fetcher.clients.http import HttpRecord
    from fetcher.config import WantedSeries
    from fetcher.line import SourceLine
    from fetcher.wire import WirePage

_EXAMPLE = "BTC/USDT"  # asked for where no market names the source
_ONCE = Effort(tries=1)
_ASIDE = Effort(tries=1, vital=False)


def ask_time(app: App, line: SourceLine) -> tuple[HttpRecord, int | None]:
    """The source's time, ms UTC, with the answer that brought it."""
    answer = app.router.ask(line, line.client.capabilities.time_cost, "time", line.client.server_time, _ASIDE)
    return answer.record, answer.value


def ask_candle(app: App, line: SourceLine, symbol: str | None = None) -> tuple[HttpRecord, None]:
    """Ask for the newest candle of a symbol, or of the first one that the source has an id for."""
    wanted = wanted_of(app, line.source)
    able = line.client.capabilities
    names = [w.timeframe.name for w in wanted if w.timeframe.name in able.timeframes and symbol in {None, w.symbol}]
    timeframe = Timeframe(next(iter(names), min(able.timeframes, key=lambda name: Timeframe(name).ms)))
    market_id = id_of_first(app, line, [symbol] if symbol else [*dict.fromkeys(w.symbol for w in wanted), _EXAMPLE])

    def send(way_in: Endpoint) -> Answer[WirePage]:
        return line.candles(way_in, market_id, timeframe, None, None, 1)

    return app.router.ask(line, able.candle_cost, f"{timeframe} candle", send, _ONCE).record, None


def ask_markets(app: App, line: SourceLine) -> list[Market]:
    """Every market that the source lists."""
    return app.router.ask(line, line.client.capabilities.symbols_cost, "symbols", line.client.symbols, _ASIDE).value


def id_of_first(app: App, line: SourceLine, symbols: list[str]) -> str:
    """The source's id of the first symbol that it has one for; raises why it has none of the very first."""
    refusals = []
    for symbol in symbols:
        try:
            return line.market_id(symbol, lambda: _markets_if_any(app, line))
        except SourceError as refusal:
            refusals.append(refusal)
    raise refusals[0]


def wanted_of(app: App, source: str) -> list[WantedSeries]:
    """The configured series that name a source."""
    return [wanted for wanted in app.config.series() if source in wanted.sources]


def _markets_if_any(app: App, line: SourceLine) -> list[Market] | None:
    try:
        return ask_markets(app, line)
    except SourceError:
        return None
