"""What a source served: one page of candles, put together where it took several answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from fetcher.validation import row_text
from fetcher.wire import Spoiled, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.clients.base import Answer
    from fetcher.line import SourceLine
    from fetcher.model import Series, Window
    from fetcher.wire import WirePage


class Served(Struct, frozen=True):
    """A page of candles with who served it, and the source's clock (ms UTC) that its answer proves; None if unknown.

    `window` is what was asked: the part within the source's reach; None where the question had an open side.
    """

    page: WirePage
    source: str
    route: str
    proven_ms: int | None
    window: Window | None = None


def rows_a_request(line: SourceLine, series: Series) -> int:
    """Candles of a series that one request to a source may bring."""
    able = line.client.capabilities
    span = able.max_span.get(series.timeframe.name)
    return able.rows_per_request if span is None else max(1, min(able.rows_per_request, span // series.timeframe.ms))


def put_together(
    line: SourceLine, answers: Sequence[Answer[WirePage]], parts: Sequence[Window], window: Window
) -> Served:
    """The answers about the first of the consecutive `parts` of a window as one page, by the earliest of their clocks.

    `parts` may be more than were answered; then `window` ends where the answers do.
    """
    proven = [line.proven_ms(answer.record, answer.value.as_of_ms) for answer in answers]
    known = min((ms for ms in proven if ms is not None), default=None)
    page = joined([_own(answer.value, part, window) for answer, part in zip(answers, parts, strict=False)])
    return Served(page, line.source, line.client.route, known, window)


def _own(page: WirePage, part: Window, window: Window) -> WirePage:
    """A page of one `part` of a window, without rows that open in another part: there they would look as if asked for.

    What opens outside the whole window is left to the validator, which refuses these in the same words.
    """
    times = page.rows["open_time"]
    strange = ((times < part.start) | (times >= part.end)) & (times >= window.start) & (times < window.end)
    if not strange.any():
        return page
    spoiled = (Spoiled(int(row["open_time"]), "inside_window", row_text(row)) for row in page.rows[strange])
    return replace(page, rows=page.rows[~strange], spoiled=(*page.spoiled, *spoiled))
