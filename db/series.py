"""Sources and series: who serves, what is wanted, and how far each is proven. Times are ms UTC.

All functions run in the caller's transaction; those that write need `writing()`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import bindparam, delete, insert, or_, select, update

from db.dialect import upsert
from db.locks import PLAN, alone
from db.schema import series, series_sources, sources

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection

_s = series.c


class WantedSeries(Struct, frozen=True):
    """A series that the configuration asks for; `sources` in order of preference."""

    symbol: str
    timeframe: str
    timeframe_ms: int
    start_ms: int
    sources: tuple[str, ...]


class SeriesRow(Struct, frozen=True):
    """A series as stored, with its sources' names in order of preference."""

    id: int
    symbol: str
    timeframe: str
    timeframe_ms: int
    anchor_ms: int | None
    wanted_start_ms: int
    listed_ms: int | None
    listed_evidence: str | None
    closed_until_ms: int | None
    enabled: bool
    created_ms: int
    sources: tuple[str, ...] = ()


class SourceClock(Struct, frozen=True):
    """The newest time a source's clock was proven to have reached, and our time then; both ms UTC."""

    clock_ms: int
    seen_ms: int | None


_COLUMNS = tuple(_s[tuple(name for name in SeriesRow.__struct_fields__ if name != "sources")])
_ADVANCE = (
    update(series)
    .where(_s.id == bindparam("series"), or_(_s.closed_until_ms.is_(None), _s.closed_until_ms < bindparam("ms")))
    .values(closed_until_ms=bindparam("ms"))
)


def source_ids(conn: Connection) -> dict[str, int]:
    """The id of each source by name."""
    return {name: source_id for source_id, name in conn.execute(select(sources.c.id, sources.c.name))}


def ensure_sources(conn: Connection, names: Collection[str]) -> dict[str, int]:
    """`source_ids`, after adding the names that were not known yet."""
    known = source_ids(conn)
    new = [{"name": name} for name in sorted({*names} - known.keys())]
    if not new:
        return known
    # Another process may add the same at the same moment: all in one order, lest each waits for the other's.
    conn.execute(upsert(conn, sources).on_conflict_do_nothing(index_elements=["name"]), new)
    return source_ids(conn)


def source_clock(conn: Connection, name: str) -> SourceClock | None:
    """The newest proven clock of a source; None while none is known."""
    row = conn.execute(select(sources.c.clock_ms, sources.c.clock_seen_ms).where(sources.c.name == name)).first()
    return None if row is None or row[0] is None else SourceClock(row[0], row[1])


def source_clocks(conn: Connection) -> dict[str, SourceClock]:
    """The newest proven clock of each source that has one, by name."""
    rows = conn.execute(select(sources.c.name, sources.c.clock_ms, sources.c.clock_seen_ms))
    return {name: SourceClock(clock, seen) for name, clock, seen in rows if clock is not None}


def set_source_clock(conn: Connection, name: str, clock_ms: int, seen_ms: int) -> None:
    """Remember a newer proven clock of a source; an older one changes nothing."""
    conn.execute(
        update(sources)
        .where(sources.c.name == name, or_(sources.c.clock_ms.is_(None), sources.c.clock_ms < clock_ms))
        .values(clock_ms=clock_ms, clock_seen_ms=seen_ms)
    )


def settle_times(conn: Connection) -> dict[str, int]:
    """How many ms after a close its candle is there, by source, of those that this was learnt of."""
    rows = conn.execute(select(sources.c.name, sources.c.settle_ms).where(sources.c.settle_ms.is_not(None)))
    return {name: ms for name, ms in rows}  # noqa: C416 (rows are no pairs to the type checker)


def store_settle_times(conn: Connection, learnt: Mapping[str, int]) -> None:
    """Remember how many ms after a close its candle is there, by source."""
    for name, ms in sorted(learnt.items()):
        conn.execute(update(sources).where(sources.c.name == name).values(settle_ms=ms))


