"""What a backfill would take: requests, weight, bytes, rows and time, without asking for one candle.

JSON: `{"series": [{"symbol", "timeframe", "start_ms", "end_ms", "slots", "requests", "weight", "bytes", "seconds",
"listing_known"}], "total": {"slots", "requests", "weight", "bytes", "seconds"}}`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from db import endpoints
from db.engine import reading
from fetcher.cli.endpoints import endpoint_states
from fetcher.cli.show import put_json, put_table, utc
from fetcher.observe.progress import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fetcher.app import App
    from fetcher.cli.invocation import Invocation
    from fetcher.model import Series, Window
    from fetcher.planner import PlannedJob

ROW_BYTES = 170  # a kline of Binance as JSON
USUAL_LATENCY_MS = 100.0  # until it has been measured
_LISTING_REQUESTS = 2  # the first candle, asked for twice


@dataclass(frozen=True, slots=True)
class Cost:
    """What one series, or all, would take; `slots` are candles to expect where none is absent."""

    slots: int
    requests: int
    weight: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a source may be asked: a page's weight, weight per minute (all pools), latency in ms, workers."""

    weight: int
    per_minute: int
    latency_ms: float
    workers: int

    def seconds(self, requests: int) -> float:
        """How long this many pages take: the first minute's weight is there at once, each further one must come."""
        minutes = max(0, requests * self.weight - 1) // self.per_minute
        return max(minutes * 60.0, requests * self.latency_ms / 1000 / self.workers)


def cost(jobs: Sequence[PlannedJob], series: Series, page_slots: int, pace: Pace) -> Cost:
    """What the jobs of one series take."""
    sizes = [series.grid.count(job.window) for job in jobs]
    requests = sum(-(-size // page_slots) for size in sizes)
    if requests and series.listed_ms is None:
        requests += _LISTING_REQUESTS
    slots = sum(sizes)
    return Cost(slots, requests, requests * pace.weight, slots * ROW_BYTES, pace.seconds(requests))


def total(costs: Iterable[tuple[Cost, str]], paces: Mapping[str, Pace]) -> Cost:
    """All together; `costs` come with their source, and sources are asked side by side."""
    costs = list(costs)
    by_source = {name: sum(each.requests for each, source in costs if source == name) for name in paces}
    return Cost(
        sum(each.slots for each, _ in costs),
        sum(each.requests for each, _ in costs),
        sum(each.weight for each, _ in costs),
        sum(each.bytes for each, _ in costs),
        max((paces[name].seconds(requests) for name, requests in by_source.items()), default=0.0),
    )


def put_plan(call: Invocation, app: App, asked: Sequence[tuple[Series, Window]]) -> None:
    """Print what fetching these windows would take."""
    planned = app.planning.ranges(asked)
    paces: dict[str, Pace] = {}
    costs: list[tuple[Series, Window, Cost, str]] = []
    for (series, window), jobs in zip(asked, planned, strict=True):
        source = next((line.source for line in app.router.lines_for(series)), series.sources[0])
        if source not in paces:
            paces[source] = _pace(app, source)
        costs.append((series, window, cost(jobs, series, app.router.page_slots(series), paces[source]), source))
    together = total([(each, source) for *_, each, source in costs], paces)
    if call.as_json:
        _put_json(costs, together)
        return
    rows = [_row(str(series), utc(window.start), utc(window.end), each) for series, window, each, _ in costs]
    if len(rows) > 1:
        rows.append(_row("all", "", "", together))
    put_table(["series", "from", "to", "#rows", "#requests", "#weight", "#MB", "time"], rows)
    if unlisted := [str(series) for series, _, each, _ in costs if each.slots and series.listed_ms is None]:
        typer.echo(f"Not known yet when these were listed, so it may be less: {', '.join(unlisted)}.")


def _pace(app: App, source: str) -> Pace:
    """How fast the source that will serve may be asked; others are not looked at, since that may load a library."""
    with reading(app.engine) as connection:
        states = endpoint_states(endpoints.read_all(connection), app.config, app.clock.now_ms())
    client = next(line.client for line in app.lines if line.source == source)
    latency = min((s.latency_ms for s in states if s.source == source and s.latency_ms), default=USUAL_LATENCY_MS)
    able, pools = client.capabilities, len({endpoint.pool for endpoint in client.endpoints})
    return Pace(able.candle_cost, able.weight_per_minute * pools, latency, app.config.run.workers)


def _row(name: str, start: str, end: str, each: Cost) -> tuple[object, ...]:
    time = f"about {duration(max(1.0, each.seconds))}" if each.requests else "nothing to do"
    return name, start, end, each.slots, each.requests, each.weight, f"{each.bytes / 1e6:,.1f}", time


def _put_json(costs: Sequence[tuple[Series, Window, Cost, str]], together: Cost) -> None:
    put_json(
        {
            "series": [
                {
                    "symbol": series.symbol,
                    "timeframe": series.timeframe.name,
                    "start_ms": window.start,
                    "end_ms": window.end,
                    **asdict(each),
                    "listing_known": series.listed_ms is not None,
                }
                for series, window, each, _ in costs
            ],
            "total": asdict(together),
        }
    )
