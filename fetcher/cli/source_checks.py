"""What `doctor` asks each source, live: through router and gate, on the budget that all other requests draw on too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fetcher.app import open_gates
from fetcher.attempts import Effort
from fetcher.cli.checks import Check
from fetcher.cli.live_gate import LiveGate
from fetcher.clients.http import HttpRecord
from fetcher.errors import CannotServe, ConfigError, SourceError, UnknownSymbol
from fetcher.jobqueue import own_name
from fetcher.model import Timeframe
from fetcher.observe.progress import duration
from fetcher.runbook import write_health

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fetcher.app import App
    from fetcher.clients.base import Answer, Endpoint, Market
    from fetcher.config import WantedSeries
    from fetcher.line import SourceLine
    from fetcher.wire import WirePage

CLOCK_WRONG_MS = 1_000  # worth telling; it harms nothing, since the source's clock decides
_HALF_SECOND_MS = 500  # a Date header tells whole seconds: half of one is its mean error
_ASIDE = Effort(tries=1, vital=False)
_EXAMPLE = "BTC/USDT"  # asked for where no market names the source
_MOST_ASKED = 10  # symbols of a source without a list, each of which costs a request


def source_checks(app: App) -> Iterator[Check]:
    """Is each endpoint reachable, its key accepted, our clock right; does each source have what is wanted of it."""
    for line in app.lines:
        try:
            for endpoint in line.client.endpoints:
                yield _endpoint_check(app, line, endpoint)
            live, _ = _live(app, line, line.client.endpoints)
            yield _markets_check(app, live)
        except ConfigError as error:  # what ccxt has of an exchange is known only now
            yield Check(line.source, ok=False, message=str(error))
    write_health(app.engine, app.clock, app.lines)


def _endpoint_check(app: App, line: SourceLine, endpoint: Endpoint) -> Check:
    """One question: for the time where the source tells it, else for the newest candle of a market."""
    ask, is_served = _time if line.client.capabilities.time_cost else _candle, True
    only, [gate] = _live(app, line, [endpoint])
    try:
        record, server_ms = ask(app, only)
    except SourceError as error:
        if not isinstance(error, UnknownSymbol) or not isinstance(error.record, HttpRecord):
            rests = f"; {gate.rests}" if gate.rests else ""
            return Check(endpoint.key, ok=False, message=f"{str(error).removeprefix(endpoint.key).lstrip()}{rests}")
        record, server_ms, is_served = error.record, None, False  # it answered, and well; its markets are told below
    message = f"answers in {record.seconds * 1000:.0f} ms"
    used = line.client.used_weight(record)
    if used is not None:
        message += f", {used:,} of {line.client.capabilities.weight_per_minute:,} weight used this minute"
    if is_served and endpoint.way.key_env:
        message += f", the key from {endpoint.way.key_env} is accepted"
    message += _clock_words(app, line, record, server_ms)
    if gate.rests:
        message += f"; {gate.rests} (`sources reset` ends that)"
    return Check(endpoint.key, ok=True, message=message)


def _time(app: App, only: SourceLine) -> tuple[HttpRecord, int | None]:
    line, cost = only, only.client.capabilities.time_cost
    answer = app.router.ask(only, cost, "time", line.client.server_time, _ASIDE)
    return answer.record, answer.value


def _candle(app: App, line: SourceLine, symbol: str | None = None) -> tuple[HttpRecord, None]:
    """Ask for the newest candle of a symbol, or of the first one that the source has an id for."""
    wanted = _wanted(app, line.source)
    able = line.client.capabilities
    names = [w.timeframe.name for w in wanted if w.timeframe.name in able.timeframes and symbol in {None, w.symbol}]
    timeframe = Timeframe(next(iter(names), min(able.timeframes, key=lambda name: Timeframe(name).ms)))
    market_id = _market_id(app, line, [symbol] if symbol else [*dict.fromkeys(w.symbol for w in wanted), _EXAMPLE])

    def send(way_in: Endpoint) -> Answer[WirePage]:
        return line.candles(way_in, market_id, timeframe, None, None, 1)

    return app.router.ask(line, able.candle_cost, f"{timeframe} candle", send, Effort(tries=1)).record, None


def _market_id(app: App, line: SourceLine, symbols: list[str]) -> str:
    refusals = []
    for symbol in symbols:
        try:
            return line.market_id(symbol, lambda: _listed(app, line))
        except SourceError as refusal:
            refusals.append(refusal)
    raise refusals[0]


def _live(app: App, line: SourceLine, ways_in: Sequence[Endpoint]) -> tuple[SourceLine, list[LiveGate]]:
    """The same source with these ways in, asked even where runs would not."""
    gates = open_gates(LiveGate, line.client, ways_in, app.engine, app.clock, own_name())
    return line.behind(gates), list(gates.values())


def _clock_words(app: App, line: SourceLine, record: HttpRecord, server_ms: int | None) -> str:
    """How our clock stands to the source's, by its time or its Date header; nothing where it tells neither."""
    error_ms = round(record.seconds * 1000)  # when within that time the answer was made is not known
    if server_ms is None:
        dated = line.server.dated_ms(record.headers.get("Date"))
        if dated is None:
            return ""
        server_ms, error_ms = dated + _HALF_SECOND_MS, error_ms + _HALF_SECOND_MS
    ours = app.clock.now_ms() - round((app.clock.elapsed() - record.sent_at - record.seconds / 2) * 1000)
    ahead_ms = ours - server_ms
    if abs(ahead_ms) < CLOCK_WRONG_MS + error_ms:
        return "; our clock agrees with its"
    direction = "ahead of" if ahead_ms > 0 else "behind"
    return f"; our clock is {duration(abs(ahead_ms) / 1000)} {direction} its (harmless: the source's decides)"


