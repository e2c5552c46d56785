"""An endpoint's circuit breaker and health, shared by all processes (budget and rest: db/endpoints.py).

Which state follows which outcome is the caller's decision. Each function is short enough for a transaction of its own;
those that write need `writing()`. Times are ms UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field
from sqlalchemy import func, or_, update

from db.schema import endpoint_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

_c = endpoint_state.c

CLOSED = "closed"
OPEN = "open"
HALF_OPEN = "half-open"
CLOCK_AHEAD_MS = 600_000
"""A claim that ends so much later than one made now could was made by a clock that was plainly wrong."""
LATENCY_WEIGHT = 0.2
"""How much a new latency moves the average: about the last ten count."""


class Tally(Struct, frozen=True):
    """What came of some requests: counts, their mean latency (ms), and the last success and error (ms UTC).

    `latency` counts good answers by the bucket of their latency (db/health.py).
    """

    requests: int
    errors: int = 0
    latency_ms: float | None = None
    last_ok_ms: int | None = None
    last_error: str | None = None
    last_error_ms: int | None = None
    latency: Mapping[int, int] = field(default_factory=dict)


def set_breaker(
    conn: Connection, endpoint: str, state: str, failures: int, successes: int, opened_ms: int | None
) -> None:
    """Put the breaker into a state with its counts; a probe that was claimed ends with it."""
    new = {
        "breaker": state,
        "failures": failures,
        "successes": successes,
        "opened_ms": opened_ms,
        "probe_owner": None,
        "probe_until": None,
    }
    conn.execute(update(endpoint_state).where(_c.endpoint == endpoint).values(new))


def release_probe(conn: Connection, endpoint: str, owner: str) -> None:
    """Give one's own claimed probe back undecided: the next one may probe at once."""
    mine = (_c.endpoint == endpoint, _c.probe_owner == owner)
    conn.execute(update(endpoint_state).where(*mine).values(probe_owner=None, probe_until=None))


def claim_probe(conn: Connection, endpoint: str, owner: str, now_ms: int, until_ms: int, opened_ms: int | None) -> bool:
    """Become the one who may probe an endpoint whose breaker is not closed, and make it half-open; False if too late.

    `opened_ms` is when the breaker opened that was looked at: one that another probe has opened again rests anew. A
    claim that is not answered (`set_breaker`) ends at `until_ms`, so that a killed prober blocks nobody for long.
    """
    return (
        conn.execute(
            update(endpoint_state)
            .where(
                _c.endpoint == endpoint,
                _c.breaker.in_((OPEN, HALF_OPEN)),
                _c.opened_ms.is_not_distinct_from(opened_ms),
                or_(
                    _c.probe_until.is_(None),
                    _c.probe_until <= now_ms,
                    _c.probe_until > until_ms + CLOCK_AHEAD_MS,  # claimed by a clock that was plainly wrong
                ),
            )
            .values(breaker=HALF_OPEN, probe_owner=owner, probe_until=until_ms)
        ).rowcount
        == 1
    )


def note_error(conn: Connection, endpoint: str, error: str, now_ms: int) -> None:
    """Remember the last error of an endpoint at once, for whoever is refused because of it."""
    change = update(endpoint_state).where(_c.endpoint == endpoint)
    conn.execute(change.values(last_error=error, last_error_ms=now_ms))


def add_outcomes(conn: Connection, endpoint: str, tally: Tally) -> None:
    """Count the outcomes of several requests in one statement."""
    conn.execute(
        update(endpoint_state)
        .where(_c.endpoint == endpoint)
        .values(
            requests=_c.requests + tally.requests,
            errors=_c.errors + tally.errors,
            latency_ms=_c.latency_ms
            if tally.latency_ms is None
            else func.coalesce(
                _c.latency_ms * (1 - LATENCY_WEIGHT) + tally.latency_ms * LATENCY_WEIGHT, tally.latency_ms
            ),
            last_ok_ms=_c.last_ok_ms if tally.last_ok_ms is None else tally.last_ok_ms,
            last_error=_c.last_error if tally.last_error is None else tally.last_error,
            last_error_ms=_c.last_error_ms if tally.last_error_ms is None else tally.last_error_ms,
        )
    )
