"""Copies of an SQLite database while it is in use: whole, checked, and standing alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING, Any

from db.engine import sentences
from db.errors import DatabaseProblem

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine


def copy(engine: Engine, path: Path) -> None:
    """Copy the database as last committed into the new file `path`; writers go on meanwhile.

    The file appears under its name only when it is whole and has passed SQLite's check. Raises DatabaseProblem where
    it exists already or cannot be written.
    """
    part = new_part(path)
    try:
        part.touch()  # what cannot be written is told of the copy, not of the database
        with sentences(engine), engine.connect() as conn, closing(sqlite3.connect(part)) as target:
            driver: Any = conn.connection.driver_connection
            try:
                driver.backup(target)
            except sqlite3.OperationalError as error:
                if "full" not in str(error):
                    raise
                raise DatabaseProblem(f"the backup {path} cannot be written: its disk is full") from error
            target.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
            verdict = " ".join(target.execute("PRAGMA quick_check(1)").fetchone()[0].split())
        if verdict != "ok":
            raise DatabaseProblem(f"the backup is not sound ({verdict}), so the database is damaged; run `db check`")
        part.rename(path)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseProblem(f"the backup {path} cannot be written: {getattr(error, 'strerror', error)}") from error
    finally:
        part.unlink(missing_ok=True)


def new_part(path: Path) -> Path:
    """Where to write what is to become the new file `path` when it is whole; raises DatabaseProblem."""
    if path.exists():
        raise DatabaseProblem(f"{path} exists already and is not overwritten; name another file for the backup")
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)  # left by one that was killed
    except OSError as error:
        raise DatabaseProblem(f"the backup {path} cannot be written: {error.strerror}") from error
    return part


def unused(path: Path) -> Path:
    """The path itself, or with the first number at its end that makes it a new file."""
    if not path.exists():
        return path
    return next(free for n in count(2) if not (free := path.with_name(f"{path.name}.{n}")).exists())
