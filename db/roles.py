"""Who may read a PostgreSQL database without being able to change it: one role that is granted to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from db.errors import DatabaseProblem

if TYPE_CHECKING:
    from sqlalchemy import Connection

READERS = "candle_readers"


def ensure_readers(conn: Connection, role: str) -> bool:
    """Let `role` read every table and view, also those that later versions make; whether the role had to be created.

    Needs `writing()` by the user that owns the tables. DatabaseProblem where that user may create no role.
    """
    quote = conn.dialect.identifier_preparer.quote_identifier
    name = quote(role)
    new = conn.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).first() is None
    if new:
        able = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
        if not conn.exec_driver_sql(able).scalar():
            raise DatabaseProblem(
                f"this database's user may create no role; let an administrator run CREATE ROLE {name} NOLOGIN, then "
                "run `db roles` again"
            )
        _do(conn, f"CREATE ROLE {name} NOLOGIN")
    database, schema = conn.exec_driver_sql("SELECT current_database(), current_schema()").one()
    _do(conn, f"GRANT CONNECT ON DATABASE {quote(database)} TO {name}")
    _do(conn, f"GRANT USAGE ON SCHEMA {quote(schema)} TO {name}")
    _do(conn, f"GRANT SELECT ON ALL TABLES IN SCHEMA {quote(schema)} TO {name}")
    _do(conn, f"ALTER DEFAULT PRIVILEGES IN SCHEMA {quote(schema)} GRANT SELECT ON TABLES TO {name}")
    return new


def grant_line(conn: Connection, role: str) -> str:
    """What an administrator says to let somebody read."""
    return f"GRANT {conn.dialect.identifier_preparer.quote(role)} TO somebody;"


def _do(conn: Connection, statement: str) -> None:
    conn.exec_driver_sql(statement, execution_options={"no_parameters": True})  # a name may hold a %
