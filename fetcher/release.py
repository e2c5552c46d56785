"""Release: an operator accepts a quarantined row, and it becomes a candle, marked as a human decision."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from db import candles, coverage, quarantine
from db.engine import writing
from db.locks import alone, series_lock
from db.retrying import retried
from db.revisions import keep_revisions
from db.series import ensure_sources
from fetcher.clock import format_utc
from fetcher.errors import FetcherError
from fetcher.merging import decide
from fetcher.model import ANOMALY, CANDLE, OFF_GRID, UNKNOWN_COUNT, Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from db.audit_log import Hand
    from db.quarantine import Quarantined
    from fetcher.model import Rows, Series

_PRICES = ("open", "high", "low", "close")
_AMOUNTS = ("volume", "quote_volume", "taker_base", "taker_quote")


class NotReleasable(FetcherError):
    """A quarantined row cannot become a candle; the message says why."""


class Released(Struct, frozen=True):
    """What came of one quarantined row: a candle (`ok`) or not, and in words which or why not."""

    id: int
    ok: bool
    message: str


def release(
    engine: Engine, all_series: Sequence[Series], ids: Sequence[int], now_ms: int, by: Hand | None = None
) -> list[Released]:
    """Store quarantined rows by their ids after all, each in one transaction with its coverage; says what came of each.

    Replaces a candle of a worse source, keeping its values in `revisions`; never one of a better or the same source,
    which passed every check that this row failed. `by` whom it is done is kept.
    """
    by_id = {series.id: series for series in all_series}
    return [_release_one(engine, by_id, quarantine_id, now_ms, by) for quarantine_id in ids]


@retried
def _release_one(
    engine: Engine, by_id: Mapping[int, Series], quarantine_id: int, now_ms: int, by: Hand | None
) -> Released:
    try:
        with writing(engine) as conn:
            row = quarantine.get(conn, quarantine_id)
            if row is not None and row.series_id is not None:
                alone(conn, series_lock(row.series_id))
                row = quarantine.get(conn, quarantine_id)  # another may have released it before we had the lock
            if row is None:
                raise NotReleasable(f"no quarantined row has the id {quarantine_id}; `quarantine` lists them")
            series = by_id.get(row.series_id) if row.series_id is not None else None
            if series is None:
                raise NotReleasable(f"row {quarantine_id} belongs to no series of the configuration")
            if row.released_ms is not None:
                raise NotReleasable(f"row {quarantine_id} was released already, at {format_utc(row.released_ms)}")
            rows = candle_of(row, series)
            _store(conn, row, series, rows, now_ms)
            if by is not None:
                slot = format_utc(int(rows["open_time"][0]))
                by.note(conn, id=row.id, series=str(series), open_time=slot, reason=row.reason)
    except NotReleasable as refusal:
        return Released(quarantine_id, ok=False, message=str(refusal))
    return Released(quarantine_id, ok=True, message=f"{series} {format_utc(int(rows['open_time'][0]))} stored")


def candle_of(row: Quarantined, series: Series) -> Rows:
    """The candle that a quarantined row makes at its slot: shape (1,), dtype CANDLE; NotReleasable where it makes none.

    `anomaly` is always set, `off_grid` where the row opened beside its slot. Pure.
    """
    cells = _cells(row)
    if not all(math.isfinite(cells[name]) and cells[name] > 0 for name in _PRICES):
        raise NotReleasable(f"row {row.id} has a price that is no positive number; it cannot be a candle")
    if cells["high"] < max(cells["open"], cells["close"]) or cells["low"] > min(cells["open"], cells["close"]):
        raise NotReleasable(f"row {row.id} has a high or low that its open and close exceed; it cannot be a candle")
    if any(math.isinf(cells[name]) or cells[name] < 0 for name in _AMOUNTS):
        raise NotReleasable(f"row {row.id} has a volume below 0 or without bounds; it cannot be a candle")
    open_time = int(cells["open_time"])
    if series.listed_ms is None or series.closed_until_ms is None:
        raise NotReleasable(
            f"{series} has no proven candle yet, so row {row.id} cannot be placed; run the fetcher first"
        )
    if not series.listed_ms <= open_time < series.closed_until_ms:
        raise NotReleasable(
            f"row {row.id} opens at {open_time} ms, outside the time in which {series} has closed candles "
            f"({format_utc(series.listed_ms)} … {format_utc(series.closed_until_ms)})"
        )
    made = np.zeros(1, dtype=CANDLE)
    for name in (*_PRICES, *_AMOUNTS, "trades"):
        made[name] = cells[name]
    slot = series.grid.floor(open_time)
    made["open_time"] = slot
    made["flags"] = ANOMALY | (OFF_GRID if slot != open_time else 0) | int(cells.get("flags", 0))
    return made


def _cells(row: Quarantined) -> dict[str, float]:
    """The named columns that the validator wrote; NotReleasable for anything else, such as a row nobody could read."""
    unreadable = NotReleasable(
        f"row {row.id} cannot be read as a candle ({row.reason}); `quarantine show {row.id}` shows it"
    )
    try:
        found = json.loads(row.payload)
        cells = {name: float(found[name]) for name in (*_PRICES, *_AMOUNTS)}
        whole = {name: int(found[name]) for name in ("open_time", "trades")}
        flags = int(found.get("flags", 0))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise unreadable from None
    if not (-(2**63) <= whole["open_time"] < 2**63 and UNKNOWN_COUNT <= whole["trades"] < 2**63 and 0 <= flags < 2**15):
        raise unreadable
    return {**cells, **whole, "flags": flags}


def _store(conn: Connection, row: Quarantined, series: Series, rows: Rows, now_ms: int) -> None:
    ids = ensure_sources(conn, series.sources)
    ranks = {ids[name]: rank for rank, name in enumerate(series.sources)}
    slot = int(rows["open_time"][0])
    window = Window(slot, series.grid.next(slot))
    existing = candles.read(conn, series.id, window.start, window.end)
    there = existing[existing["open_time"] == slot]
    merge = decide(there, rows, row.source_id, ranks)
    worst = len(ranks)
    if any(ranks.get(int(theirs), worst) <= ranks.get(row.source_id, worst) for theirs in there["source_id"]):
        raise NotReleasable(
            f"{series} has a sound candle of the same or a better source at {format_utc(slot)}; row {row.id} stays "
            "where it is"
        )
    if len(merge.replaced):
        keep_revisions(conn, series.id, merge.replaced, now_ms, row.source_id)
    candles.insert(conn, series.id, row.source_id, rows)
    covered = coverage.Interval(window.start, window.end, coverage.STORED, 1, row.source_id, row.route)
    coverage.cover(conn, series.id, [covered], lambda start, end: series.grid.count(Window(start, end)))
    quarantine.mark_released(conn, [row.id], now_ms)
