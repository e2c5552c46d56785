"""What a backfill would take: requests, weight, bytes, rows and time, without asking for one candle.

JSON: `{"series": [{"symbol", "timeframe", "start_ms", "end_ms", "slots", "files", "requests", "weight", "bytes",
"seconds", "listing_known"}], "total": {"slots", "files", "requests", "weight", "bytes", "seconds"}}`; `requests` with
two for each of the archive's `files`, which have no weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from msgspec import Struct
from msgspec.structs import asdict

from db import endpoints
from db.engine import reading
from fetcher.archive import FILES_AT_ONCE
from fetcher.cli.show import put_json, put_table, utc
from fetcher.endpoints import endpoint_states
from fetcher.observe.progress import duration
from fetcher.routes import Mix, cheapest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fetcher.app import App
    from fetcher.cli.invocation import Invocation
    from fetcher.model import Series, Window
    from fetcher.planner import PlannedJob
    from fetcher.routes import Offer

ROW_BYTES = 170  # a kline of Binance as JSON
FILED_ROW_BYTES = 60  # the same in a zip of its archive
_FILE_REQUESTS = 2  # itself and its checksum
USUAL_LATENCY_MS = 100.0  # until it has been measured
_LISTING_REQUESTS = 2  # the first candle, asked for twice


class Cost(Struct, frozen=True):
    """What one series, or all, would take; `slots` are candles to expect where none is absent."""

    slots: int
    files: int
    requests: int
    weight: int
    bytes: int
    seconds: float


class Pace(Struct, frozen=True):
    """How fast a source may be asked: a page's weight, weight per minute (all pools), latency in ms, workers."""

    weight: int
    per_minute: int
    latency_ms: float
    workers: int

    def seconds(self, pages: int, files: int = 0) -> float:
        """How long this many take: the first minute's weight is there at once, each further one must come."""
        minutes = max(0, pages * self.weight - 1) // self.per_minute
        waits = pages / self.workers + files / min(self.workers, FILES_AT_ONCE)
        return max(minutes * 60.0, waits * self.latency_ms / 1000)


def cost(jobs: Sequence[PlannedJob], series: Series, page_slots: int, pace: Pace, archive: Offer | None = None) -> Cost:
    """What the jobs of one series take, by pages and, where its source has an archive, files."""
    grid, windows = series.grid, [[job.window] for job in jobs]
    mixes = [Mix((), tuple(each)) if archive is None else cheapest(each, grid, archive) for each in windows]
    sizes = [grid.count(window) for mix in mixes for window in mix.pages]
    files = sum(len(mix.files) for mix in mixes)
    filed = sum(grid.count(part) for mix in mixes for _, parts in mix.files for part in parts)
    pages = sum(-(-size // page_slots) for size in sizes)
    if (pages or files) and series.listed_ms is None:
        pages += _LISTING_REQUESTS
    size = sum(sizes) * ROW_BYTES + filed * FILED_ROW_BYTES
    requests = pages + files * _FILE_REQUESTS
    return Cost(filed + sum(sizes), files, requests, pages * pace.weight, size, pace.seconds(pages, files))


def total(costs: Iterable[tuple[Cost, str]], paces: Mapping[str, Pace]) -> Cost:
    """All together; `costs` come with their source, and sources are asked side by side."""
    costs = list(costs)
    by_source = {name: [each for each, source in costs if source == name] for name in paces}
    return Cost(
        sum(each.slots for each, _ in costs),
        sum(each.files for each, _ in costs),
        sum(each.requests for each, _ in costs),
        sum(each.weight for each, _ in costs),
        sum(each.bytes for each, _ in costs),
        max((_together(paces[name], mine) for name, mine in by_source.items()), default=0.0),
    )


def _together(pace: Pace, costs: Sequence[Cost]) -> float:
    files = sum(each.files for each in costs)
    return pace.seconds(sum(each.requests for each in costs) - files * _FILE_REQUESTS, files)


def put_plan(call: Invocation, app: App, asked: Sequence[tuple[Series, Window]]) -> None:
    """Print what fetching these windows would take."""
    planned = app.planning.ranges(asked)
    paces: dict[str, Pace] = {}
    costs: list[tuple[Series, Window, Cost, str]] = []
    for (series, window), jobs in zip(asked, planned, strict=True):
        source = next((line.source for line in app.router.lines_for(series)), series.sources[0])
        if source not in paces:
            paces[source] = _pace(app, source)
        taken = cost(jobs, series, app.router.page_slots(series), paces[source], app.archive.offer(series))
        costs.append((series, window, taken, source))
    together = total([(each, source) for *_, each, source in costs], paces)
    if call.as_json:
        _put_json(costs, together)
        return
    rows = [_row(str(series), utc(window.start), utc(window.end), each) for series, window, each, _ in costs]
    if len(rows) > 1:
        rows.append(_row("all", "", "", together))
    put_table(["series", "from", "to", "#rows", "#files", "#requests", "#weight", "#MB", "time"], rows)
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
    return name, start, end, each.slots, each.files, each.requests, each.weight, f"{each.bytes / 1e6:,.1f}", time


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
