"""Quarantine: everything received and refused, with its reason and raw payload. Times are ms UTC.

All functions run in the caller's transaction; those that write need `writing()`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct
from sqlalchemy import case, func, select, update

from db.dialect import upsert
from db.schema import quarantine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

_c = quarantine.c


class QuarantineRow(Struct, frozen=True):
    """A refused row (or answer): who sent it, which open time it claims if any, why it was refused, and what it was."""

    series_id: int | None
    source_id: int
    route: str
    open_time: int | None
    reason: str
    payload: str

    @property
    def digest(self) -> str:
        """What makes two refusals the same: sha256 of series, source, open time, reason and payload."""
        parts = (self.series_id, self.source_id, self.open_time, self.reason, self.payload)
        return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()


class Quarantined(Struct, frozen=True):
    """A refused row as stored: first and last received, how often, and when it was released if it was (ms UTC)."""

    id: int
    series_id: int | None
    source_id: int
    route: str
    open_time: int | None
    reason: str
    payload: str
    received_ms: int
    seen: int
    last_seen_ms: int
    released_ms: int | None


class Held(Struct, frozen=True):
    """How many rows of one reason are held, and how many of them arrived of late (were never seen before)."""

    rows: int
    new: int


_COLUMNS = tuple(_c[tuple(Quarantined.__struct_fields__)])


def add(conn: Connection, rows: Sequence[QuarantineRow], now_ms: int) -> None:
    """Keep refused rows; one that is there already is counted as seen again, and keeps its release."""
    if not rows:
        return
    put = upsert(conn, quarantine)
    again = {"seen": _c.seen + 1, "last_seen_ms": put.excluded.last_seen_ms}
    conn.execute(
        put.on_conflict_do_update(index_elements=["digest"], set_=again),
        [
            {
                "series_id": row.series_id,
                "source_id": row.source_id,
                "route": row.route,
                "open_time": row.open_time,
                "reason": row.reason,
                "payload": row.payload,
                "digest": row.digest,
                "received_ms": now_ms,
                "last_seen_ms": now_ms,
            }
            for row in rows
        ],
    )


def listing(
    conn: Connection,
    *,
    series_id: int | None = None,
    reason: str | None = None,
    released: bool | None = None,
    limit: int | None = None,
) -> list[Quarantined]:
    """The refused rows that pass every filter given, newest first."""
    query = select(*_COLUMNS).order_by(_c.id.desc()).limit(limit)
    for column, wanted in ((_c.series_id, series_id), (_c.reason, reason)):
        if wanted is not None:
            query = query.where(column == wanted)
    if released is not None:
        query = query.where(_c.released_ms.is_not(None) if released else _c.released_ms.is_(None))
    return [Quarantined(*fields) for fields in map(tuple, conn.execute(query))]


def get(conn: Connection, quarantine_id: int) -> Quarantined | None:
    """One refused row by its id; None where there is none."""
    row = conn.execute(select(*_COLUMNS).where(_c.id == quarantine_id)).first()
    return None if row is None else Quarantined(*tuple(row))


def mark_released(conn: Connection, ids: Sequence[int], now_ms: int) -> int:
    """Note that rows were released (stored after all, by someone's decision); how many were not before."""
    change = update(quarantine).where(_c.id.in_(ids), _c.released_ms.is_(None)).values(released_ms=now_ms)
    return conn.execute(change).rowcount


def counts(conn: Connection) -> dict[str, int]:
    """How many rows are held, not released, by reason."""
    rows = conn.execute(select(_c.reason, func.count()).where(_c.released_ms.is_(None)).group_by(_c.reason))
    return {reason: number for reason, number in rows}  # noqa: C416 - a Row is no pair to dict() for mypy


def held(conn: Connection, since_ms: int) -> dict[str, Held]:
    """How many rows are held, not released, by reason; `new` are those first received since `since_ms`."""
    new = func.sum(case((_c.received_ms >= since_ms, 1), else_=0))
    rows = conn.execute(select(_c.reason, func.count(), new).where(_c.released_ms.is_(None)).group_by(_c.reason))
    return {reason: Held(number, int(late)) for reason, number, late in rows}
