"""The one statement that both databases have and SQLAlchemy spells per dialect: INSERT … ON CONFLICT."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table
    from sqlalchemy.dialects.sqlite import Insert


def upsert(conn: Connection, table: Table) -> Insert:
    """An INSERT that has `on_conflict_do_update` and `on_conflict_do_nothing`, for the connection's dialect.

    Both dialects' classes take the same arguments for what we use; the return type names one of them.
    """
    if conn.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert  # noqa: PLC0415 - not needed on SQLite

        return postgresql_insert(table)  # type: ignore[return-value]  # both have what is called
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert  # noqa: PLC0415 - nor this on PostgreSQL

    return sqlite_insert(table)
