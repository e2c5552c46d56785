"""`db`: upgrade, check, back up and copy the database (fetcher/cli/database_copy.py), and say who may read it.

JSON: of upgrade `{"from", "to"}` (revisions, null where nothing was to do), of check
`{"sound", "problems": [sentence]}`, of backup `{"file", "bytes"}`, of roles `{"role", "created", "grant"}`.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from db.engine import database_file, open_engine
from db.errors import DatabaseProblem
from db.manager import DatabaseManager
from db.roles import READERS
from fetcher.cli.database_copy import copy
from fetcher.cli.show import put_json
from fetcher.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetcher.cli.invocation import Invocation

_LONGEST_NAME = 63  # bytes; PostgreSQL cuts off what is longer

app = typer.Typer(
    add_completion=False, rich_markup_mode=None,
    help="Upgrade, check, back up or copy the database, and say who may read it.\n\n"
    "Example: python -m fetcher db backup market-copy.db",
)  # fmt: skip


@app.command()
def upgrade(ctx: typer.Context) -> int:
    """Bring the database to this version's tables.

    Keeps a copy of an SQLite file as it was; on PostgreSQL make a backup first if you want one. Every other command
    does so by itself where it is needed.

    Example: python -m fetcher db upgrade
    """
    call: Invocation = ctx.obj
    with _manager(call, must_exist=False) as manager:
        steps = manager.upgrade()
    if call.as_json:
        put_json({"from": None if steps is None else steps[0], "to": None if steps is None else steps[1]})
    else:
        typer.echo("The database is up to date." if steps is None else f"Upgraded from {steps[0]} to {steps[1]}.")
    return 0


@app.command()
def check(ctx: typer.Context) -> int:
    """Read the whole database and tell what is wrong with it.

    Exit code 1 when anything is.

    Example: python -m fetcher db check
    """
    call: Invocation = ctx.obj
    with _manager(call) as manager:
        problems = manager.check()
    if call.as_json:
        put_json({"sound": not problems, "problems": problems})
    else:
        typer.echo("\n".join(problems) or "The database is sound.")
    return 1 if problems else 0


@app.command()
def backup(
    ctx: typer.Context, file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file; none is overwritten.")]
) -> int:
    """Copy the database while others use it.

    The copy is whole before it gets its name. Of PostgreSQL it is a dump for pg_restore, made by pg_dump. Exit code 2
    when FILE exists already.

    Example: python -m fetcher db backup market-copy.db
    """
    call: Invocation = ctx.obj
    if file.exists():
        raise ConfigError(f"{file} exists already and is not overwritten; name another file for the backup")
    with _manager(call) as manager:
        manager.backup(file)
    size = file.stat().st_size
    if call.as_json:
        put_json({"file": str(file), "bytes": size})
    else:
        typer.echo(f"Copied into {file}, {size / 1e6:,.1f} MB.")
    return 0


@app.command()
def roles(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The role that may read.")] = READERS,
) -> int:
    """Make a role that may read all of a PostgreSQL database and change nothing.

    May be called again. Prints what to say for everybody who is to read.

    Example: python -m fetcher db roles
    """
    call: Invocation = ctx.obj
    if not name.strip() or name.lower().startswith("pg_") or len(name.encode()) > _LONGEST_NAME or "\0" in name:
        raise ConfigError(f"{name!r} cannot be the name of a role; take 1 to {_LONGEST_NAME} letters, not from pg_ on")
    with _manager(call) as manager:
        created, grant = manager.let_read(name)
    if call.as_json:
        put_json({"role": name, "created": created, "grant": grant})
    else:
        typer.echo(f"{name} {'was created and' if created else 'was there and'} may read everything. For each reader:")
        typer.echo(f"  {grant}")
    return 0


app.command()(copy)


@contextmanager
def _manager(call: Invocation, *, must_exist: bool = True) -> Iterator[DatabaseManager]:
    engine = open_engine(call.config.database_url)
    try:
        file = database_file(engine)
        if must_exist and file is not None and not file.exists():
            raise DatabaseProblem(f"database {file} does not exist yet; a run makes it")
        yield DatabaseManager(engine, call.config.database_url)
    finally:
        engine.dispose()
