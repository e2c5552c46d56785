"""Windows for sources that cannot be asked for exactly the candles wanted: the span to ask for, and the cut after.

The bounds of these APIs are a number of days or include more than was asked; rows beside the window are no news of the
market, so that the client cuts them off rather than have each one quarantined as outside the window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.errors import CannotServe
from fetcher.model import DAY, HOUR, MINUTE, Window
from fetcher.wire import WirePage

if TYPE_CHECKING:
    from fetcher.clients.base import CandleRequest

_UNITS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"))


def span_of(request: CandleRequest, now_ms: int, oldest_ms: int, longest: int, source: str) -> Window:
    """The window (ms UTC) that a request means, open bounds filled in; CannotServe when the source cannot answer it.

    `oldest_ms` is the earliest open time that the source serves at this timeframe, `longest` the ms of one request.
    """
    step, grid = request.timeframe.ms, request.timeframe.grid()
    end = grid.next(now_ms) if request.end is None else request.end
    start = max(end - longest, grid.ceil(oldest_ms)) if request.start is None else request.start
    if start < oldest_ms or (request.start is None and start >= end):
        raise CannotServe(
            f"{source} reaches back only {_written(now_ms - oldest_ms)} with {request.timeframe} candles; "
            "what is older needs another source"
        )
    if request.end is None:
        end = max(start, min(end, start + longest))
    if end - start > longest:
        raise CannotServe(f"{source} answers at most {longest // step} candles of {request.timeframe} a request")
    return Window(start, max(start, end))


def cut(page: WirePage, request: CandleRequest, window: Window) -> WirePage:
    """The rows of a page that were asked for: inside the window, at most `limit` (the newest where start is open)."""
    times = page.rows["open_time"]
    rows = page.rows[(times >= window.start) & (times < window.end)]
    if request.limit is not None:
        rows = rows[-request.limit :] if request.start is None else rows[: request.limit]
    inside = tuple(row for row in page.spoiled if row.open_time is None or window.start <= row.open_time < window.end)
    return WirePage(rows, inside, page.as_of_ms)


def _written(span: int) -> str:
    size, unit = next(((size, unit) for size, unit in _UNITS if span >= 2 * size), _UNITS[-1])
    return f"{span / size:.4g} {unit}"
