"""The proof that windows are empty: look, find the neighbours that have to come back, confirm."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fetcher.clock import format_utc
from fetcher.errors import CannotServe, Contradicted, Unproven
from fetcher.lacking import is_quiet, with_neighbours
from fetcher.look import Look, Question
from fetcher.model import Window
from fetcher.page import Absent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.judging import Judge
    from fetcher.model import Series
    from fetcher.page import Page
    from fetcher.router import APIRouter
    from fetcher.storage import Storage

CONFIRMATIONS = 2  # agreeing answers after the page that lacked the candles; one alone can be the same fault twice


class Prover:
    """Asks a source for what is missing and for what lies beside it; its answers agree, or contradict each other."""

    def __init__(self, router: APIRouter, judge: Judge, storage: Storage) -> None:
        self._router = router
        self._judge = judge
        self._storage = storage

    def absence(
        self, series: Series, holes: Sequence[Window], answers: int, only: str | None, above: int | None
    ) -> Page:
        """The candles that do come, or the holes as absent; see `Asker.absence`."""
        first = self._look(series, Question(with_neighbours(holes, series.grid)), only, above)
        silent, question = first.silent(holes), first.question
        flanked = [hole for hole in silent if None not in first.beside(hole)]
        if silent and not flanked:
            first, question = self._farther(first, holes)
            flanked = silent = first.silent(holes)
        if not silent:
            return first.page(holes)
        looks = [first, *(self._look(series, question, first.source) for _ in range(CONFIRMATIONS - 1))]
        span = question.span
        stored = first.times[:0]
        if len(holes) > 1 and span is not None:
            stored = self._storage.open_times(series, span, first.source)
        proven = [hole for hole in flanked if all(look.agrees(hole, first, stored) for look in looks)]
        telling = next((look for look in looks if len(look.silent(holes)) < len(holes)), looks[-1])
        if not proven and len(telling.silent(holes)) == len(holes):
            raise Contradicted(f"{first.source} left out candles that it has beside {format_utc(holes[0].start)}")
        return telling.page(holes, [self._absent(hole, answers, looks) for hole in proven])

    def _absent(self, hole: Window, answers: int, looks: Sequence[Look]) -> Absent:
        first = looks[0]
        before, after = first.beside(hole)
        proof: dict[str, object] = {"source": first.source, "answers": [look.evidence() for look in looks]}
        if before is None or after is None:
            return Absent(hole, answers + len(looks), {**proof, "market": "no longer trades"})
        run = Window(first.series.grid.next(before), after)
        quiet = self._router.omits_empty(first.source) and is_quiet(run, first.series.grid)
        return Absent(hole, answers + len(looks), proof, quiet)

    def _farther(self, first: Look, holes: Sequence[Window]) -> tuple[Look, Question]:
        """The first look again with neighbours that are farther away, and the question that is to confirm it.

        Raises Unproven, and Contradicted where neighbours that the source must have do not come.
        """
        series, source = first.series, first.source
        hull = Window(holes[0].start, holes[-1].end)
        if self._router.answers_open(source):  # which passes over all that is empty: no page of that is needed again
            question = Question(before=hull.end, after=hull.start)
        else:
            question = self._stored_beside(first, hull)
        if question.span in {None, first.question.span}:
            first = first.with_more(self._look(series, replace(question, span=None), source))
        else:
            first = self._look(series, question, source)
        if first.silent(holes):
            self._require_neighbours(first, hull)
        return first, question

    def _stored_beside(self, first: Look, hull: Window) -> Question:
        """To ask for the stored candles beside a hole: with it where that fits one answer, else one by one.

        Where none is stored the nearest is asked for, by an open question that reaches no farther than a page.
        """
        series, slots = first.series, self._router.page_slots(first.series, first.source)
        before, after = self._storage.nearest(series, hull, first.source, slots)
        if before is not None and after is not None:
            wider = Window(before, series.grid.next(after))
            if series.grid.count(wider) <= slots:
                return Question(wider)
        apart = tuple(ms for ms in (before, after) if ms is not None)
        return Question(
            first.question.span, apart, hull.start if before is None else None, hull.end if after is None else None
        )

    def _require_neighbours(self, look: Look, hull: Window) -> None:
        source, (before, after) = look.source, look.beside(hull)
        if before is None:
            raise Contradicted(f"{source} has no candle before {format_utc(hull.start)}, though it lists the market")
        if after is None and self._storage.has_after(look.series, hull.end, source):
            raise Contradicted(f"{source} does not give the candles that it gave after {format_utc(hull.end)}")
        if after is None and self._router.market_trades(look.series, source):
            raise Unproven(f"{source} has no closed candle after {format_utc(hull.start)} yet")

    def _look(self, series: Series, question: Question, source: str | None, above: int | None = None) -> Look:
        """Ask all that a question asks; whoever answers its first part is asked for the rest."""
        looks: list[Look] = []
        for window in question.windows(series.grid):
            served = self._router.candles(series, window.start, window.end, only=source, above=above)
            looks.append(Look(series, served, *self._judge.page(series, window, served)))
            source = served.source
        for start, end in question.open_sides():
            try:
                served = self._router.candles(series, start, end, 1, only=source)
            except CannotServe:
                if start is None or source is None or self._router.answers_open(source):
                    raise
                continue  # a page of nothing newer is all that it can say
            looks.append(Look(series, served, *self._judge.nearest(series, start, end, served, question.between)))
        return replace(reduce(Look.with_more, looks), question=question)
