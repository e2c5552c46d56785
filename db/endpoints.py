"""What all processes share about an endpoint: its budget window and its rest (breaker, health: db/breakers.py).

Each function is short enough for a transaction of its own; those that write need `writing()`. Times are ms UTC. An
`endpoint` is any key with a budget of its own: a host, or the pool of hosts behind one address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from sqlalchemy import or_, select, update

from db.dialect import upsert
from db.schema import endpoint_state

if TYPE_CHECKING:
    from sqlalchemy import Connection

_c = endpoint_state.c

_MINUTE_MS = 60_000
CLOCK_SET_BACK_SPANS = 10
"""A stored window so many of its lengths ahead of the one asked for was counted by a clock set back since."""


class EndpointRow(Struct, frozen=True):
    """The state of one endpoint as stored; times in ms UTC, latency in ms, weights in the venue's units."""

    endpoint: str
    source: str
    breaker: str
    failures: int
    successes: int
    opened_ms: int | None
    probe_owner: str | None
    probe_until: int | None
    window_ms: int | None
    used: int
    weight_limit: int | None
    stop_until: int | None
    stop_reason: str | None
    requests: int
    errors: int
    latency_ms: float | None
    last_ok_ms: int | None
    last_error: str | None
    last_error_ms: int | None


_COLUMNS = tuple(_c[tuple(EndpointRow.__struct_fields__)])


def ensure(conn: Connection, endpoint: str, source: str) -> None:
    """Make sure the endpoint has a row; the other functions change nothing where there is none."""
    conn.execute(
        upsert(conn, endpoint_state)
        .values(endpoint=endpoint, source=source)
        .on_conflict_do_nothing(index_elements=["endpoint"])
    )


def read(conn: Connection, endpoint: str, *, for_update: bool = False) -> EndpointRow | None:
    """The endpoint's state; None before `ensure`. `for_update`: nobody else changes it in this transaction."""
    query = select(*_COLUMNS).where(_c.endpoint == endpoint)
    row = conn.execute(query.with_for_update() if for_update else query).first()
    return None if row is None else EndpointRow(*tuple(row))


def read_all(conn: Connection) -> list[EndpointRow]:
    """Every endpoint, by source, then name."""
    rows = conn.execute(select(*_COLUMNS).order_by(_c.source, _c.endpoint))
    return [EndpointRow(*fields) for fields in map(tuple, rows)]


def reserve(
    conn: Connection, endpoint: str, window_ms: int, amount: int, limit: int, floor_used: int = 0, *,
    span_ms: int | None = None,
) -> int:  # fmt: skip
    """Take up to `amount` of weight out of the budget window that starts at `window_ms`; what was granted, 0 if full.

    `floor_used` is what the venue itself says was used in that window. A newer window starts from it; a process
    that still asks for the window before is charged to the newest one, which errs to the safe side. `span_ms` is how
    long the window lasts, noted for those who look at it (None: a minute).
    """
    row = conn.execute(select(_c.window_ms, _c.used).where(_c.endpoint == endpoint).with_for_update()).first()
    if row is None:
        return 0
    window, used = _current(row[0], row[1], window_ms, span_ms or _MINUTE_MS)
    if window == window_ms:
        used = max(used, floor_used)
    granted = max(0, min(amount, limit - used))
    counted = {"window_ms": window, "used": used + granted, "weight_limit": limit, "window_span_ms": span_ms}
    if (window, used + granted) != (row[0], row[1]):
        conn.execute(update(endpoint_state).where(_c.endpoint == endpoint).values(counted))
    return granted


def hand_back(conn: Connection, endpoint: str, window_ms: int, amount: int) -> None:
    """Put weight that was reserved and not spent back into its budget window, unless a newer one has begun."""
    mine = (_c.endpoint == endpoint, _c.window_ms == window_ms, _c.used >= amount)
    conn.execute(update(endpoint_state).where(*mine).values(used=_c.used - amount))


def _current(stored_ms: int | None, used: int, asked_ms: int, span_ms: int) -> tuple[int, int]:
    """The window that counts, and what is used of it: the newer one, unless the stored one lies in an undone future."""
    if stored_ms is not None and asked_ms <= stored_ms < asked_ms + CLOCK_SET_BACK_SPANS * span_ms:
        return stored_ms, used
    return asked_ms, 0


def stop(conn: Connection, endpoint: str, until_ms: int, reason: str) -> None:
    """Let the endpoint rest until `until_ms` at least; a longer rest that is running already stays."""
    conn.execute(
        update(endpoint_state)
        .where(_c.endpoint == endpoint, or_(_c.stop_until.is_(None), _c.stop_until < until_ms))
        .values(stop_until=until_ms, stop_reason=reason)
    )


def move_stops(conn: Connection, now_ms: int, by_ms: int) -> None:
    """Move the end of rests that last beyond `now_ms` by so much: the clock that they were written by was set."""
    resting = select(_c.endpoint).where(_c.stop_until > now_ms)
    for endpoint in sorted(conn.scalars(resting)):  # in the order of `reset`
        moved = update(endpoint_state).where(_c.endpoint == endpoint, _c.stop_until > now_ms)
        conn.execute(moved.values(stop_until=_c.stop_until + by_ms))


def reset(conn: Connection, name: str | None = None) -> int:
    """Close the breaker and end the rest of a source's endpoints, of one endpoint, or of all (None); how many."""
    cleared = {
        "breaker": "closed",
        "failures": 0,
        "successes": 0,
        "opened_ms": None,
        "probe_owner": None,
        "probe_until": None,
        "stop_until": None,
        "stop_reason": None,
    }
    query = select(_c.endpoint)
    if name is not None:
        query = query.where(or_(_c.source == name, _c.endpoint == name))
    # One by one in this order, as everybody does who writes several: else two could wait for each other.
    return sum(
        conn.execute(update(endpoint_state).where(_c.endpoint == endpoint).values(cleared)).rowcount
        for endpoint in sorted(conn.scalars(query))
    )
