"""`db`: upgrade, check, back up and copy the database, say who may read it and who changed what by hand.

Copying is in fetcher/cli/database_copy.py.

JSON: of upgrade `{"from", "to", "copy"}` (revisions, the file with what was before; null where nothing was to do), of
check `{"sound", "problems": [sentence]}`, of backup `{"file", "bytes"}`, of roles `{"role", "created", "grant"}`, of
log `{"log": [{"id", "at_ms", "who", "action", "detail"}]}`.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import asdict

from db import audit_log
from db.engine import database_file, open_engine, reading, shown
from db.errors import DatabaseProblem
from db.manager import DatabaseManager
from db.roles import READERS
from fetcher.cli.database_copy import copy
from fetcher.cli.places import named
from fetcher.cli.show import put_json, put_table, utc
from fetcher.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fetcher.cli.invocation import Invocation

_LONGEST_NAME = 63  # bytes; PostgreSQL cuts off what is longer

app = typer.Typer(
    add_completion=False, rich_markup_mode=None,
    help="Upgrade, check, back up or copy the database, say who may read it and who changed what by hand.\n\n"
    "Example: python -m fetcher db backup market-copy.db",
)  # fmt: skip


@app.command()
def upgrade(
    ctx: typer.Context,
    dumps_in: Annotated[
        Path | None,
        typer.Option(
            "--dump", metavar="FOLDER", parser=named, help="PostgreSQL: dump it there first, where an upgrade is due."
        ),
    ] = None,
) -> int:
    """Bring the database to this version's tables.

    Keeps a copy of an SQLite file as it was, and of PostgreSQL the dump that --dump asks for. Every other command
    does so by itself, without a dump, where it is needed. An upgrade that fails changes nothing.

    Example: python -m fetcher db upgrade --dump backups
    """
    call: Invocation = ctx.obj
    with _manager(call, must_exist=False) as manager:
        made = manager.upgrade(dumps_in)
    if call.as_json:
        copy = None if made is None or made.copy is None else str(made.copy)
        put_json({"from": made and made.before, "to": made and made.after, "copy": copy})
    elif made is None:
        typer.echo("The database is up to date.")
    else:
        kept = "" if made.copy is None else f" As it was: {made.copy}."
        typer.echo(f"Upgraded from {made.before} to {made.after}.{kept}")
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
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", parser=named, help="A new file; none is overwritten.")],
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
    is_name = name.strip() and name.isprintable() and len(name.encode()) <= _LONGEST_NAME
    if not is_name or name.lower().startswith("pg_"):
        raise ConfigError(f"{name!r} cannot be the name of a role; take 1 to {_LONGEST_NAME} letters, not from pg_ on")
    with _manager(call, must_exist=False) as manager:
        created, grant = manager.let_read(name)
    if call.as_json:
        put_json({"role": name, "created": created, "grant": grant})
    else:
        typer.echo(f"{name} {'was created and' if created else 'was there and'} may read everything. For each reader:")
        typer.echo(f"  {grant}")
    return 0


@app.command()
def log(
    ctx: typer.Context,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1_000_000_000, help="At most so many of the newest.")
    ] = 20,
) -> int:
    """Show who changed what by hand, and when.

    Each `jobs retry` and `cancel`, `quarantine release`, `audit --repair` and `sources reset` that changed something.

    Example: python -m fetcher db log --limit 5
    """
    call: Invocation = ctx.obj
    with call.database() as engine, reading(engine) as connection:
        deeds = audit_log.read(connection, limit)
    if call.as_json:
        put_json({"log": [asdict(deed) for deed in deeds]})
    elif not deeds:
        typer.echo("Nobody has changed anything by hand.")
    else:
        rows = [(deed.id, utc(deed.at_ms), deed.who, deed.action, _words(deed.detail)) for deed in deeds]
        put_table(["#id", "when", "who", "command", "what"], rows)
    return 0


def _words(detail: Mapping[str, Any]) -> str:
    """What a command was done to: `count 2, jobs 17 BTC/USDT 1h gap …`."""
    told = {name: ", ".join(map(str, each)) if isinstance(each, list) else each for name, each in detail.items()}
    return "; ".join(f"{name} {each}" for name, each in told.items())


app.command()(copy)


@contextmanager
def _manager(call: Invocation, *, must_exist: bool = True) -> Iterator[DatabaseManager]:
    engine = open_engine(call.config.database_url)
    try:
        manager = DatabaseManager(engine, call.config.database_url)
        if must_exist and not manager.is_there():
            file = database_file(engine)
            state = f"{shown(engine.url)} has no tables yet" if file is None else f"{file} does not exist yet"
            raise DatabaseProblem(f"database {state}; a run makes {'them' if file is None else 'it'}")
        yield manager
    finally:
        engine.dispose()
