"""`alerts`: what is wrong and who was told of it; `alerts test` sends each target a message.

JSON: `{"alerts": [{"key", "kind", "host", "message", "urgent", "level", "since_ms", "seen_ms", "gone_ms", "told_ms",
"held"}], "targets": [name], "undelivered": messages, "problems": [sentence]}`; `gone_ms` is set once it is not seen any
more, `told_ms` is null until somebody was told. Of test: `{"targets": [{"target", "ok", "problem"}], "problems"}`.
"""

from __future__ import annotations

import socket
from threading import Event
from typing import TYPE_CHECKING

import typer

from db import alerts as rows
from db.engine import reading
from fetcher.cli.show import put_json, put_table, utc
from fetcher.errors import ConfigError
from fetcher.observe.alerts.book import KEPT_MS
from fetcher.observe.alerts.telling import is_open
from fetcher.observe.alerts.words import as_dict
from fetcher.observe.progress import duration
from fetcher.outcome import EXIT_INCOMPLETE, EXIT_OK
from fetcher.targets import read_targets
from fetcher.wording import counted

if TYPE_CHECKING:
    from db.alerts import AlertRow
    from fetcher.cli.invocation import Invocation

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def alerts(ctx: typer.Context) -> int:
    """Show what is wrong, since when, and when somebody was last told of it.

    As the last run judged it. docs/alerts.md says what each means and what to do.

    Example: python -m fetcher alerts
    """
    if ctx.invoked_subcommand is not None:
        return 0
    call: Invocation = ctx.obj
    targets, problems = read_targets(call.config.alerts)
    now = call.clock.now_ms()
    with call.database() as engine, reading(engine) as connection:
        found = [row for row in rows.read(connection).values() if is_open(row)]
        undelivered = rows.waiting(connection, now - KEPT_MS)
    if call.as_json:
        names = [target.name for target in targets]
        open_alerts = [as_dict(row) for row in found]
        put_json({"alerts": open_alerts, "targets": names, "undelivered": undelivered, "problems": problems})
        return EXIT_OK
    if found:
        put_table(["alert", "since", "for", "last told", "what"], [_row(row, now) for row in found])
    else:
        typer.echo("Nothing is wrong.")
    for problem in problems:
        typer.echo(f"BAD  {problem}")
    if undelivered:
        typer.echo(f"{counted(undelivered, 'message')} could not be delivered yet; the next run tries again.")
    typer.echo(f"Told are {', '.join(target.name for target in targets)}." if targets else f"{_nobody(call)}.")
    return EXIT_OK


@app.command()
def test(ctx: typer.Context) -> int:
    """Send a message to each target, and tell which of them took it.

    Exit code 1 when one of them failed, 2 when none is configured.

    Example: python -m fetcher alerts test
    """
    from fetcher.observe.alerts.sending import send_all  # noqa: PLC0415 (for those who send)

    call: Invocation = ctx.obj
    targets, problems = read_targets(call.config.alerts)
    if not targets:
        raise ConfigError("; ".join(problems) or _nobody(call))
    title = f"fetcher on {socket.gethostname()}: a test"
    body = "Nothing is wrong: somebody tries whether alerts arrive here."
    outcomes = send_all(dict.fromkeys(targets, (title, body)), call.clock, Event())
    failed = bool(problems) or any(problem is not None for problem in outcomes.values())
    if call.as_json:
        told = [{"target": each.name, "ok": problem is None, "problem": problem} for each, problem in outcomes.items()]
        put_json({"targets": told, "problems": problems})
    else:
        for each, problem in outcomes.items():
            typer.echo(f"ok   {each.name}" if problem is None else f"BAD  {each.name}: {problem}")
        for problem in problems:
            typer.echo(f"BAD  {problem}")
    return EXIT_INCOMPLETE if failed else EXIT_OK


def _row(row: AlertRow, now_ms: int) -> tuple[object, ...]:
    gone = row.gone_ms is not None
    lasted = duration(max(0, ((row.gone_ms or now_ms) - row.since_ms) / 1000))
    told = utc(row.sent_ms) if row.sent_ms is not None else "held back" if row.held else "-"
    return (row.kind, utc(row.since_ms), lasted, told, row.message + (" (seems to be over)" if gone else ""))


def _nobody(call: Invocation) -> str:
    named = call.config.alerts
    where = [*named.to_env, *([f"the file {named.to_file.name}"] if named.to_file else [])]
    return f"nobody is told: put addresses into {' or '.join(where) or 'alerts.to_env or alerts.to_file'}"