def _markets_check(app: App, line: SourceLine) -> Check:
    name, wanted = f"{line.source} markets", _wanted(app, line.source)
    if not wanted:
        return Check(name, ok=True, message="no market of the configuration names this source")
    able, lengths = line.client.capabilities, {w.timeframe.name: w.timeframe.ms for w in wanted}
    others = sorted(lengths.keys() - able.timeframes, key=lambda each: lengths[each])
    if len(others) == len(lengths):
        offered = " ".join(sorted(able.timeframes, key=lambda each: Timeframe(each).ms))
        return Check(name, ok=False, message=f"it has none of the timeframes wanted of it; it has {offered}")
    left = f"; {', '.join(others)} candles are left to other sources" if others else ""
    symbols = list(dict.fromkeys(w.symbol for w in wanted))
    try:
        found = _by_list(app, line, symbols) if able.symbols_cost else _by_candles(app, line, symbols)
    except SourceError as error:
        return Check(name, ok=False, message=f"its list cannot be had: {error}")
    return Check(name, ok=found.ok, message=found.message + left)


def _by_list(app: App, line: SourceLine, symbols: list[str]) -> Check:
    """Is each symbol in the source's list of markets."""
    cost = line.client.capabilities.symbols_cost
    listed = app.router.ask(line, cost, "symbols", line.client.symbols, _ASIDE).value
    missing, reasons, closed = [], [], []
    for symbol in symbols:
        try:
            market = _market(app, line, symbol, listed)
        except SourceError as error:
            reasons.append(str(error))
            continue
        if market is None:
            missing.append(symbol)
        elif not market.trading:
            closed.append(symbol)
    if missing:
        reasons.insert(0, f"it does not list {', '.join(missing)}")
    ending = f"; no longer traded: {', '.join(closed)}" if closed else ""
    return _verdict(reasons, f"it lists all {len(symbols)} that are wanted of it{ending}")


def _by_candles(app: App, line: SourceLine, symbols: list[str]) -> Check:
    """Has the source a newest candle of each symbol; for those that list nothing."""
    reasons = []
    for symbol in symbols[:_MOST_ASKED]:
        try:
            _candle(app, line, symbol)
        except UnknownSymbol as error:
            reasons.append(str(error))
        except CannotServe:  # of this market it has none just now
            continue
    rest = f"; {len(symbols) - _MOST_ASKED} more were not asked for" if len(symbols) > _MOST_ASKED else ""
    return _verdict(reasons, f"it knows all {min(len(symbols), _MOST_ASKED)} that it was asked for{rest}")


def _verdict(reasons: list[str], good: str) -> Check:
    return Check("", ok=not reasons, message="; ".join(reasons) or good)


def _market(app: App, line: SourceLine, symbol: str, listed: list[Market]) -> Market | None:
    own = app.config.sources[line.source].symbols.get(symbol)
    market_id = (
        line.client.resolve(symbol, listed) if own is None else line.client.resolve_configured(symbol, own)
    )  # fmt: skip
    same = (market for market in listed if market.id in {market_id, market_id.partition("/")[0]})  # `ethereum/btc`
    return next(same, None)


def _listed(app: App, line: SourceLine) -> Any:  # noqa: ANN401 (a list of markets, or nothing)
    try:
        return app.router.ask(line, line.client.capabilities.symbols_cost, "symbols", line.client.symbols, _ASIDE).value
    except SourceError:
        return None


def _wanted(app: App, source: str) -> list[WantedSeries]:
    return [wanted for wanted in app.config.series() if source in wanted.sources]
