"""How a run ended, as lines for people and as one JSON object.

JSON of a run: `{"outcome", "exit_code", "timed_out", "missing", "series": [{"symbol", "timeframe", "complete_until_ms",
"complete_until", "missing", "jobs_waiting", "jobs_failed", "last_error"}], "sources": [{"source", "message"}]}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from fetcher.cli.show import plain, put_json, utc
from fetcher.observe.logs import one_line
from fetcher.outcome import EXIT_INCOMPLETE, EXIT_OK, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.cli.invocation import Invocation
    from fetcher.model import Window
    from fetcher.results import RunResult, SeriesResult


def put_result(
    call: Invocation, result: RunResult, troubles: Mapping[str, str], asked: Mapping[str, Window] | None = None
) -> int:
    """Print how a run ended and return its exit code; `troubles` are sentences by source, `asked` windows by series."""
    code = result.exit_code or (EXIT_INCOMPLETE if _unasked(result, troubles, asked) else EXIT_OK)
    if call.as_json:
        put_json(as_json(result, troubles, code))
        return code
    for series in result.series:
        if call.verbosity >= 0 or series.outcome is not Outcome.OK:
            typer.echo(series_line(series, width=max(len(str(each.series)) for each in result.series)))
    for message in troubles.values():
        typer.echo(one_line(message))
    if result.timed_out and result.outcome is not Outcome.OK:
        typer.echo("The time budget is used up; the next run goes on.")
    return code


def _unasked(result: RunResult, troubles: Mapping[str, str], asked: Mapping[str, Window] | None) -> bool:
    """Whether a series looks complete only because nobody could be asked what is new."""
    for each in result.series:
        series = each.series
        silent = all(source in troubles for source in series.sources)
        proven = series.closed_until_ms or 0
        if silent and (asked is None or proven < series.grid.floor(asked[str(series)].end)):
            return True
    return False


def series_line(result: SeriesResult, width: int = 0) -> str:
    """`BTC/USDT 1h  complete until 2026-04-30T04:00Z`, or what is missing and why."""
    name = str(result.series).ljust(width)
    if result.outcome is Outcome.OK:
        until = result.series.closed_until_ms
        return f"{name}  " + ("nothing closed yet" if until is None else f"complete until {utc(until)}")
    parts = [f"{result.missing:,} missing"] if result.missing else []
    if result.queued:
        parts.append(f"{result.queued} job{'s' * (result.queued != 1)} waiting")
    if result.failed:
        parts.append(f"{result.failed} job{'s' * (result.failed != 1)} given up")
    error = f": {plain(result.last_error, 300)}" if result.last_error else ""
    return f"{name}  {', '.join(parts)}{error}"


def as_json(result: RunResult, troubles: Mapping[str, str], code: int) -> dict[str, Any]:
    """The run as JSON-able values."""
    return {
        "outcome": result.outcome.name.lower(),
        "exit_code": code,
        "timed_out": result.timed_out,
        "missing": result.missing,
        "series": [
            {
                "symbol": each.series.symbol,
                "timeframe": each.series.timeframe.name,
                "complete_until_ms": each.series.closed_until_ms if each.outcome is Outcome.OK else None,
                "complete_until": utc(each.series.closed_until_ms) if each.outcome is Outcome.OK else None,
                "missing": each.missing,
                "jobs_waiting": each.queued,
                "jobs_failed": each.failed,
                "last_error": each.last_error,
            }
            for each in result.series
        ],
        "sources": [{"source": source, "message": message} for source, message in troubles.items()],
    }
