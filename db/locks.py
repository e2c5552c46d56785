"""What must not change while it is read, judged and written again: locks of one transaction, by name.

SQLite needs none: whoever writes is alone there. On PostgreSQL they are advisory locks that end with the transaction,
so that they hold behind PgBouncer too. A transaction takes them all in one call, before it reads what they are for:
one order for everybody, hence no deadlock. Names: `series:ID` (its coverage, candles and what is kept beside them),
`plan` (which series there are, what is queued for them), `alerts`, `schema`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection

ALERTS = "alerts"
PLAN = "plan"
SCHEMA = "schema"

# A process that hangs (a suspended machine) must not hold the others up for ever: the server ends its transaction after
# two idle minutes, and who waits for a minute says so. Both settings are this transaction's alone.
_ALONE = text(
    "SELECT set_config('lock_timeout', '60s', true), set_config('idle_in_transaction_session_timeout', '120s', true), "
    "(SELECT count(pg_advisory_xact_lock(hashtextextended(name, 0))) FROM unnest(CAST(:names AS text[])) name)"
)


def series_lock(series_id: int) -> str:
    """The name of a series' lock."""
    return f"series:{series_id}"


def alone(conn: Connection, *names: str) -> None:
    """Wait until no other transaction holds any of these names, and hold them to the end of this one."""
    if names and conn.dialect.name == "postgresql":
        conn.execute(_ALONE, {"names": sorted(set(names))})
