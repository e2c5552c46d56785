"""DatabaseManager: a database is created, upgraded, checked and backed up; what is too new or not ours is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from sqlalchemy import insert, inspect, select

from db import backups, checks
from db.engine import database_file, reading, rebuilding, shown, writing
from db.errors import TABLE_GONE, DatabaseLost, DatabaseProblem, DatabaseUnusable, TableGone
from db.locks import SCHEMA, alone
from db.schema import REVISIONS, alembic_version, candles, metadata
from db.views import create_views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

MIGRATIONS = Path(__file__).with_name("migrations")


class Upgrade(Struct, frozen=True):
    """An upgrade that was made: the revision before and after, and the copy of what was before, where one was made."""

    before: str
    after: str
    copy: Path | None


class DatabaseManager:
    """Keeps the database behind `engine` fit for this program; `url` names it in messages, without its password."""

    def __init__(self, engine: Engine, url: str) -> None:
        self._engine = engine
        self._url = url

    def prepare(self) -> None:
        """Create what is empty, upgrade what is behind; one small SELECT where neither is needed.

        Raises DatabaseUnusable where the database is newer than the program or not ours, DatabaseProblem where it
        cannot be used for another reason. Processes that start at once on a new file wait for the first.
        """
        revision = self._revision()
        if revision is None:
            self._create()
        elif revision != REVISIONS[-1]:
            self.upgrade()

    def upgrade(self, dumps_in: Path | None = None) -> Upgrade | None:
        """Bring an older database up to date; None when it was.

        Views are made anew in any case. All steps are one transaction. An SQLite file is copied to FILE.before-REVISION
        first, PostgreSQL dumped by pg_dump into the folder `dumps_in`, where one is named. Where the upgrade fails the
        database is as before, and the copy is removed: each of cron's runs tries again, and would leave one.
        """
        revision, after = self._revision(), REVISIONS[-1]
        if revision is None:
            self._create()
            return None
        copy: Path | None = None
        if dumps_in is not None and revision != after and revision in REVISIONS:
            copy = self._dump(dumps_in, after)
        try:
            with rebuilding(self._engine) as conn:
                alone(conn, SCHEMA)
                before = self._known(conn)
                if before == after:
                    create_views(conn)
                    return None
                file = database_file(self._engine)
                if file is not None:
                    copy = backups.unused(file.with_name(f"{file.name}.before-{after}"))
                    backups.copy(self._engine, copy)
                _run_migrations(conn, after)
        except BaseException:
            if copy is not None:
                copy.unlink(missing_ok=True)
            raise
        return Upgrade(before, after, copy)

    def demand(self) -> None:
        """Raise DatabaseProblem where it is not of this program's revision: a reader creates and upgrades nothing."""
        revision = self._revision()
        if revision == REVISIONS[-1]:
            return
        with reading(self._engine) as conn:
            if revision is None:
                if tables := inspect(conn).get_table_names():
                    raise self._without_revision(tables)
                raise DatabaseUnusable(f"database {self._shown()} is empty; a run fills it")
            revision = self._known(conn)
        raise DatabaseProblem(
            f"database {self._shown()} is of an older version (revision {revision}, this program reads "
            f"{REVISIONS[-1]}); a run or `db upgrade` brings it up to date"
        )

    def check(self) -> list[str]:
        """What is wrong with the database, one sentence each; empty when it is sound.

        DatabaseProblem where nothing can be said of it: its server does not answer, or lets nobody in.
        """
        on_server = self._engine.dialect.name == "postgresql"
        try:
            with reading(self._engine) as conn:
                tables = inspect(conn).get_table_names()
                if tables and not {*metadata.tables, alembic_version.name} & set(tables):
                    return [self._not_ours(tables[0])]
                return checks.problems(conn)
        except DatabaseProblem as problem:  # too damaged even to be looked through
            if on_server and isinstance(problem, (DatabaseLost, DatabaseUnusable)):
                raise
            return [str(problem)]

    def is_there(self) -> bool:
        """Whether anybody has made a table in it, ours or not; creates nothing."""
        file = database_file(self._engine)
        if file is not None:
            return file.exists()
        with reading(self._engine) as conn:
            return bool(inspect(conn).get_table_names())

    def backup(self, path: Path) -> None:
        """Copy the database, while it is used, into a new file: SQLite's own, or a dump by PostgreSQL's pg_dump."""
        if self._engine.dialect.name == "postgresql":
            from db import dumps  # noqa: PLC0415 - for those who ask

            dumps.dump(self._engine, path)
            return
        backups.copy(self._engine, path)

    def _dump(self, folder: Path, after: str) -> Path | None:
        """A dump of a PostgreSQL database as it is before an upgrade; None of an SQLite file, which has its copy."""
        if self._engine.dialect.name != "postgresql":
            return None
        path = backups.unused(folder / f"{self._engine.url.database}.before-{after}")
        self.backup(path)
        return path

    def let_read(self, role: str) -> tuple[bool, str]:
        """Let a role read all of a PostgreSQL database: whether it was created, and how people are granted it."""
        if self._engine.dialect.name != "postgresql":
            raise DatabaseUnusable(
                f"database {self._shown()} has no roles: whoever may read the file reads it; set the file's permissions"
            )
        from db import roles  # noqa: PLC0415 - for those who ask

        with writing(self._engine) as conn:
            alone(conn, SCHEMA)
            return roles.ensure_readers(conn, role), roles.grant_line(conn, role)

    def _revision(self) -> str | None:
        """The revision in the database; None where it has no table for it."""
        try:
            with reading(self._engine) as conn:
                return conn.execute(select(alembic_version.c.version_num)).scalar() or ""
        except TableGone:
            return None

    def _create(self) -> None:
        """Make everything in one transaction; another process that did so meanwhile is found and left alone."""
        with writing(self._engine) as conn:
            alone(conn, SCHEMA)
            if unfit := checks.unfit(conn):
                raise DatabaseUnusable(f"database {self._shown()} {unfit}")
            tables = inspect(conn).get_table_names()
            if alembic_version.name in tables:
                self._known(conn)
                return
            if tables:
                raise self._without_revision(tables)
            metadata.create_all(conn)
            alembic_version.create(conn)
            conn.execute(insert(alembic_version).values(version_num=REVISIONS[-1]))
            create_views(conn)

    def _known(self, conn: Connection) -> str:
        """The revision in the database; DatabaseProblem when this program does not know it."""
        revision = conn.execute(select(alembic_version.c.version_num)).scalar() or ""
        if revision in REVISIONS:
            return revision
        if not inspect(conn).has_table(candles.name):
            raise DatabaseUnusable(self._not_ours(alembic_version.name))
        if not revision:
            raise DatabaseProblem(
                f"database {self._shown()} does not tell its schema's revision (alembic_version is empty); restore the "
                "last backup"
            )
        raise DatabaseUnusable(
            f"database {self._shown()} is newer than this program (revision {revision}, this program knows up to "
            f"{REVISIONS[-1]}); upgrade the program"
        )

    def _without_revision(self, tables: Sequence[str]) -> DatabaseProblem:
        """What is wrong with a database of these tables, none of which tells a revision."""
        if metadata.tables.keys() <= set(tables):
            return TableGone(f"database {self._shown()} {TABLE_GONE}")
        return DatabaseUnusable(self._not_ours(tables[0]))

    def _not_ours(self, table: str) -> str:
        return (
            f"database {self._shown()} belongs to another program (it has a table {table!r}, but not ours); "
            "name another one in database_url"
        )

    def _shown(self) -> str:
        return shown(self._url)


def _run_migrations(conn: Connection, revision: str) -> None:
    """Let alembic upgrade inside the connection's transaction; imported here: a quarter of a second few runs need."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": conn})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, revision)
