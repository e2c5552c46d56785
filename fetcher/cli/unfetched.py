"""Series of which nothing is known yet, and what holds them up. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fetcher.cli.show import plain, utc
from fetcher.endpoints import REACHABLE, UNKNOWN
from fetcher.standing import starts_later

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from db.jobs import JobRow
    from db.state import RunRow
    from fetcher.config import WantedSeries
    from fetcher.endpoints import EndpointState
    from fetcher.model import Series


def later_starts(wanted: Sequence[WantedSeries], now_ms: int) -> list[str]:
    """A sentence for each series whose start is still to come."""
    return [
        f"{each.symbol} {each.timeframe} starts {utc(each.start_ms)}, still to come: nothing to fetch until then."
        for each in wanted
        if each.start_ms > now_ms
    ]


def unfetched(
    all_series: Sequence[Series], jobs: Mapping[int, Sequence[JobRow]], states: Sequence[EndpointState],
    last: RunRow | None, now_ms: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Each series without anything known, with the reason in words: `{"symbol", "timeframe", "reason"}`."""
    return [
        {
            "symbol": series.symbol,
            "timeframe": series.timeframe.name,
            "reason": _reason(series, jobs.get(series.id, ()), states, last, now_ms),
        }
        for series in all_series
        if series.closed_until_ms is None
    ]


def sentences(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for each reason, with the series that it holds up."""
    names: dict[str, list[str]] = {}
    for each in found:
        names.setdefault(each["reason"], []).append(f"{each['symbol']} {each['timeframe']}")
    return [f"Nothing is known yet of {', '.join(mine)}: {plain(reason, 300)}." for reason, mine in names.items()]


def _reason(
    series: Series, jobs: Sequence[JobRow], states: Sequence[EndpointState], last: RunRow | None, now_ms: int
) -> str:
    if starts_later(series, now_ms):
        return f"it starts {utc(series.wanted_start_ms)}"
    if last is None:
        return "there was no run yet"
    failed = next((job.last_error for job in jobs if job.last_error), None)
    if failed is not None:
        return failed
    mine = [state for state in states if state.source in series.sources and state.state not in {REACHABLE, UNKNOWN}]
    if mine:
        return f"{mine[0].source} is {mine[0].sentence}"
    return "the next run will ask for it" if last.ended_ms is not None else "a run is at work, or was killed"
