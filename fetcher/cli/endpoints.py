"""The state of endpoints in words: what the rows of endpoint_state mean for someone who reads them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from db.breakers import CLOSED, HALF_OPEN, OPEN
from fetcher.cli.show import utc
from fetcher.model import MINUTE
from fetcher.resilience.gate import REST_MS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from db.endpoints import EndpointRow
    from fetcher.config import Config

REACHABLE, FAILING, RESTING, UNKNOWN = "reachable", "failing", "resting", "not asked yet"


@dataclass(frozen=True, slots=True)
class EndpointState:
    """One endpoint as people see it: `state`, why, until when it rests (ms UTC), and its pool's budget this minute."""

    endpoint: str
    source: str
    state: str
    why: str | None
    until_ms: int | None
    breaker: str
    requests: int
    errors: int
    latency_ms: float | None
    last_ok_ms: int | None
    last_error: str | None
    last_error_ms: int | None
    used: int
    weight_limit: int | None

    @property
    def sentence(self) -> str:
        """`resting until …: reason`, `failing: reason` or the state alone."""
        until = f" until {utc(self.until_ms)}" if self.until_ms is not None else ""
        return f"{self.state}{until}" + (f": {self.why}" if self.why else "")


def endpoint_states(rows: Iterable[EndpointRow], config: Config, now_ms: int) -> list[EndpointState]:
    """Every configured endpoint with its pool's budget; rows that are pools are named like their source."""
    rows = list(rows)
    pools = {row.endpoint: row for row in rows if row.endpoint == row.source}
    return [_state(row, pools.get(row.source), now_ms) for row in rows if _is_configured(row, config)]


def _is_configured(row: EndpointRow, config: Config) -> bool:
    """Whether the row is an endpoint (`SOURCE BASE_URL`) of the configuration: others are kept, but of no use now."""
    source = config.sources.get(row.source)
    return source is not None and row.endpoint.removeprefix(f"{row.source} ") in source.base_urls


def _state(row: EndpointRow, pool: EndpointRow | None, now_ms: int) -> EndpointState:
    state, why, until = _judged(row, pool, now_ms)
    this_minute = pool is not None and pool.window_ms is not None and now_ms - pool.window_ms < MINUTE
    return EndpointState(
        row.endpoint, row.source, state, why, until, row.breaker, row.requests, row.errors, row.latency_ms,
        row.last_ok_ms, row.last_error, row.last_error_ms, pool.used if pool is not None and this_minute else 0,
        pool.weight_limit if pool is not None else None,
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