def read_series(conn: Connection, *, enabled_only: bool = False) -> list[SeriesRow]:
    """Every series with its sources in rank order, by id."""
    ranked: dict[int, list[str]] = {}
    for series_id, name in conn.execute(
        select(series_sources.c.series_id, sources.c.name)
        .join(sources, sources.c.id == series_sources.c.source_id)
        .order_by(series_sources.c.series_id, series_sources.c.rank)
    ):
        ranked.setdefault(series_id, []).append(name)
    query = select(*_COLUMNS).order_by(_s.id)
    if enabled_only:
        query = query.where(_s.enabled)
    return [
        replace(SeriesRow(*fields), sources=tuple(ranked.get(fields[0], ())))
        for fields in map(tuple, conn.execute(query))
    ]


def sync_series(conn: Connection, wanted: Sequence[WantedSeries], now_ms: int) -> list[SeriesRow]:
    """Make the stored series what the configuration asks for; all of them, wanted or not, as `read_series`.

    What is no longer wanted is disabled; its rows stay. Writes only what differs. Takes the lock `plan`.
    """
    alone(conn, PLAN)
    ids = ensure_sources(conn, [name for each in wanted for name in each.sources])
    known = {(row.symbol, row.timeframe): row for row in read_series(conn)}
    asked = {(each.symbol, each.timeframe): each for each in wanted}
    changed = False
    for key, row in known.items():
        if row.enabled and key not in asked:
            conn.execute(update(series).where(_s.id == row.id).values(enabled=False))
            changed = True
    for key, each in asked.items():
        changed |= _sync_one(conn, each, known.get(key), ids, now_ms)
    return read_series(conn) if changed else list(known.values())


def _sync_one(
    conn: Connection, wanted: WantedSeries, row: SeriesRow | None, ids: Mapping[str, int], now_ms: int
) -> bool:
    """Write one wanted series where it differs; whether it did."""
    if row is None:
        values = {
            "symbol": wanted.symbol,
            "timeframe": wanted.timeframe,
            "timeframe_ms": wanted.timeframe_ms,
            "wanted_start_ms": wanted.start_ms,
            "created_ms": now_ms,
        }
        series_id = conn.execute(insert(series).values(values).returning(_s.id)).scalar_one()
        _rank(conn, series_id, wanted.sources, ids)
        return True
    changed = False
    if not row.enabled or row.wanted_start_ms != wanted.start_ms:
        conn.execute(update(series).where(_s.id == row.id).values(enabled=True, wanted_start_ms=wanted.start_ms))
        changed = True
    if row.sources != wanted.sources:
        conn.execute(delete(series_sources).where(series_sources.c.series_id == row.id))
        _rank(conn, row.id, wanted.sources, ids)
        changed = True
    return changed


def _rank(conn: Connection, series_id: int, names: Sequence[str], ids: Mapping[str, int]) -> None:
    if names:
        ranked = [{"series_id": series_id, "source_id": ids[name], "rank": rank} for rank, name in enumerate(names)]
        conn.execute(insert(series_sources), ranked)


def set_listing(
    conn: Connection, series_id: int, listed_ms: int | None, anchor_ms: int | None, evidence: str | None
) -> bool:
    """Remember where a series begins, a slot of its grid, and on what evidence; False where that is known already."""
    found = {"listed_ms": listed_ms, "anchor_ms": anchor_ms, "listed_evidence": evidence}
    return conn.execute(update(series).where(_s.id == series_id, _s.listed_ms.is_(None)).values(found)).rowcount > 0


def reread_times(conn: Connection) -> dict[int, int | None]:
    """When the newest closed candles of each series were last read again, by its id; None where that was never."""
    return {number: ms for number, ms in conn.execute(select(_s.id, _s.reread_ms))}  # noqa: C416 (a Row is no pair)


def set_reread(conn: Connection, ids: Sequence[int], now_ms: int) -> None:
    """Note that the newest closed candles of these series were read again."""
    conn.execute(update(series).where(_s.id.in_(ids)).values(reread_ms=now_ms))


def set_closed_until(conn: Connection, closed: Mapping[int, int]) -> None:
    """Move on the first slot not proven closed yet, by series id; never moves back."""
    if closed:
        # In one order for everybody: two that lock rows in different orders wait for each other.
        conn.execute(_ADVANCE, [{"series": series_id, "ms": ms} for series_id, ms in sorted(closed.items())])
