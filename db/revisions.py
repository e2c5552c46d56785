"""Revisions: the values a candle had before its source restated it, or a better source replaced it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct
from sqlalchemy import insert, select

from db.candles import UNKNOWN_COUNT
from db.schema import revisions

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from db.candles import Rows


class Revision(Struct, frozen=True):
    """A replaced candle; None = unknown. Times in ms UTC, prices in quote currency, volume in base currency."""

    id: int
    series_id: int
    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float | None
    quote_volume: float | None
    trades: int | None
    taker_base: float | None
    taker_quote: float | None
    flags: int
    source_id: int
    replaced_ms: int
    replaced_by: int


def keep_revisions(conn: Connection, series_id: int, rows: Rows, replaced_ms: int, replaced_by: int) -> None:
    """Keep the old values of candles that are about to be replaced.

    `rows`: shape (n,), dtype candles.STORED_DTYPE, as `candles.read` gave them; `replaced_by` is a source id.
    """
    names = rows.dtype.names or ()
    fixed = {"series_id": series_id, "replaced_ms": replaced_ms, "replaced_by": replaced_by}
    old = [fixed | {name: _known(name, value) for name, value in zip(names, row, strict=True)} for row in rows.tolist()]
    if old:
        conn.execute(insert(revisions), old)


def read_revisions(conn: Connection, series_id: int, start: int, end: int) -> list[Revision]:
    """What was replaced in `[start, end)` of a series, by open time, then in the order of replacement."""
    found = conn.execute(
        select(*revisions.c[tuple(Revision.__struct_fields__)])
        .where(revisions.c.series_id == series_id, revisions.c.open_time >= start, revisions.c.open_time < end)
        .order_by(revisions.c.open_time, revisions.c.id)
    )
    return [Revision(*row) for row in found]


def _known(name: str, value: float) -> float | None:
    unknown = value == UNKNOWN_COUNT if name == "trades" else math.isnan(value)
    return None if unknown else value
