"""What `doctor` finds out of each source, live: is it there, in time, and does it have what is wanted of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.app import open_gates
from fetcher.cli.checks import Check
from fetcher.cli.live import ask_candle, ask_time
from fetcher.cli.live_gate import LiveGate
from fetcher.cli.market_checks import markets_check
from fetcher.clients.http import HttpRecord
from fetcher.errors import ConfigError, SourceError, UnknownSymbol
from fetcher.observe.progress import duration
from fetcher.owners import own_name
from fetcher.runbook import write_health

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fetcher.app import App
    from fetcher.clients.base import Endpoint
    from fetcher.line import SourceLine

CLOCK_WRONG_MS = 1_000  # worth telling; it harms nothing, since the source's clock decides
_HALF_SECOND_MS = 500  # a Date header tells whole seconds: half of one is its mean error


def source_checks(app: App) -> Iterator[Check]:
    """Is each endpoint reachable, its key accepted, our clock right; does each source have what is wanted of it."""
    for line in app.lines:
        try:
            for endpoint in line.client.endpoints:
                yield _endpoint_check(app, line, endpoint)
            live, _ = _live(app, line, line.client.endpoints)
            yield markets_check(app, live)
        except ConfigError as error:  # what ccxt has of an exchange is known only now
            yield Check(line.source, ok=False, message=str(error).removeprefix(f"{line.source}: "))
    write_health(app.engine, app.clock, app.lines)


def _endpoint_check(app: App, line: SourceLine, endpoint: Endpoint) -> Check:
    """One question: for the time where the source tells it, else for the newest candle of a market."""
    ask, is_served = ask_time if line.client.capabilities.time_cost else ask_candle, True
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
