"""Small shared state: the cache of slow answers, locks between processes, and the record of runs. Times are ms UTC.

All functions run in the caller's transaction; those that write need `writing()`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import delete, insert, or_, select, update

from db.dialect import upsert
from db.schema import cache, locks, runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection


class LockHolder(Struct, frozen=True):
    """Who holds a lock, and until when unless renewed (ms UTC)."""

    owner: str
    until_ms: int


class RunRow(Struct, frozen=True):
    """One run of the program; how it ended is empty while it goes on (or was killed).

    `log_id` marks its lines in the log.
    """

    id: int
    kind: str
    started_ms: int
    host: str
    pid: int
    ended_ms: int | None
    outcome: str | None
    exit_code: int | None
    log_id: str | None = None
    summary: dict[str, Any] | None = None


_RUN_COLUMNS = tuple(runs.c[tuple(name for name in RunRow.__struct_fields__ if name != "summary")])


def cache_get(conn: Connection, key: str) -> tuple[str, int] | None:
    """The cached text and when it was fetched; None where there is none. Its age is the caller's to judge."""
    row = conn.execute(select(cache.c.value, cache.c.fetched_ms).where(cache.c.key == key)).first()
    return None if row is None else (row[0], row[1])


def cache_put(conn: Connection, key: str, value: str, fetched_ms: int) -> None:
    """Remember a text under a key, replacing the one before."""
    put = upsert(conn, cache).values(key=key, value=value, fetched_ms=fetched_ms)
    replaced = {"value": put.excluded.value, "fetched_ms": put.excluded.fetched_ms}
    conn.execute(put.on_conflict_do_update(index_elements=["key"], set_=replaced))


def cache_drop(conn: Connection, prefix: str, suffix: str = "") -> int:
    """Forget the texts whose keys begin and end so; how many."""
    mine = cache.c.key.startswith(prefix, autoescape=True) & cache.c.key.endswith(suffix, autoescape=True)
    return conn.execute(delete(cache).where(mine)).rowcount


def lock_acquire(conn: Connection, name: str, owner: str, now_ms: int, until_ms: int) -> bool:
    """Take a lock that is free, has run out, or is one's own already (which renews it); False when another has it."""
    take = upsert(conn, locks).values(name=name, owner=owner, until_ms=until_ms)
    return (
        conn.execute(
            take.on_conflict_do_update(
                index_elements=["name"],
                set_={"owner": take.excluded.owner, "until_ms": take.excluded.until_ms},
                where=or_(locks.c.owner == owner, locks.c.until_ms <= now_ms),
            ).returning(locks.c.name)
        ).first()
        is not None
    )


def lock_release(conn: Connection, name: str, owner: str) -> bool:
    """Give back one's own lock; False where it was not (or no longer) one's own."""
    return conn.execute(delete(locks).where(locks.c.name == name, locks.c.owner == owner)).rowcount > 0


def lock_holder(conn: Connection, name: str) -> LockHolder | None:
    """Who took the lock last, even if it has run out; None when it was given back."""
    row = conn.execute(select(locks.c.owner, locks.c.until_ms).where(locks.c.name == name)).first()
    return None if row is None else LockHolder(row[0], row[1])


def run_start(
    conn: Connection, kind: str, host: str, pid: int, now_ms: int, log_id: str | None = None
) -> int:  # fmt: skip
    """Record that a run begins; its id."""
    started = {"kind": kind, "host": host, "pid": pid, "started_ms": now_ms, "log_id": log_id}
    run_id: int = conn.execute(insert(runs).values(started).returning(runs.c.id)).scalar_one()
    return run_id


def run_finish(
    conn: Connection, run_id: int, outcome: str, exit_code: int, summary: Mapping[str, Any], now_ms: int
) -> None:
    """Record how a run ended; `summary` is anything JSON can hold."""
    ended = {"outcome": outcome, "exit_code": exit_code, "summary": json.dumps(dict(summary)), "ended_ms": now_ms}
    conn.execute(update(runs).where(runs.c.id == run_id).values(ended))


def recent_runs(conn: Connection, limit: int = 10) -> list[RunRow]:
    """The last runs, newest first."""
    query = select(*_RUN_COLUMNS, runs.c.summary).order_by(runs.c.id.desc()).limit(limit)
    return [
        replace(RunRow(*fields), summary=None if text is None else json.loads(text))
        for *fields, text in map(tuple, conn.execute(query))
    ]
