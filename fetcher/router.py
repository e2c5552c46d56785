"""APIRouter: which source answers, through which endpoint, after how many tries; each attempt is accounted for."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from fetcher.attempts import Attempts, Effort
from fetcher.clock import format_utc
from fetcher.errors import (
    AuthenticationFailed,
    CannotServe,
    RateLimited,
    SourceDown,
    SourceError,
    Stopped,
    ends_at,
    most_hopeful,
)
from fetcher.gaps import pages
from fetcher.model import Window
from fetcher.resilience.retry import TRIES
from fetcher.served import Served, put_together, rows_a_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from threading import Event

    from fetcher.clients.base import Answer, Endpoint
    from fetcher.clock import Clock
    from fetcher.events import Attempt
    from fetcher.line import SourceLine
    from fetcher.model import Series
    from fetcher.wire import WirePage

MOST_REQUESTS = 20  # for one page, so that little is lost, and nobody waits long, when one of them fails
ASIDE_TRIES = 2  # of a question for the time or the symbols, which candles can do without
_LOOK_SECONDS = 0.25  # how often a stop is noticed while answers are waited for
SHORT_REST = 5.0  # seconds that a source is waited for: what another gave meanwhile would have to be healed


class _Wanted(Struct, frozen=True):
    start: int | None
    end: int | None
    limit: int | None
    partly: bool


class APIRouter:
    """Asks the best source that can answer; fails over when one cannot be reached, never because it has no candles."""

    def __init__(
        self, lines: Mapping[str, SourceLine], clock: Clock, stop: Event, tell: Callable[[Attempt], None]
    ) -> None:
        self._lines = lines
        self._clock = clock
        self._stop = stop
        self.ask = Attempts(clock, stop, tell).ask

    def lines_for(self, series: Series, above: int | None = None) -> Iterator[SourceLine]:
        """The sources of a series that offer its timeframe, the best first; with `above`, those before that rank only.

        One after the other: what a source can do is looked up when it is its turn, since that may load a library.
        """
        return (line for name in series.sources[:above] if (line := self.line_for(series, name)) is not None)

    def line_for(self, series: Series, source: str) -> SourceLine | None:
        """One source of a series; None where it does not offer the timeframe. May load a library."""
        line = self._lines.get(source)
        able = line is not None and series.timeframe.name in line.client.capabilities.timeframes
        return line if able else None

    def page_slots(self, series: Series, source: str | None = None) -> int:
        """Candles per request of a source, by default the preferred one of the series."""
        line = self._lines[source] if source else next(self.lines_for(series), None)
        return rows_a_request(line, series) if line else 1000

    def page_cost(self, source: str) -> float:
        """The weight of one request for candles."""
        return float(self._lines[source].client.capabilities.candle_cost)

    def best(self, series: Series) -> str | None:
        """The name of the preferred source of a series that offers its timeframe."""
        line = next(self.lines_for(series), None)
        return line.source if line else None

    def offers(self, series: Series, above: int | None = None) -> Iterator[tuple[str, int]]:
        """The sources of a series that offer its timeframe, the best first, with the oldest open time they serve now.

        In ms UTC, 0 where that is all. With `above`, those before that rank; looked up one after the other.
        """
        return ((line.source, line.oldest(series)) for line in self.lines_for(series, above))

    def omits_empty(self, source: str) -> bool:
        """Whether a source leaves out candles without trades, so that a missing one proves no halt."""
        return self._lines[source].client.capabilities.omits_empty

    def answers_open(self, source: str) -> bool:
        """Whether an open question finds the source's nearest candle however far it is."""
        return self._lines[source].client.capabilities.answers_open

    def prepare(self, all_series: Sequence[Series]) -> None:
        """Ask side by side what planning asks first: the clocks of sources, and which markets the preferred ones list.

        The second where a series has no listing date yet, and its market's id is not configured. Raises Stopped as soon
        as the program is to leave: what hangs is left behind.
        """
        best = [(series, line) for series in all_series if (line := next(self.lines_for(series), None)) is not None]
        clocks = {series.sources: partial(self.server_now, series) for series, _ in best}
        lists = {
            line.source: partial(self._load_markets, line)
            for series, line in best
            if series.listed_ms is None and line.looks_up(series.symbol)
        }
        questions: list[Callable[[], object]] = [*clocks.values(), *lists.values()]
        if not questions:
            return
        pool = ThreadPoolExecutor(len(questions), thread_name_prefix="prepare")
        asked = [pool.submit(ask) for ask in questions]
        pool.shutdown(wait=False)
        while wait(asked, timeout=_LOOK_SECONDS).not_done:
            if self._stop.is_set():
                raise Stopped("the run is ending")
        for each in asked:
            each.result()

    def server_now(self, series: Series) -> int | None:
        """The clock of the preferred source that can tell it, ms UTC, asked for when it is not known; else None."""
        for line in self.lines_for(series):
            now = self._source_now(line, _effort(series))
            if now is not None:
                return now
        return None

    def server_now_if_known(self, series: Series) -> int | None:
        """The clock of the preferred source that is known already, ms UTC, without asking."""
        known = (line.server.now_ms() for line in self.lines_for(series))
        return next((now for now in known if now is not None), None)

    def newest_proven(self, series: Series) -> int | None:
        """The newest clock (ms UTC) that answers have proven of a source of the series, by whatever means."""
        proven = (line.newest_proven_ms for line in self.lines_for(series))
        return max((ms for ms in proven if ms is not None), default=None)

    def resting(self, patience: float) -> set[str]:
        """The sources of which no endpoint may be asked within `patience` seconds."""
        until = self._clock.now_ms() + int(patience * 1000)
        return {name for name, line in self._lines.items() if line.rests_until() > until}

    def doubt_clocks(self) -> None:
        """Have the clock of every source read anew."""
        for line in self._lines.values():
            line.doubt_clock()

    def next_rest_ends(self) -> int | None:
        """When the first of the sources that rest may be asked again, ms UTC; None where none rests."""
        now = self._clock.now_ms()
        return min((ms for line in self._lines.values() if (ms := line.rests_until()) > now), default=None)

    def guess_now(self, series: Series) -> int:
        """What the clock of a series' preferred source most likely shows, ms UTC: to plan by, never proof."""
        line = next(self.lines_for(series), None)
        return line.server.guess_ms() if line else self._clock.now_ms()

    def candles(
        self, series: Series, start: int | None, end: int | None, limit: int | None = None,
        *, only: str | None = None, above: int | None = None, partly: bool = False, tries: int = TRIES,
    ) -> Served:  # fmt: skip
        """Candles of `[start, end)`, from the first source that can be reached (or from `only`, or of rank < `above`).

        All of it comes, or with `partly` as much of it as one source reaches and gives: `Served.window`. A source of
        several is left to the others once it has failed for a while; each question is tried `tries` times.

        Raises RateLimited or SourceDown with the earliest time at which it is worth asking again, or the error of the
        configuration (UnknownSymbol, CannotServe, AuthenticationFailed) when no source can serve the series at all.
        """
        errors: list[SourceError] = []
        for line in self.lines_for(series, above):
            if only is not None and line.source != only:
                continue
            try:
                return self._candles_soon_from(line, series, _Wanted(start, end, limit, partly), _effort(series, tries))
            except (SourceDown, RateLimited, CannotServe, AuthenticationFailed) as error:
                errors.append(error)
        if not errors:
            raise CannotServe(f"no configured source of {series} offers {series.timeframe} candles")
        raise most_hopeful(errors)

    def market_id(self, series: Series, source: str) -> str:
        """The id of a series' market at one of its sources; raises UnknownSymbol where a person has to choose."""
        line = self._lines[source]
        return line.market_id(series.symbol, lambda: self._ask_symbols(line, _effort(series)))

    def market_trades(self, series: Series, source: str) -> bool:
        """Whether the source says that the market still trades; True while its list cannot be had."""
        line = self._lines[source]
        return line.trades(series.symbol, lambda: self._ask_symbols(line, _effort(series)))

    def _candles_soon_from(self, line: SourceLine, series: Series, wanted: _Wanted, effort: Effort) -> Served:
        try:
            return self._candles_from(line, series, wanted, effort)
        except (RateLimited, SourceDown) as error:  # also while somebody probes it: that is soon decided
            until = ends_at(error)
            seconds = (until - self._clock.now_ms()) / 1000 if until else math.inf
            if seconds > SHORT_REST or self._clock.wait(self._stop, seconds):
                raise
            return self._candles_from(line, series, wanted, effort)

    def _candles_from(self, line: SourceLine, series: Series, wanted: _Wanted, effort: Effort) -> Served:
        self._source_now(line, effort)
        market_id = line.market_id(series.symbol, lambda: self._ask_symbols(line, effort))
        start, end, limit = wanted.start, wanted.end, wanted.limit
        if start is None or end is None or not start:
            answer = self._ask_candles(line, series, market_id, (start, end, limit), effort)
            page = answer.value
            return Served(page, line.source, line.client.route, line.proven_ms(answer.record, page.as_of_ms))
        window = self._within_reach(line, series, Window(start, end), whole=not wanted.partly)
        parts = pages(window, series.grid, rows_a_request(line, series))
        if wanted.partly and len(parts) > MOST_REQUESTS:  # a page of a source whose pages are far larger
            parts = parts[:MOST_REQUESTS]
            window = Window(window.start, parts[-1].end)
        answers: list[Answer[WirePage]] = []
        for part in parts:
            try:
                answers.append(self._ask_candles(line, series, market_id, (part.start, part.end, None), effort))
            except (SourceError, Stopped):
                if not (wanted.partly and answers):
                    raise
                window = Window(window.start, part.start)  # what came is kept; the rest is asked for anew
                break
        return put_together(line, answers, parts, window)

    def _ask_candles(
        self,
        line: SourceLine,
        series: Series,
        market_id: str,
        asked: tuple[int | None, int | None, int | None],
        effort: Effort,
    ) -> Answer[WirePage]:
        def send(endpoint: Endpoint) -> Answer[WirePage]:
            return line.candles(endpoint, market_id, series.timeframe, *asked)

        return self.ask(line, line.client.capabilities.candle_cost, f"{series} candles", send, effort)

    @staticmethod
    def _within_reach(line: SourceLine, series: Series, window: Window, *, whole: bool) -> Window:
        """The part of a window that a source's history reaches back to.

        Raises CannotServe where that is nothing, or with `whole` not all of it.
        """
        oldest = line.oldest(series)
        if oldest >= window.end or (whole and oldest > window.start):
            raise CannotServe(
                f"{line.source} reaches back only to {format_utc(oldest)} with {series.timeframe} candles"
            )
        return Window(max(window.start, oldest), window.end)

    def _source_now(self, line: SourceLine, effort: Effort) -> int | None:
        """Read the source's time endpoint when the last reading is old; its failure is told and otherwise ignored."""
        if line.claim_clock_reading():
            try:
                cost = line.client.capabilities.time_cost
                answer = self.ask(line, cost, "time", line.client.server_time, _aside(effort))
                line.learn_clock(answer.value, answer.record)
            except SourceError:
                pass  # the Date header of whatever answers, or the last proven clock, stands in for it
            finally:
                line.clock_reading_done()
        return line.server.now_ms()

    def _load_markets(self, line: SourceLine) -> None:
        line.load_markets(lambda: self._ask_symbols(line, Effort()))

    def _ask_symbols(self, line: SourceLine, effort: Effort) -> object:
        cost = line.client.capabilities.symbols_cost
        try:
            return self.ask(line, cost, "symbols", line.client.symbols, _aside(effort)).value
        except SourceError:
            return None  # a symbol list that cannot be had never blocks anything


def _effort(series: Series, tries: int = TRIES) -> Effort:
    return Effort(tries, hurried=len(series.sources) > 1)


def _aside(effort: Effort) -> Effort:
    return replace(effort, tries=min(effort.tries, ASIDE_TRIES), vital=False)
