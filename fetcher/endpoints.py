"""The state of endpoints in words: what the rows of endpoint_state and endpoint_hours mean for those who read them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct, field

from db import endpoints, health
from db.breakers import CLOSED, HALF_OPEN, OPEN
from fetcher.clients.ways import Way, ways
from fetcher.clock import brief_utc
from fetcher.model import DAY, HOUR, MINUTE
from fetcher.resilience.gate import REST_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from db.endpoints import EndpointRow
    from db.health import Spell
    from fetcher.config import Config, SourceSettings

REACHABLE, FAILING, RESTING, UNKNOWN = "reachable", "failing", "resting", "not asked yet"
_HOMES = {"coingecko": "coingecko.com", "yahoo": "yahoo.com"}  # where those are asked that have no base_url


class Account(Struct, frozen=True):
    """What the database keeps of endpoints beside their rows, by endpoint.

    How they did over the last hour and day, and how long their budget windows last (ms; not named: a minute).
    """

    hour: Mapping[str, Spell] = field(default_factory=dict)
    day: Mapping[str, Spell] = field(default_factory=dict)
    spans: Mapping[str, int] = field(default_factory=dict)


_NOTHING = Account()


class EndpointState(Struct, frozen=True):
    """One endpoint as people see it: `state`, why, until when it rests (ms UTC), and its budget.

    `used` of `weight_limit` are taken in the current window of `budget_ms`, by all endpoints of one `pool`. `hour` and
    `day` are None where it was not asked for so long.
    """

    endpoint: str
    source: str
    state: str
    why: str | None = None
    until_ms: int | None = None
    breaker: str = CLOSED
    requests: int = 0
    errors: int = 0
    latency_ms: float | None = None
    last_ok_ms: int | None = None
    last_error: str | None = None
    last_error_ms: int | None = None
    used: int = 0
    weight_limit: int | None = None
    budget_ms: int = MINUTE
    pool: str | None = None
    hour: Spell | None = None
    day: Spell | None = None

    @property
    def is_archive(self) -> bool:
        """Whether it has files only, and its source is well without it."""
        return self.endpoint.startswith(f"{self.source} archive ")

    @property
    def sentence(self) -> str:
        """`resting until …: reason`, `failing: reason` or the state alone."""
        until = f" until {brief_utc(self.until_ms)}" if self.until_ms is not None else ""
        return f"{self.state}{until}" + (f": {self.why}" if self.why else "")


def read_states(connection: Connection, config: Config, now_ms: int) -> list[EndpointState]:
    """Every endpoint of the configured sources, from the database alone: nobody is asked, no client is made."""
    account = Account(
        health.read(connection, now_ms - HOUR), health.read(connection, now_ms - DAY), health.budget_spans(connection)
    )
    return endpoint_states(endpoints.read_all(connection), config, now_ms, account)


def endpoint_states(
    rows: Iterable[EndpointRow], config: Config, now_ms: int, account: Account = _NOTHING
) -> list[EndpointState]:
    """Every endpoint of the configured sources with its budget; a source that was never asked has one state by itself.

    Rows that are pools have a source's name, with a proxy or key where it has several. No client is asked for its
    endpoints: making one may cost a second. Pure.
    """
    by_name = {row.endpoint: row for row in rows}
    found = []
    for row in by_name.values():
        way = _way_in(row, config.sources[row.source]) if row.source in config.sources else None
        if way is not None:
            found.append(_state(row, f"{_purse(row)}{way.pool}", by_name, now_ms, account))
    known = {state.source for state in found}
    return found + [EndpointState(name, name, UNKNOWN) for name in config.sources if name not in known]


def unreachable(states: Iterable[EndpointState], sources: Sequence[str]) -> EndpointState | None:
    """The best of a series' sources, where none of its endpoints can be reached; None where one can, or may."""
    mine = [state for state in states if state.source == sources[0]]
    return mine[0] if mine and all(state.state in {FAILING, RESTING} for state in mine) else None


def ways_of(settings: SourceSettings) -> tuple[Way, ...]:
    """The proxies and keys by which a source is asked."""
    return ways(settings.proxy, settings.key_names if settings.client == "coingecko" else ())


def _way_in(row: EndpointRow, settings: SourceSettings) -> Way | None:
    """By which way of the configuration the row's endpoint (`SOURCE SITE WAY`) is asked; None for one of no use now."""
    name = row.endpoint.removeprefix(f"{row.source} ")
    candidates = (way for way in ways_of(settings) if name.endswith(way.name))
    return next((way for way in candidates if _is_site(name.removesuffix(way.name), settings)), None)


def _purse(row: EndpointRow) -> str:
    """What an endpoint's budget is called before its way: an archive's requests are counted apart."""
    archive = f"{row.source} archive"
    return archive if row.endpoint.startswith(f"{archive} ") else row.source


def _is_site(site: str, settings: SourceSettings) -> bool:
    match settings.client:
        case "binance":
            return site in settings.base_urls or site == f"archive {settings.archive_url}"
        case "ccxt":
            return site == " ".join(filter(None, (f"ccxt:{settings.exchange}", settings.base_url)))
    if settings.base_url is not None:
        return site == settings.base_url
    host = "" if " " in site else urlsplit(site).hostname or ""
    paid = settings.client == "coingecko" and settings.plan == "pro"
    return host.endswith(_HOMES[settings.client]) and host.startswith("pro-") == paid


def _state(
    row: EndpointRow, pool_name: str, by_name: Mapping[str, EndpointRow], now_ms: int, account: Account
) -> EndpointState:
    pool = by_name.get(pool_name)
    state, why, until = _judged(row, pool, now_ms)
    purse = pool if pool is not None and row.weight_limit is None else row
    span = account.spans.get(purse.endpoint, MINUTE)
    is_current = purse.window_ms is not None and now_ms - purse.window_ms < span
    return EndpointState(
        row.endpoint, row.source, state, why, until, row.breaker, row.requests, row.errors, row.latency_ms,
        row.last_ok_ms, row.last_error, row.last_error_ms, purse.used if is_current else 0, purse.weight_limit, span,
        purse.endpoint, account.hour.get(row.endpoint), account.day.get(row.endpoint),
    )  # fmt: skip


def _judged(row: EndpointRow, pool: EndpointRow | None, now_ms: int) -> tuple[str, str | None, int | None]:
    """State, reason and end of a rest."""
    for place in (pool, row):
        if place is not None and place.stop_until is not None and place.stop_until > now_ms:
            return RESTING, place.stop_reason, place.stop_until
    if row.breaker != CLOSED:
        until = row.opened_ms + REST_MS if row.breaker == OPEN and row.opened_ms is not None else None
        if until is not None and until > now_ms:
            return RESTING, row.last_error or "it failed several times in a row", until
        probing = " (being tried again)" if row.breaker == HALF_OPEN else ""
        return FAILING, (row.last_error or "it failed several times in a row") + probing, None
    if row.last_error_ms is not None and row.last_error_ms > (row.last_ok_ms or 0):
        return FAILING, row.last_error, None
    return (REACHABLE if row.last_ok_ms is not None else UNKNOWN), None, None
