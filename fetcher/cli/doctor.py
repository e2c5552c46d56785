"""`doctor`: is everything reachable, in time, writable and configured.

JSON: `{"healthy", "checks": [{"name", "ok", "message"}]}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from msgspec.structs import asdict

from db.errors import DatabaseProblem
from fetcher.cli.archive_checks import archive_checks
from fetcher.cli.checks import Check, alerts_checks, database_checks, disk_check, lock_check
from fetcher.cli.exposure import exposed, unencrypted
from fetcher.cli.show import plain, put_json
from fetcher.cli.signals import stopping
from fetcher.cli.source_checks import source_checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetcher.cli.invocation import Invocation

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_LONGEST = 500


@app.command()
def doctor(ctx: typer.Context) -> int:
    """Look at sources, clock, database, disk, lock and whoever is to be told of alerts.

    Asks each source for its time (or a candle, where it tells none) and its markets, which costs a few requests. Exit
    code 1 when anything is wrong.

    Example: python -m fetcher doctor
    """
    call: Invocation = ctx.obj
    checks = []
    for check in _checks(call):
        checks.append(check)
        if not call.as_json and (call.verbosity >= 0 or not check.ok):
            typer.echo(f"{'ok  ' if check.ok else 'BAD '} {check.name}: {plain(check.message, _LONGEST)}")
    healthy = all(check.ok for check in checks)
    if call.as_json:
        put_json({"healthy": healthy, "checks": [asdict(check) for check in checks]})
    return 0 if healthy else 1


def _checks(call: Invocation) -> Iterator[Check]:
    count = len(call.config.series())
    yield Check("configuration", ok=True, message=f"{call.config_path} names {count} series")
    for sentence in (*exposed(call.config, call.config_path), *unencrypted(call.config)):
        yield Check("secrets", ok=True, message=f"take care: {sentence}")
    yield from alerts_checks(call.config.alerts)
    try:
        with call.app() as program, stopping(program.stop):
            yield from database_checks(program)
            yield disk_check(program.engine)
            yield lock_check(program)
            yield from source_checks(program)
            yield from archive_checks(program)
    except DatabaseProblem as problem:
        yield Check("database", ok=False, message=f"{problem}; sources were not asked, their limits are kept in it")
