"""What one task of a job asks: a page of candles, the proof that a window is empty, or when a market was listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from fetcher.errors import Contradicted
from fetcher.gaps import pages
from fetcher.judging import Judge
from fetcher.lacking import together
from fetcher.listing import Listing, find_listing
from fetcher.model import CandleBatch, Window
from fetcher.page import Page
from fetcher.proving import Prover
from fetcher.resilience.retry import TRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fetcher.model import Series
    from fetcher.router import APIRouter
    from fetcher.storage import Storage
    from fetcher.validation import DataValidator

T = TypeVar("T")

LOOKS = 5  # at a source that contradicts itself, before its word is left for later
PIECE_PAGES = 8  # of a hole that are confirmed at once: about 20 requests, so that little is lost when a run ends


class Asker:
    """Turns a window into a `Page` ready to store, through router and validator; holds no state of its own."""

    def __init__(self, router: APIRouter, validator: DataValidator, storage: Storage) -> None:
        self._router = router
        self._judge = Judge(router, validator)
        self._prover = Prover(router, self._judge, storage)

    def page(
        self, series: Series, window: Window, above: int | None = None, only: str | None = None, *, tries: int = TRIES
    ) -> Page:
        """The candles of a window of at most one page, judged; raises what the router raises.

        Asks the source `only`, or those before the rank `above`. What lies beyond a source's reach, or did not come
        any more, is not in the page.
        """
        served = self._router.candles(
            series, window.start, window.end, only=only, above=above, partly=True, tries=tries
        )
        asked = served.window or window
        rows, refused = self._judge.page(series, asked, served)
        closed = None if served.proven_ms is None else series.grid.floor(served.proven_ms)
        batch = CandleBatch(series, served.source, served.route, rows)
        since = None if served.proven_ms is None or closed is None else served.proven_ms - closed
        return Page(batch, refused, asked=asked, closed_until=closed, since_close_ms=since)

    def together(self, series: Series, holes: Sequence[Window], source: str) -> list[tuple[Window, ...]]:
        """The holes that a source left, ascending, as one page each is to bring them.

        One by one, but for a source that leaves out candles without trades: there holes are many and close together,
        and those that fit one answer with their neighbours are asked about at once.
        """
        if not self._router.omits_empty(source):
            return [(hole,) for hole in holes]
        return together(holes, series.grid, self._router.page_slots(series, source))

    def questions(self, series: Series, holes: Sequence[Window], source: str) -> list[tuple[Window, ...]]:
        """The holes that a source left, ascending, as `absence` is to ask about them: a long one in pieces."""
        slots = self._router.page_slots(series, source) * PIECE_PAGES - 2  # and a neighbour on each side
        pieces = [part for hole in holes for part in pages(hole, series.grid, max(1, slots))]
        return self.together(series, pieces, source)

    def absence(
        self, series: Series, holes: Sequence[Window], answers: int, *, only: str | None = None,
        above: int | None = None,
    ) -> Page:  # fmt: skip
        """Ask again for just the missing slots and one neighbour on each side of a hole, which must come back.

        Brings the candles that do come, or the holes as absent with their evidence (`answers` agreed before). Asks
        the source `only`, or those before the rank `above`. Raises Unproven where there is no neighbour on the newest
        edge yet, Contradicted, and what the router raises.
        """
        return _patiently(lambda: self._prover.absence(series, holes, answers, only, above))

    def listing(self, series: Series, sighted: Callable[[int], None]) -> Listing:
        """Find a market's first candle by two agreeing answers; raises Contradicted while there are none.

        `sighted` is told its open time (ms UTC) as soon as a first answer names one.
        """
        return _patiently(lambda: find_listing(self._router, series, sighted))


def _patiently(ask: Callable[[], T]) -> T:
    """Ask again at once when a source contradicts itself; after LOOKS times its word is not worth more today."""
    for _ in range(LOOKS - 1):
        try:
            return ask()
        except Contradicted:
            continue
    return ask()
