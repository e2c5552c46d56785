"""`status`: how far each series is, what is missing and why.

JSON: `{"series": [{"symbol", "timeframe", "from_ms", "until_ms", "stored", "by_source": {name: rows}, "expected",
"absent", "missing", "queued", "failed", "unplanned", "complete": 0…1, "newest_ms", "lag_ms", "jobs_waiting",
"jobs_failed", "last_error", "unfetched", "fallback_rows", "quiet"}], "total": {"stored", "expected", "quiet", "absent",
"missing", "unfetched": series, "fallback_rows", "complete"}, "sources": [as in `sources`], "last_run": {"kind",
"started_ms", "ended_ms", "outcome", "exit_code"} or null}`. `quiet` slots had no trade, at a source that sends no
candle then: `expected` = `stored` + `quiet` + `absent` + `missing`. Of series that are `unfetched` nothing is known:
`expected` and `missing` are null, `complete` is 0; the total's `complete` is null while there are some among others.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import typer

from db import coverage, jobs, state
from db import series as series_rows
from db.engine import reading
from fetcher.cli.choose import configured_series
from fetcher.cli.endpoints import unreachable
from fetcher.cli.show import plain, put_json, put_table, utc
from fetcher.cli.sources import as_dict, read_states
from fetcher.cli.standing import Standing, standing
from fetcher.observe.progress import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.jobs import JobRow
    from db.state import RunRow
    from fetcher.cli.endpoints import EndpointState
    from fetcher.cli.invocation import Invocation

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_LONGEST_ERROR = 70  # per series; what is wrong with a source stands below the table, whole


@app.command()
def status(ctx: typer.Context) -> int:
    """Show how far each series is, and what it lacks.

    What is stored and from whom, how much of it by others than the preferred source, what had no trades at a source
    that sends no candle then (quiet), what is proven absent, what is missing and why. Reads coverage, never the
    candles, so it is as quick for a billion rows as for one.

    Example: python -m fetcher status
    """
    call: Invocation = ctx.obj
    now = call.clock.now_ms()
    with call.database() as engine, reading(engine) as connection:
        covered = coverage.read_all(connection)
        open_jobs: defaultdict[int, list[JobRow]] = defaultdict(list)
        for job in jobs.open_windows(connection):
            open_jobs[job.series_id].append(job)
        names = {number: name for name, number in series_rows.source_ids(connection).items()}
        places = [
            standing(series, covered.get(series.id, ()), open_jobs[series.id], names, now)
            for series in configured_series(connection, call.config)
        ]
        states = read_states(connection, call.config, now)
        last = next(iter(state.recent_runs(connection, 1)), None)
    if call.as_json:
        put_json(_as_json(places, states, last))
    else:
        _put(places, states, last)
    return 0


def _put(places: Sequence[Standing], states: Sequence[EndpointState], last: RunRow | None) -> None:
    columns = ["symbol", "tf", "from", "last close", "#stored", "by source"]
    columns += ["#fallback", "#quiet", "#absent", "#missing", "#complete", "#lag"]
    rows = [_row(place, unreachable(states, place.series.sources)) for place in places]
    if len(rows) > 1:
        rows.append(_total_row(places))
    put_table([*columns, "why missing"], rows)
    typer.echo()
    for each in states:
        latency = f", {each.latency_ms:,.0f} ms" if each.latency_ms is not None else ""
        typer.echo(f"{plain(each.endpoint)} is {plain(each.sentence)}{latency}")
    if last is None:
        typer.echo("No run yet.")
    else:
        over = last.ended_ms is not None
        end = f"ended {utc(last.ended_ms)}, {last.outcome}" if over else "has not ended: it is at work, or was killed"
        typer.echo(f"The last {last.kind} began {utc(last.started_ms)} and {end}.")


def _row(place: Standing, state: EndpointState | None) -> tuple[object, ...]:
    lag = "-" if place.lag_ms is None else duration(place.lag_ms / 1000)
    return (
        place.series.symbol, place.series.timeframe.name, utc(place.from_ms), utc(place.until_ms), place.stored,
        " ".join(f"{name} {rows:,}" for name, rows in place.by_source.items()) or "-", place.fallback_rows,
        place.quiet, place.absent, _known(place.missing), percent(place.complete), lag, why(place, state),
    )  # fmt: skip


def _total_row(places: Sequence[Standing]) -> tuple[object, ...]:
    stored, absent = sum(p.stored for p in places), sum(p.absent for p in places)
    fallback, quiet = sum(p.fallback_rows for p in places), sum(p.quiet for p in places)
    missing, new = sum(p.missing or 0 for p in places), sum(p.unfetched for p in places)
    share, words = _share(places), f"{new} series never fetched" if new else ""
    shown = "?" if new and share is None else percent(share)
    return ("all", "", "", "", stored, "", fallback, quiet, absent, "?" if new else missing, shown, "", words)


def _known(slots: int | None) -> object:
    return "?" if slots is None else slots


def _share(places: Sequence[Standing]) -> float | None:
    """How complete all are together; None while nothing is expected, or of some series nothing is known."""
    new = sum(place.unfetched for place in places)
    if new:
        return 0.0 if new == len(places) else None
    expected, missing = sum(p.expected or 0 for p in places), sum(p.missing or 0 for p in places)
    return (expected - missing) / expected if expected else None


def percent(share: float | None) -> str:
    """A share as a percentage that says 100 % only when nothing is missing."""
    if share is None:
        return "-"
    if share == 1:
        return "100 %"
    return f"{min(share * 100, 99.99):.2f} %"


def why(place: Standing, state: EndpointState | None = None) -> str:
    """What is known of the missing slots and of jobs that wait, with the last error, else with a source's `state`."""
    if place.unfetched and not place.jobs_waiting + place.jobs_failed:
        return "never fetched"
    if not place.unfetched and (place.until_ms is None or place.from_ms >= place.until_ms):
        later = f"nothing to fetch before {utc(place.from_ms)}"
        return later if not place.last_error else f"{later}: {plain(place.last_error, _LONGEST_ERROR)}"
    named = (("queued", place.queued), ("given up", place.failed), ("not planned yet", place.unplanned))
    parts = [f"{slots:,} {words}" for words, slots in named if slots]
    if not parts and place.jobs_waiting + place.jobs_failed:
        counts = ((place.jobs_waiting, "waiting"), (place.jobs_failed, "given up"))
        parts = [f"{count} job{'s' * (count != 1)} {words}" for count, words in counts if count]
    reason = place.last_error or (f"{state.source} is {state.sentence}" if state is not None and parts else None)
    return ", ".join(parts) + (f": {plain(reason, _LONGEST_ERROR)}" if reason else "")


def _as_json(places: Sequence[Standing], states: Sequence[EndpointState], last: RunRow | None) -> dict[str, Any]:
    return {
        "series": [
            {
                "symbol": place.series.symbol,
                "timeframe": place.series.timeframe.name,
                **{name: getattr(place, name) for name in Standing.__dataclass_fields__ if name != "series"},
                "complete": place.complete,
            }
            for place in places
        ],
        "total": {
            "stored": sum(p.stored for p in places),
            "expected": sum(p.expected or 0 for p in places),
            "quiet": sum(p.quiet for p in places),
            "absent": sum(p.absent for p in places),
            "missing": sum(p.missing or 0 for p in places),
            "unfetched": sum(p.unfetched for p in places),
            "fallback_rows": sum(p.fallback_rows for p in places),
            "complete": _share(places),
        },
        "sources": [as_dict(each) for each in states],
        "last_run": None
        if last is None
        else {name: getattr(last, name) for name in ("kind", "started_ms", "ended_ms", "outcome", "exit_code")},
    }
