"""Windows that others than the preferred source served, and since when they wait for it: `gaps --fallback`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from db.coverage import STORED
from db.jobs import FAILED, QUEUED
from fetcher.cli.show import put_table, utc
from fetcher.planner import HEAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from db.intervals import Interval
    from db.jobs import JobRow
    from fetcher.model import Series


def fallback_windows(
    series: Series, covered: Iterable[Interval], jobs: Iterable[JobRow], names: Mapping[int, str], now_ms: int
) -> list[dict[str, Any]]:
    """Each stored window of a series that its preferred source did not serve, as JSON-able values. Pure.

    With the heal jobs that overlap it: since when the first of them waits, when the next is due (ms UTC; None where it
    was given up, or none is planned), and the last error; also who was asked to heal it and is proven to lack it, and
    when that is asked again. `jobs` are open ones of the series, `names` sources by id.
    """
    heals = [job for job in jobs if job.kind == HEAL]
    found = []
    for interval in covered:
        if interval.state != STORED or names[interval.source_id] == series.sources[0]:
            continue
        mine = [job for job in heals if job.start_ms < interval.end_ms and job.end_ms > interval.start_ms]
        due = [max(job.not_before, now_ms) if job.status == QUEUED else now_ms for job in mine if job.status != FAILED]
        found.append(
            {
                "symbol": series.symbol,
                "timeframe": series.timeframe.name,
                "start_ms": interval.start_ms,
                "end_ms": interval.end_ms,
                "rows": interval.rows,
                "source": names[interval.source_id],
                "preferred": series.sources[0],
                "jobs": len(mine),
                "waiting_since_ms": min((job.created_ms for job in mine), default=None),
                "due_ms": min(due, default=None),
                "reason": next((job.last_error for job in mine if job.last_error), None),
                "lacking": None if interval.evidence is None else json.loads(interval.evidence).get("source"),
                "asked_again_ms": interval.recheck_at,
            }
        )
    return found


def put_fallbacks(windows: Sequence[Mapping[str, Any]], now_ms: int) -> None:
    """Print them as a table."""
    if not windows:
        typer.echo("No fallbacks: every stored candle is its preferred source's.")
        return
    rows = [
        (
            each["symbol"], each["timeframe"], utc(each["start_ms"]), utc(each["end_ms"]), each["rows"], each["source"],
            each["preferred"], utc(each["waiting_since_ms"]), _waits(each, now_ms),
        )
        for each in windows
    ]  # fmt: skip
    columns = ["symbol", "tf", "from", "to", "#rows", "served by", "preferred", "waits since", "will be healed"]
    put_table(columns, rows)


def _waits(each: Mapping[str, Any], now_ms: int) -> str:
    reason = f": {each['reason']}" if each["reason"] else ""
    if not each["jobs"] and each["lacking"] is not None and (each["asked_again_ms"] or 0) > now_ms:
        return f"{each['lacking']} has none of it, asked again at {utc(each['asked_again_ms'])}"
    if not each["jobs"]:
        return "no job yet: a run plans one when a better source can serve it"
    if each["due_ms"] is None:
        return f"given up{reason}"
    return ("by the next run" if each["due_ms"] <= now_ms else f"from {utc(each['due_ms'])} on") + reason
