"""`db copy`: everything into another database, of the same kind or the other, and an audit of what arrived.

JSON: `{"target", "tables": {name: rows}, "sound", "findings"}`; `sound` and `findings` (how many) are the audit's.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from db import series as series_rows
from db.engine import checked_url, database_file, open_engine, reading, shown
from db.errors import DatabaseProblem, DatabaseUnusable
from db.manager import DatabaseManager
from db.transfer import expected, transfer
from fetcher.audit import audit
from fetcher.cli.show import put_json
from fetcher.config import absolute_url
from fetcher.errors import ConfigError
from fetcher.jobqueue import as_series
from fetcher.observe.progress import PLAIN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from fetcher.cli.invocation import Invocation

VARIABLE = "FETCHER_TARGET_URL"


def copy(
    ctx: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET_URL", envvar=VARIABLE, show_envvar=False,
            help=f"An empty database, written like database_url. With a password better in {VARIABLE}.",
        ),
    ],
) -> int:  # fmt: skip
    """Copy everything into another database.

    SQLite into PostgreSQL, or back, or to another server. The target must be empty. All arrives in one transaction:
    what interrupts it leaves the target empty, and it is begun again. Others may go on using the database meanwhile,
    but what they store stays behind: better nothing runs. Ends with an audit of the copy: exit code 1 when it finds
    anything.

    Example: python -m fetcher db copy postgresql://candles@db.example.org/market
    """
    call: Invocation = ctx.obj
    url = _target(call, target)
    with _engine(call.config.database_url, must_exist=True) as source, _engine(url) as other:
        progress = _Progress(call, expected(source))
        copied = transfer(source, other, progress.heard)
        progress.say(f"{sum(copied.values()):,} rows copied; now they are audited")
        with reading(other) as connection:
            every = [as_series(row) for row in series_rows.read_series(connection)]
        report = audit(other, every)
    if call.as_json:
        counted = {"tables": copied, "sound": report.sound, "findings": len(report.findings)}
        put_json({"target": shown(url), **counted})
    else:
        typer.echo(f"{copied['candles']:,} candles and all that belongs to them are in {shown(url)} now.")
        typer.echo(
            "Sound: coverage and candles agree there. Name it in database_url."
            if report.sound
            else f"Not sound: the audit found {len(report.findings)} differences, which came along: name it in "
            "database_url, then run `python -m fetcher audit --repair`."
        )
    return 0 if report.sound else 1


def _target(call: Invocation, text: str) -> str:
    """The target's URL, checked; raises ConfigError, which names TARGET_URL and holds no password."""
    try:
        url = absolute_url(text, call.config_path)
        checked_url(url)
    except DatabaseUnusable as error:
        raise ConfigError(str(error).replace("database_url", "TARGET_URL")) from None
    if url == call.config.database_url:
        raise ConfigError(f"TARGET_URL {shown(url)} is the database itself; name another, empty one")
    return url


@contextmanager
def _engine(url: str, *, must_exist: bool = False) -> Iterator[Engine]:
    """A database with this program's tables, made or upgraded where it has to be."""
    engine = open_engine(url)
    try:
        file = database_file(engine)
        if must_exist and file is not None and not file.exists():
            raise DatabaseProblem(f"database {file} does not exist yet; there is nothing to copy")
        DatabaseManager(engine, url).prepare()
        yield engine
    finally:
        engine.dispose()


class _Progress:
    """A line on stderr every PLAIN_SECONDS: how many candles of about how many."""

    def __init__(self, call: Invocation, total: int) -> None:
        self._clock, self._quiet, self._total = call.clock, call.verbosity < 0, total
        self._said = self._clock.elapsed()

    def heard(self, table: str, rows: int) -> None:
        now = self._clock.elapsed()
        if self._clock.real_seconds(now - self._said) >= PLAIN_SECONDS:
            self._said = now
            self.say(f"{table}: {rows:,}{f' of about {self._total:,}' if table == 'candles' else ''}")

    def say(self, words: str) -> None:
        if not self._quiet:
            typer.echo(words, err=True)
