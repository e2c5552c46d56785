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

    Needs `writing()` by the user that owns the tables, or one above it. DatabaseProblem where that user may create no
    role, or may not let others read.
    """
    name = _quoted(role)
    _check_owner(conn)
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
    _do(conn, f"GRANT CONNECT ON DATABASE {_quoted(database)} TO {name}")
    _do(conn, f"GRANT USAGE ON SCHEMA {_quoted(schema)} TO {name}")
    makers = [_quoted(owner) for (owner,) in conn.exec_driver_sql(_OWNERS)] or ["CURRENT_USER"]
    for kind in ("TABLES", "SEQUENCES"):  # pg_dump reads both
        _do(conn, f"GRANT SELECT ON ALL {kind} IN SCHEMA {_quoted(schema)} TO {name}")
        for maker in makers:
            later = f"ALTER DEFAULT PRIVILEGES FOR ROLE {maker} IN SCHEMA {_quoted(schema)}"
            _do(conn, f"{later} GRANT SELECT ON {kind} TO {name}")
    return new


def grant_line(conn: Connection, role: str) -> str:
    """What an administrator says to let somebody read."""
    plain = conn.dialect.identifier_preparer.quote(role) == role
    return f"GRANT {role if plain else _quoted(role)} TO somebody;"


_OWNERS = """
    SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'v')
"""


def _check_owner(conn: Connection) -> None:
    """Raise where the user may not speak for the tables' owner: of a GRANT by others PostgreSQL only warns."""
    for (owner,) in conn.exec_driver_sql(_OWNERS):
        if not conn.execute(text("SELECT pg_has_role(:owner, 'USAGE')"), {"owner": owner}).scalar():
            raise DatabaseProblem(
                f"the tables belong to {owner}, who alone may let others read; run `db roles` with that user in "
                "FETCHER_DATABASE_URL"
            )


def _quoted(name: str) -> str:
    """A name as SQL has it; SQLAlchemy would double each % for drivers that look for parameters."""
    return '"' + name.replace('"', '""') + '"'


def _do(conn: Connection, statement: str) -> None:
    conn.exec_driver_sql(statement, execution_options={"no_parameters": True})  # a name may hold a %
