"""`gaps`: what is not there and why; with `--absent` also what never was, with `--fallback` what others served.

JSON: `{"gaps": [{"symbol", "timeframe", "start_ms", "end_ms", "missing", "why": [{"status", "jobs", "reason"}]}]}` with
status queued, leased, failed or unplanned; with --absent also `"absent": [{"symbol", "timeframe", "start_ms", "end_ms",
"slots", "source", "answers", "checked_ms", "recheck_ms", "evidence"}]`, with --fallback `"fallback": [{"symbol",
"timeframe", "start_ms", "end_ms", "rows", "source", "preferred", "jobs", "waiting_since_ms", "due_ms", "reason",
"lacking": who is proven to have none of it, "asked_again_ms"}]`. `"quiet"` counts the slots without a trade at a source
that sends no candle then, `"unfetched": [{"symbol", "timeframe", "reason"}]` are series of which nothing is known yet.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from db import coverage, endpoints, jobs, state
from db import series as series_rows
from db.engine import reading
from fetcher.cli.choose import chosen
from fetcher.cli.fallbacks import fallback_windows, put_fallbacks
from fetcher.cli.show import put_json, put_table, utc
from fetcher.cli.unfetched import sentences, unfetched
from fetcher.endpoints import endpoint_states
from fetcher.gaps import GapDetector, subtract
from fetcher.model import Window
from fetcher.results import wanted_window
from fetcher.standing import configured_series, quiet_slots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from db.intervals import Interval
    from db.jobs import JobRow
    from fetcher.cli.invocation import Invocation
    from fetcher.model import Series

app = typer.Typer(add_completion=False, rich_markup_mode=None)
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
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Also what others than the preferred source served, until it is healed.")
    ] = False,
) -> int:
    """Show what is neither stored nor proven absent, and why.

    A job waits for it, was given up (with the reason), or the next run will plan one.

    Example: python -m fetcher gaps --symbol BTC/USDT --absent
    """
    call: Invocation = ctx.obj
    now = call.clock.now_ms()
    with call.database() as engine, reading(engine) as connection:
        wanted = chosen(configured_series(connection, call.config), symbol, timeframe)
        open_jobs = _open_jobs(connection)
        covered = coverage.read_all(connection)
        holes = _holes(wanted, covered, open_jobs)
        quiet = sum(quiet_slots(series, covered.get(series.id, ())) for series in wanted)
        now, last = call.clock.now_ms(), next(iter(state.recent_runs(connection, 1)), None)
        states = endpoint_states(endpoints.read_all(connection), call.config, now)
        new = unfetched(wanted, open_jobs, states, last, now)
        more = {"absent": _absent(connection, wanted)} if absent else {}
        if fallback:
            more["fallback"] = _fallbacks(connection, wanted, open_jobs, now)
    if call.as_json:
        put_json({"gaps": holes, "quiet": quiet, "unfetched": new} | more)
        return 0
    if holes:
        put_gaps(holes)
    elif len(new) < len(wanted):
        others = " in the others" if new else ""
        known = f"stored, quiet ({quiet:,}: no trades) or proven absent" if quiet else "stored or proven absent"
        typer.echo(f"No gaps{others}: every slot up to the last close is {known}.")
    for line in sentences(new):
        typer.echo(line)
    if absent:
        typer.echo()
        _put_absent(more["absent"])
    if fallback:
        typer.echo()
        put_fallbacks(more["fallback"], now)
    return 0


def _open_jobs(connection: Connection) -> defaultdict[int, list[JobRow]]:
    found: defaultdict[int, list[JobRow]] = defaultdict(list)
    for job in jobs.open_windows(connection):
        found[job.series_id].append(job)
    return found


def _fallbacks(
    connection: Connection, wanted: Sequence[Series], open_jobs: Mapping[int, list[JobRow]], now_ms: int
) -> list[dict[str, Any]]:
    covered = coverage.read_all(connection)
    names = {number: name for name, number in series_rows.source_ids(connection).items()}
    return [
        window
        for series in wanted
        for window in fallback_windows(series, covered.get(series.id, ()), open_jobs.get(series.id, ()), names, now_ms)
    ]


def _holes(
    wanted: Sequence[Series], covered: Mapping[int, Sequence[Interval]], open_jobs: Mapping[int, Sequence[JobRow]]
) -> list[dict[str, Any]]:
    """By the configuration as it is now; the view `gaps` goes by what the last run made of it."""
    return [
        {
            "symbol": series.symbol,
            "timeframe": series.timeframe.name,
            "start_ms": gap.start,
            "end_ms": gap.end,
            "missing": series.grid.count(gap),
            "why": reasons(gap, open_jobs.get(series.id, ())),
        }
        for series in wanted
        for gap in GapDetector(series.grid).missing(
            wanted_window(series), [Window(i.start_ms, i.end_ms) for i in covered.get(series.id, ())]
        )
    ]


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
    "unwanted": "before the configured start",
    "lost": "stored once, and gone since: `audit --repair`",
}


def put_gaps(holes: Sequence[dict[str, Any]]) -> None:
    """Print a row for each gap."""
    put_table(["symbol", "tf", "from", "to", "#missing", "why"], [_gap_row(hole) for hole in holes])


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
