"""What `doctor` says of the markets that are wanted of a source: does it have them, and at these timeframes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.cli.checks import Check
from fetcher.cli.live import ask_candle, ask_markets, id_of_first, wanted_of
from fetcher.errors import CannotServe, ConfigError, SourceError, UnknownSymbol
from fetcher.model import Timeframe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.app import App
    from fetcher.clients.base import Market
    from fetcher.config import WantedSeries
    from fetcher.line import SourceLine

_MOST_ASKED = 10  # symbols of a source without a list, each of which costs a request


def markets_check(app: App, line: SourceLine) -> Check:
    """Has the source what the configuration wants of it, or others the rest."""
    name, wanted = f"{line.source} markets", wanted_of(app, line.source)
    if not wanted:
        return Check(name, ok=True, message="no market of the configuration names this source")
    able, lengths = line.client.capabilities, {w.timeframe.name: w.timeframe.ms for w in wanted}
    others = sorted(lengths.keys() - able.timeframes, key=lambda each: lengths[each])
    nobodys = [w for w in wanted if w.timeframe.name in others and not _has_another(app, line, w)]
    reasons = [f"no source of {w.symbol} has {w.timeframe} candles" for w in nobodys]
    if len(others) == len(lengths):
        offered = " ".join(sorted(able.timeframes, key=lambda each: Timeframe(each).ms))
        none = f"it has none of the timeframes wanted of it; it has {offered}"
        return Check(name, ok=False, message="; ".join([none, *reasons]))
    left = [each for each in others if each not in {w.timeframe.name for w in nobodys}]
    good = f"; {', '.join(left)} candles are left to other sources" if left else ""
    symbols = list(dict.fromkeys(w.symbol for w in wanted))
    try:
        found = _by_list(app, line, symbols) if able.symbols_cost else _by_candles(app, line, symbols)
    except SourceError as error:
        what = "its list cannot be had" if able.symbols_cost else "unknown, it cannot be asked"
        return Check(name, ok=False, message="; ".join([f"{what}: {error}", *reasons]))
    return Check(name, ok=found.ok and not nobodys, message="; ".join([found.message, *reasons]) + good)


def _has_another(app: App, line: SourceLine, wanted: WantedSeries) -> bool:
    """Whether another source of a series offers its timeframe; loads the libraries of those that it looks at."""
    for other in app.lines:
        if other.source != line.source and other.source in wanted.sources:
            try:
                if wanted.timeframe.name in other.client.capabilities.timeframes:
                    return True
            except ConfigError:  # told where it is that source's turn
                continue
    return False


def _by_list(app: App, line: SourceLine, symbols: Sequence[str]) -> Check:
    """Is each symbol in the source's list of markets."""
    listed = ask_markets(app, line)
    missing, reasons, closed = [], [], []
    for symbol in symbols:
        try:
            market = _market(app, line, symbol, listed)
        except SourceError as error:
            reasons.append(str(error))
            continue
        if market is None:
            missing.append(_named(app, line, symbol))
        elif not market.trading:
            closed.append(symbol)
    if missing:
        reasons.insert(0, f"it does not list {', '.join(missing)}")
    ending = f"; no longer traded: {', '.join(closed)}" if closed else ""
    return _verdict(reasons, f"it lists all {len(symbols)} that are wanted of it{ending}")


def _by_candles(app: App, line: SourceLine, symbols: Sequence[str]) -> Check:
    """Has the source a newest candle of each symbol; for those that list nothing."""
    reasons: dict[str, list[str]] = {}
    for symbol in symbols[:_MOST_ASKED]:
        try:
            ask_candle(app, line, symbol)
        except UnknownSymbol as error:
            reasons.setdefault(str(error), []).append(f"{symbol} ({id_of_first(app, line, [symbol])})")
        except CannotServe as error:
            reasons.setdefault(str(error), []).append(symbol)
    rest = f"; {len(symbols) - _MOST_ASKED} more were not asked for" if len(symbols) > _MOST_ASKED else ""
    told = [f"it has no {', '.join(names)}: {error}" for error, names in reasons.items()]
    return _verdict(told, f"it knows all {min(len(symbols), _MOST_ASKED)} that it was asked for{rest}")


def _verdict(reasons: list[str], good: str) -> Check:
    return Check("", ok=not reasons, message="; ".join(reasons) or good)


def _named(app: App, line: SourceLine, symbol: str) -> str:
    """The symbol, with the name that the configuration gives it there."""
    own = app.config.sources[line.source].symbols.get(symbol)
    return symbol if own is None else f"{symbol} ({own})"


def _market(app: App, line: SourceLine, symbol: str, listed: list[Market]) -> Market | None:
    own = app.config.sources[line.source].symbols.get(symbol)
    market_id = (
        line.client.resolve(symbol, listed) if own is None else line.client.resolve_configured(symbol, own)
    )  # fmt: skip
    same = (market for market in listed if market.id in {market_id, market_id.partition("/")[0]})  # `ethereum/btc`
    return next(same, None)
