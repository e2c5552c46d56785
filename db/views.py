"""The views of views.sql, written for the dialect at hand and created anew."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

VIEWS = ("klines", "gaps", "latest")
_FILE = Path(__file__).with_name("views.sql")
_MACRO = re.compile(r"\{(\w+)\(([\w.]+)\)\}")


def _sqlite_timestamp(ms: str) -> str:
    """Text `YYYY-MM-DD HH:MM:SS`, with `.mmm` only where there are any milliseconds."""
    fraction = f"CASE {ms} % 1000 WHEN 0 THEN '' ELSE printf('.%03d', {ms} % 1000) END"
    return f"(strftime('%Y-%m-%d %H:%M:%S', {ms} / 1000, 'unixepoch') || {fraction})"


def _sqlite_next_month(ms: str) -> str:
    """The first month start at or after: the start of the month that the millisecond before it does not reach."""
    month = f"strftime('%s', ({ms} - 1) / 1000, 'unixepoch', 'start of month', '+1 month')"
    return f"CAST({month} AS integer) * 1000"


def _postgresql_timestamp(ms: str) -> str:
    return f"to_timestamp({ms} / 1000.0)"


def _postgresql_next_month(ms: str) -> str:
    month = f"date_trunc('month', to_timestamp(({ms} - 1) / 1000.0) AT TIME ZONE 'UTC') + interval '1 month'"
    return f"CAST(extract(epoch FROM {month}) AS bigint) * 1000"


_MACROS: Mapping[str, Mapping[str, Callable[[str], str]]] = {
    "sqlite": {"timestamp": _sqlite_timestamp, "next_month": _sqlite_next_month},
    "postgresql": {"timestamp": _postgresql_timestamp, "next_month": _postgresql_next_month},
}


def statements(dialect: str) -> list[str]:
    """The CREATE VIEW statements for a dialect (`sqlite`, `postgresql`), in order."""
    macros = _MACROS[dialect]
    lines = (line for line in _FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("--"))
    written = _MACRO.sub(lambda match: macros[match[1]](match[2]), "\n".join(lines))
    return [statement.strip() for statement in written.split(";") if statement.strip()]


def drop_views(conn: Connection) -> None:
    """Drop the views where the tables below them could not change otherwise.

    Not on PostgreSQL: what people were granted on them, and views that they built on ours, would go with them.
    """
    if conn.dialect.name == "sqlite":
        for name in VIEWS:
            conn.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")


def create_views(conn: Connection) -> None:
    """Create the views as this program knows them, replacing what there was."""
    drop_views(conn)
    replaces = conn.dialect.name == "postgresql"
    for statement in statements(conn.dialect.name):
        written = statement.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1) if replaces else statement
        # no_parameters: else psycopg takes each % for the start of one.
        conn.exec_driver_sql(written, execution_options={"no_parameters": True})
