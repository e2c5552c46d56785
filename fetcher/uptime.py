"""Since when a daemon has been up, as every process on the database can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db import state
from db.engine import writing
from fetcher.owners import is_dead, own_name
from fetcher.runbook import RUN_LOCK

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_KEY = "daemon"


def note_up(engine: Engine, since_ms: int, now_ms: int) -> None:
    """Note that this process, which holds the run lock, has been up since then (ms UTC).

    To be noted again now and then: notes that have been left alone for months are pruned.
    """
    with writing(engine) as connection:
        state.cache_put(connection, _KEY, f"{own_name()} {since_ms}", now_ms)


def up_since(connection: Connection, now_ms: int) -> int | None:
    """Since when (ms UTC) the daemon that holds the run lock has been up; None where no living one does."""
    noted, holder = state.cache_get(connection, _KEY), state.lock_holder(connection, RUN_LOCK)
    owner, _, since_ms = ("" if noted is None else noted[0]).rpartition(" ")
    if holder is None or holder.owner != owner or holder.until_ms <= now_ms or is_dead(owner):
        return None
    return int(since_ms)
