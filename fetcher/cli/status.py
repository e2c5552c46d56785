"""`status`: how far each series is, what is missing and why, and which goals are missed.

JSON: `{"now_ms", "series": [{"symbol", "timeframe", "from_ms", "until_ms", "stored", "by_source": {name: rows},
"expected", "absent", "missing", "queued", "failed", "unplanned", "complete": 0…1, "newest_ms", "lag_ms", "overdue_ms",
"jobs_waiting", "jobs_failed", "last_error", "unfetched", "fallback_rows", "quiet"}], "total": {"stored", "expected",
"quiet", "absent", "missing", "unfetched": series, "fallback_rows", "complete"}, "goals": [{"name", "value", "wanted",
"met"}], "jobs": {kind: {status: jobs}}, "oldest_job_ms", "recovery": {"filled", "given_up"}: jobs of a week,
"quarantine": {reason: {"rows", "new": in the last hour}}, "sources": [as in `sources`], "last_run": {"kind",
"started_ms", "ended_ms", "outcome", "exit_code"} or null, "failed_in_row": runs, "up_since_ms": of the daemon}`.
`quiet` slots had no trade, at a source that sends no candle then: `expected` = `stored` + `quiet` + `absent` +
`missing`. Of series that are `unfetched` nothing is known: `expected` and `missing` are null, `complete` is 0; the
total's `complete` is null where there are some among others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from msgspec.structs import asdict

from fetcher.cli.show import plain, put_json, put_table, utc
from fetcher.cli.sources import as_dict
from fetcher.endpoints import unreachable
from fetcher.goals import judged
from fetcher.observe.progress import duration
from fetcher.standing import Standing
from fetcher.vitals import read_vitals
from fetcher.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.cli.invocation import Invocation
    from fetcher.endpoints import EndpointState
    from fetcher.goals import Goal
    from fetcher.vitals import Vitals

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
    with call.database() as engine:
        vitals = read_vitals(engine, call.config, call.clock.now_ms())
    goals = judged(vitals, call.config.goals)
    if call.as_json:
        put_json(_as_json(vitals, goals))
    else:
        _put(vitals, goals)
    return 0


def _put(vitals: Vitals, goals: Sequence[Goal]) -> None:
    columns = ["symbol", "tf", "from", "last close", "#stored", "by source"]
    columns += ["#fallback", "#quiet", "#absent", "#missing", "#complete", "#lag"]
    rows = [_row(place, unreachable(vitals.endpoints, place.series.sources)) for place in vitals.series]
    if len(rows) > 1:
        rows.append(_total_row(vitals))
    put_table([*columns, "why missing"], rows)
    typer.echo()
    for each in vitals.endpoints:
        latency = f", {each.latency_ms:,.0f} ms" if each.latency_ms is not None else ""
        typer.echo(f"{plain(each.endpoint)} is {plain(each.sentence)}{latency}")
    last = vitals.last_run
    if last is None:
        typer.echo("No run yet.")
    else:
        over = last.ended_ms is not None
        end = f"ended {utc(last.ended_ms)}, {last.outcome}" if over else "has not ended: it is at work, or was killed"
        typer.echo(f"The last {last.kind} began {utc(last.started_ms)} and {end}.")
    if vitals.up_since_ms is not None:
        typer.echo(f"The daemon has been up since {utc(vitals.up_since_ms)}.")
    missed = [goal.sentence for goal in goals if goal.met is False]
    if missed:
        typer.echo(f"Missed: {', '.join(missed)}.")


def _row(place: Standing, state: EndpointState | None) -> tuple[object, ...]:
    lag = "-" if place.lag_ms is None else duration(place.lag_ms / 1000)
    return (
        place.series.symbol, place.series.timeframe.name, utc(place.from_ms), utc(place.until_ms), place.stored,
        " ".join(f"{name} {rows:,}" for name, rows in place.by_source.items()) or "-", place.fallback_rows,
        place.quiet, place.absent, _known(place.missing), percent(place.complete), lag, why(place, state),
    )  # fmt: skip


def _total_row(vitals: Vitals) -> tuple[object, ...]:
    total, new = _total(vitals), vitals.unfetched
    shown = "?" if new and vitals.completeness is None else percent(vitals.completeness)
    return (
        "all", "", "", "", total["stored"], "", total["fallback_rows"], total["quiet"], total["absent"],
        "?" if new else vitals.missing, shown, "", f"{new} series never fetched" if new else "",
    )  # fmt: skip


def _total(vitals: Vitals) -> dict[str, int]:
    names = ("stored", "quiet", "absent", "fallback_rows")
    return {name: sum(getattr(place, name) for place in vitals.series) for name in names}


def _known(slots: int | None) -> object:
    return "?" if slots is None else slots


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
        parts = [f"{counted(count, 'job')} {words}" for count, words in counts if count]
    reason = place.last_error or (f"{state.source} is {state.sentence}" if state is not None and parts else None)
    return ", ".join(parts) + (f": {plain(reason, _LONGEST_ERROR)}" if reason else "")


def _as_json(vitals: Vitals, goals: Sequence[Goal]) -> dict[str, Any]:
    by_kind: dict[str, dict[str, int]] = {}
    for (kind, status), number in sorted(vitals.jobs.items()):
        by_kind.setdefault(kind, {})[status] = number
    last = vitals.last_run
    return {
        "now_ms": vitals.now_ms,
        "series": [
            {
                "symbol": place.series.symbol,
                "timeframe": place.series.timeframe.name,
                **{name: getattr(place, name) for name in Standing.__struct_fields__ if name != "series"},
                "complete": place.complete,
            }
            for place in vitals.series
        ],
        "total": _total(vitals)
        | {
            "expected": vitals.expected,
            "missing": vitals.missing,
            "unfetched": vitals.unfetched,
            "complete": vitals.completeness,
        },
        "goals": [asdict(goal) for goal in goals],
        "jobs": by_kind,
        "oldest_job_ms": vitals.oldest_job_ms,
        "recovery": {"filled": vitals.filled, "given_up": vitals.given_up},
        "quarantine": {reason: asdict(held) for reason, held in vitals.quarantine.items()},
        "sources": [as_dict(each) for each in vitals.endpoints],
        "last_run": None
        if last is None
        else {name: getattr(last, name) for name in ("kind", "started_ms", "ended_ms", "outcome", "exit_code")},
        "failed_in_row": vitals.failed_in_row,
        "up_since_ms": vitals.up_since_ms,
    }
