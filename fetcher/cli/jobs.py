"""`jobs`: the queue; `jobs retry` and `jobs cancel` change it.

JSON: `{"jobs": [{"id", "symbol", "timeframe", "kind", "start_ms", "end_ms", "slots", "status", "attempts",
"not_before_ms", "lease_owner", "lease_until_ms", "last_error"}], "more": how many were left out}`; of retry
`{"retried": n}`, of cancel `{"cancelled": n}`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from db import jobs as queue
from db import series as series_rows
from db.engine import reading, writing
from db.locks import PLAN, alone
from fetcher.cli.choose import all_there, chosen, storable
from fetcher.cli.hand import MOST_NAMED, hand, job_words
from fetcher.cli.show import put_json, put_table, utc
from fetcher.endpoints import read_states, unreachable
from fetcher.jobqueue import as_series
from fetcher.model import Window
from fetcher.standing import configured_series
from fetcher.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from db.audit_log import Hand
    from db.jobs import JobRow
    from fetcher.cli.invocation import Invocation
    from fetcher.endpoints import EndpointState
    from fetcher.model import Series

app = typer.Typer(add_completion=False, rich_markup_mode=None)
Ids = Annotated[list[int] | None, typer.Argument(metavar="ID", help="Jobs by their ids; else every one.")]


class Status(StrEnum):
    """What a job can be."""

    QUEUED = "queued"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"


class Kind(StrEnum):
    """What a job can be for."""

    TAIL = "tail"
    GAP = "gap"
    BACKFILL = "backfill"
    HEAL = "heal"
    RECHECK = "recheck"


@app.callback(invoke_without_command=True)
def jobs(
    ctx: typer.Context,
    status: Annotated[Status | None, typer.Option("--status", help="Only these; else all but those done.")] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only jobs for this purpose.")] = None,
    symbol: Annotated[
        str | None, typer.Option("--symbol", metavar="BASE/QUOTE", help="Only this market's jobs.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
) -> int:
    """Show the queue: windows of candles still to fetch.

    Those given up come first, with their last error.

    Example: python -m fetcher jobs --status failed --symbol BTC/USDT
    """
    if ctx.invoked_subcommand is not None:
        return 0
    call: Invocation = ctx.obj
    with call.database() as engine, reading(engine) as connection:
        by_id = {row.id: as_series(row) for row in series_rows.read_series(connection)}
        known = [*configured_series(connection, call.config), *by_id.values()]  # jobs may outlive their series
        only = chosen(known, [symbol], known="configured or stored") if symbol else None
        found = _listed(connection, status, kind, only)
        states = read_states(connection, call.config, call.clock.now_ms())
    shown, more = found[:limit], max(0, len(found) - limit)
    if call.as_json:
        put_json({"jobs": [_as_dict(job, by_id[job.series_id]) for job in shown], "more": more})
    elif not found:
        typer.echo("No such jobs." if status or kind or only else "No jobs: nothing waits, nothing was given up.")
    else:
        columns = ["#id", "series", "kind", "from", "to", "#candles", "status", "#attempts", "not before", "last error"]
        now = call.clock.now_ms()
        rows = [(job, by_id[job.series_id]) for job in shown]
        put_table(columns, [_row(job, series, now, unreachable(states, series.sources)) for job, series in rows])
        if more:
            typer.echo(f"… and {more:,} more; --limit shows more, --status, --kind and --symbol fewer.")
    return 0


@app.command()
def retry(ctx: typer.Context, ids: Ids = None) -> int:
    """Queue given up or delayed jobs for now.

    Their failed attempts are forgotten.

    Example: python -m fetcher jobs retry 17 18
    """
    call: Invocation = ctx.obj
    with call.database() as engine, writing(engine) as connection:
        alone(connection, PLAN)
        _check(connection, ids)
        freed = queue.retry(connection, ids or None, call.clock.now_ms())
        _note(connection, hand(call, "jobs retry"), freed)
    count = len(freed)
    if call.as_json:
        put_json({"retried": count})
    else:
        left = _left(ids, count, "given up or delayed")
        typer.echo(f"{counted(count, 'job')} will be worked by the next run.{left}")
    return 0


@app.command()
def cancel(ctx: typer.Context, ids: Ids = None) -> int:
    """Take queued jobs out of the queue.

    What stays configured and missing is planned again by the next run.

    Example: python -m fetcher jobs cancel 17
    """
    call: Invocation = ctx.obj
    with call.database() as engine, writing(engine) as connection:
        alone(connection, PLAN)
        _check(connection, ids)
        gone = queue.cancel(connection, ids or None)
        _note(connection, hand(call, "jobs cancel"), gone)
    count = len(gone)
    if call.as_json:
        put_json({"cancelled": count})
    else:
        typer.echo(f"{counted(count, 'job')} cancelled.{_left(ids, count, 'queued')}")
    return 0


def _note(connection: Connection, by: Hand, changed: Sequence[JobRow]) -> None:
    if changed:
        by_id = {row.id: as_series(row) for row in series_rows.read_series(connection)}
        by.note(connection, count=len(changed), jobs=[job_words(job, by_id) for job in changed[:MOST_NAMED]])


def _left(ids: Sequence[int] | None, count: int, needed: str) -> str:
    others = len(set(ids or ())) - count
    return f" {others} other{'s' * (others != 1)} left as they are: not {needed}." if others > 0 else ""


def _check(connection: Connection, ids: Sequence[int] | None) -> None:
    if ids:
        storable("job", ids)
        all_there("job", ids, {job.id for job in queue.listing(connection, ids=ids)})


def _listed(
    connection: Connection, status: Status | None, kind: Kind | None, only: Sequence[Series] | None
) -> list[JobRow]:
    wanted = [status] if status else [Status.FAILED, Status.LEASED, Status.QUEUED]
    names = None if only is None else {series.id for series in only}
    return [
        job
        for each in wanted
        for job in queue.listing(connection, status=each.value, kind=None if kind is None else kind.value)
        if names is None or job.series_id in names
    ]


def _row(job: JobRow, series: Series, now_ms: int, state: EndpointState | None) -> tuple[object, ...]:
    """One line; a job that waits and has met nothing yet tells how the source that it would ask first is."""
    error = job.last_error
    if error is None and state is not None and job.status == queue.QUEUED:
        error = f"{state.source} is {state.sentence}"
    due = "now" if job.not_before <= now_ms else utc(job.not_before)
    return (
        job.id, str(series), job.kind, utc(job.start_ms), utc(job.end_ms), _slots(job, series), job.status,
        job.attempts, due if job.status == queue.QUEUED else "-", error,
    )  # fmt: skip


def _slots(job: JobRow, series: Series) -> int:
    return series.grid.count(Window(job.start_ms, job.end_ms))


def _as_dict(job: JobRow, series: Series) -> dict[str, Any]:
    return {
        "id": job.id,
        "symbol": series.symbol,
        "timeframe": series.timeframe.name,
        "kind": job.kind,
        "start_ms": job.start_ms,
        "end_ms": job.end_ms,
        "slots": _slots(job, series),
        "status": job.status,
        "attempts": job.attempts,
        "not_before_ms": job.not_before,
        "lease_owner": job.lease_owner,
        "lease_until_ms": job.lease_until,
        "last_error": job.last_error,
    }
