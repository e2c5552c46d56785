"""How a run ended, as lines for people and as one JSON object.

JSON of a run: `{"outcome", "exit_code", "timed_out", "missing", "series": [{"symbol", "timeframe", "complete_from_ms",
"complete_from", "complete_until_ms", "complete_until", "note", "missing", "jobs_waiting", "jobs_failed",
"last_error"}], "sources": [{"source", "message"}]}`; `note` says why there was nothing to do where there was not, and
why something is missing that no job waits for.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer

from fetcher.cli.show import plain, put_json, utc
from fetcher.gaps import GapDetector
from fetcher.model import Window
from fetcher.outcome import EXIT_BAD_INPUT, EXIT_INCOMPLETE, EXIT_OK, Outcome
from fetcher.results import wanted_window
from fetcher.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from fetcher.cli.invocation import Invocation
    from fetcher.model import Series
    from fetcher.results import RunResult, SeriesResult

_NO_TROUBLES: Mapping[str, str] = MappingProxyType({})
_UNPLANNED = "It ended before it was known what is missing."
_LONGEST_ERROR, _LONGEST_TROUBLE = 300, 1_000


def put_result(
    call: Invocation, result: RunResult, troubles: Mapping[str, str], asked: Mapping[str, Window] | None = None,
    unusable: Collection[str] = (),
) -> int:  # fmt: skip
    """Print how a run ended and return its exit code; `troubles` are sentences by source, `asked` windows by series.

    Where a series has none but `unusable` sources, which a person must mend, the configuration is at fault.
    """
    code = result.exit_code or (EXIT_INCOMPLETE if _unasked(result, troubles, asked) else EXIT_OK)
    if any(set(each.series.sources) <= set(unusable) for each in result.series):
        code = EXIT_BAD_INPUT
    asked = asked or {}
    if call.as_json:
        put_json(as_json(result, troubles, code, asked))
        return code
    for series in result.series if result.is_planned else ():
        if call.verbosity >= 0 or series.outcome is not Outcome.OK:
            width = max(len(str(each.series)) for each in result.series)
            mine = {name: troubles[name] for name in series.series.sources if name in troubles}
            typer.echo(series_line(series, width, asked.get(str(series.series)), mine))
    for message in troubles.values():
        typer.echo(plain(message, _LONGEST_TROUBLE))
    if not result.is_planned:
        typer.echo(_UNPLANNED)
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


def series_line(
    result: SeriesResult,
    width: int = 0,
    asked: Window | None = None,
    troubles: Mapping[str, str] = _NO_TROUBLES,
) -> str:
    """`BTC/USDT 1h  complete until 2026-04-30T04:00Z`, or what is missing and why.

    Of a window that was `asked` for it names both ends. A reason that a line of `troubles` tells is left to that.
    """
    name = str(result.series).ljust(width)
    if result.outcome is Outcome.OK:
        note = idle_note(result.series, asked)
        if note is not None:
            return f"{name}  {note}"
        span = explained(result.series, asked)
        return f"{name}  complete " + (f"from {utc(span.start)} to" if asked else "until") + f" {utc(span.end)}"
    parts = [f"{result.missing:,} missing"] if result.missing else []
    if result.queued:
        parts.append(f"{counted(result.queued, 'job')} waiting")
    if result.failed:
        parts.append(f"{counted(result.failed, 'job')} given up")
    reason = result.last_error or untold(result, troubles)
    if reason is None or any(_says(trouble, reason) for trouble in troubles.values()):
        return f"{name}  {', '.join(parts)}"
    return f"{name}  {', '.join(parts)}: {plain(reason, _LONGEST_ERROR)}"


def untold(result: SeriesResult, troubles: Collection[str]) -> str | None:
    """Why something is missing that no job waits for and no error tells of; None where that is not so.

    `troubles` names the sources that did not serve.
    """
    if not result.missing or result.queued or result.failed or result.last_error:
        return None
    down = [name for name in result.series.sources if name in troubles]
    others = [name for name in result.series.sources if name not in troubles]
    parts = [f"{' and '.join(down)} did not serve"] if down else []
    parts += [f"{' and '.join(others)} did not tell of it yet"] if others else []
    return f"{', '.join(parts)}; the next run asks again"


def explained(series: Series, asked: Window | None) -> Window:
    """What of the series, or of the window asked for, can hold closed candles: the slots that a result is about."""
    if asked is None:
        return wanted_window(series)
    start = max(asked.start, series.listed_ms or 0)
    return GapDetector(series.grid).trim(Window(start, max(start, min(asked.end, series.closed_until_ms or start))))


def idle_note(series: Series, asked: Window | None) -> str | None:
    """Why there was nothing to do; None where there was, or is all done."""
    if explained(series, asked):
        return None
    closed, listed = series.closed_until_ms, series.listed_ms or 0
    if closed is None:
        return "nothing closed yet"
    if asked is None:
        later = "starts" if series.wanted_start_ms >= listed else "is listed"
        return f"{later} {utc(series.first_ms)}, nothing to fetch yet"
    if asked.start >= closed:
        return f"nothing to do: candles are closed until {utc(closed)}, what was asked for begins {utc(asked.start)}"
    if asked.end <= listed:
        return f"nothing to do: it was listed {utc(listed)}, what was asked for ends {utc(asked.end)}"
    return f"nothing to do: no candle opens between {utc(asked.start)} and {utc(asked.end)}"


def _says(trouble: str, reason: str) -> bool:
    """Whether a source's line tells the reason of a job as well: the same failure, or the rest that followed it."""
    words = trouble.partition(": ")[2]
    return (bool(words) and words in reason) or reason in trouble or "rests until" in reason


def as_json(result: RunResult, troubles: Mapping[str, str], code: int, asked: Mapping[str, Window]) -> dict[str, Any]:
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
                **_span_as_json(result, each, asked.get(str(each.series)), troubles),
                "missing": each.missing,
                "jobs_waiting": each.queued,
                "jobs_failed": each.failed,
                "last_error": each.last_error,
            }
            for each in result.series
        ],
        "sources": [{"source": source, "message": message} for source, message in troubles.items()],
    }


def _span_as_json(
    run: RunResult, result: SeriesResult, asked: Window | None, troubles: Collection[str]
) -> dict[str, Any]:  # fmt: skip
    is_complete = run.is_planned and result.outcome is Outcome.OK
    span = explained(result.series, asked) if is_complete else None
    note = idle_note(result.series, asked) if is_complete else untold(result, troubles)
    return {
        "complete_from_ms": span.start if span else None,
        "complete_from": utc(span.start) if span else None,
        "complete_until_ms": span.end if span else None,
        "complete_until": utc(span.end) if span else None,
        "note": note if run.is_planned else _UNPLANNED,
    }
