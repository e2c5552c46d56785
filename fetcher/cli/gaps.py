"""`gaps`: what is not there and why; with `--absent` also what never was.

JSON: `{"gaps": [{"symbol", "timeframe", "start_ms", "end_ms", "missing", "why": [{"status", "jobs", "reason"}]}]}` with
status queued, leased, failed or unplanned; with --absent also `"absent": [{"symbol", "timeframe", "start_ms", "end_ms",
"slots", "source", "answers", "checked_ms", "recheck_ms", "evidence"}]`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy import text

from db import coverage, jobs
from db import series as series_rows
from db.engine import reading
from fetcher.cli.choose import chosen, configured_series
from fetcher.cli.show import put_json, put_table, utc
from fetcher.gaps import subtract
from fetcher.model import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from db.jobs import JobRow
    from fetcher.cli.invocation import Invocation
    from fetcher.model import Series

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_GAPS = text("SELECT symbol, timeframe, start_ms, end_ms FROM gaps ORDER BY symbol, timeframe, start_ms")
UNPLANNED = "unplanned"


@app.command()
def gaps(
    ctx: typer.Context,
    symbol: Annotated[
        list[str] | None, typer.Option("--symbol", metavar="BASE/QUOTE", help="Of these markets; else all.")
    ] = None,
    timeframe: Annotated[
        list[str] | None, typer.Option("--timeframe", metavar="1m…1M", help="At these candle lengths; else all.")
    ] = None,
    absent: Annotated[
        bool, typer.Option("--absent", help="Also what is proven never to have existed, and on what evidence.")
    ] = False,
) -> int:
    """Show what is neither stored nor proven absent, and why.

    A job waits for it, was given up (with the reason), or the next run will plan one.

    Example: python -m fetcher gaps --symbol BTC/USDT --absent
    """
    call: Invocation = ctx.obj
    with call.database() as engine, reading(engine) as connection:
        wanted = chosen(configured_series(connection, call.config), symbol, timeframe)
        holes = _holes(connection, wanted)
        windows = _absent(connection, wanted) if absent else None
    if call.as_json:
        put_json({"gaps": holes} | ({} if windows is None else {"absent": windows}))
        return 0
    new = [str(series) for series in wanted if series.closed_until_ms is None]
    if holes:
        put_table(["symbol", "tf", "from", "to", "#missing", "why"], [_gap_row(hole) for hole in holes])
    elif len(new) < len(wanted):
        typer.echo("No gaps: every slot up to the last close is stored or proven absent.")
    if new:
        typer.echo(f"No run has looked at {', '.join(new)} yet.")
    if windows is not None:
        typer.echo()
        _put_absent(windows)
    return 0


def _holes(connection: Connection, wanted: Sequence[Series]) -> list[dict[str, Any]]:
    by_name = {(series.symbol, series.timeframe.name): series for series in wanted}
    open_jobs: defaultdict[int, list[JobRow]] = defaultdict(list)
    for job in jobs.open_windows(connection):
        open_jobs[job.series_id].append(job)
    found = []
    for name, timeframe, start, end in connection.execute(_GAPS):
        series = by_name.get((name, timeframe))
        if series is None:
            continue
        gap = Window(start, end)
        found.append(
            {
                "symbol": name,
                "timeframe": timeframe,
                "start_ms": start,
                "end_ms": end,
                "missing": series.grid.count(gap),
                "why": reasons(gap, open_jobs[series.id]),
            }
        )
    return found


def reasons(gap: Window, open_jobs: Sequence[JobRow]) -> list[dict[str, Any]]:
    """Why a gap is still there: the jobs that overlap it by status and last error, and what no job is for. Pure."""
    mine = [job for job in open_jobs if job.start_ms < gap.end and job.end_ms > gap.start]
    counted: defaultdict[tuple[str, str | None], int] = defaultdict(int)
    for job in mine:
        counted[job.status, job.last_error] += 1
    found: list[dict[str, Any]] = [
        {"status": status, "jobs": number, "reason": reason} for (status, reason), number in counted.items()
    ]
    if subtract(gap, [Window(job.start_ms, job.end_ms) for job in mine]):
        found.append({"status": UNPLANNED, "jobs": 0, "reason": None})
    return found


def _absent(connection: Connection, wanted: Sequence[Series]) -> list[dict[str, Any]]:
    covered = coverage.read_all(connection)
    names = {number: name for name, number in series_rows.source_ids(connection).items()}
    return [
        {
            "symbol": series.symbol,
            "timeframe": series.timeframe.name,
            "start_ms": interval.start_ms,
            "end_ms": interval.end_ms,
            "slots": series.grid.count(Window(interval.start_ms, interval.end_ms)),
            "source": names[interval.source_id],
            "answers": interval.answers,
            "checked_ms": interval.checked_at,
            "recheck_ms": interval.recheck_at,
            "evidence": None if interval.evidence is None else json.loads(interval.evidence),
        }
        for series in wanted
        for interval in covered.get(series.id, ())
        if interval.state == coverage.ABSENT
    ]


_STATUS_WORDS = {
    "queued": "queued",
    "leased": "being fetched",
    "failed": "given up",
    UNPLANNED: "not planned yet: the next run will",
}


def _gap_row(hole: dict[str, Any]) -> tuple[object, ...]:
    words = [
        _STATUS_WORDS[each["status"]]
        + (f" ({each['jobs']} jobs)" if each["jobs"] > 1 else "")
        + (f": {each['reason']}" if each["reason"] else "")
        for each in hole["why"]
    ]
    start, end = utc(hole["start_ms"]), utc(hole["end_ms"])
    return hole["symbol"], hole["timeframe"], start, end, hole["missing"], "; ".join(words)


def _put_absent(windows: Sequence[dict[str, Any]]) -> None:
    if not windows:
        typer.echo("Nothing is proven absent.")
        return
    rows = [
        (
            each["symbol"], each["timeframe"], utc(each["start_ms"]), utc(each["end_ms"]), each["slots"],
            f"{each['answers']} agreeing answers of {each['source']}", utc(each["checked_ms"]), utc(each["recheck_ms"]),
        )
        for each in windows
    ]  # fmt: skip
    put_table(["symbol", "tf", "from", "to", "#absent", "evidence", "checked", "asked again"], rows)
