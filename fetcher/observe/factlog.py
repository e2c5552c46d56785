"""FactLog: what happens, as lines of the log; what people need to see at info, what they should mend as a warning."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct, field

from fetcher.clock import format_utc
from fetcher.events import (
    STEP,
    Attempt,
    CrossChecked,
    JobEnded,
    PageStored,
    Planned,
    Pruned,
    Restated,
    RunBegan,
    RunEnded,
    SeriesLeft,
)
from fetcher.model import Timeframe, Window
from fetcher.observe.lines import MARK, say
from fetcher.wording import counted, timeless

if TYPE_CHECKING:
    from fetcher.events import Fact

_TOLD = 1_000  # reasons that are remembered as told
_MANY_ROWS = 10_000  # pruned at once: worth a line for people
_DEBUG, _INFO, _WARNING = logging.DEBUG, logging.INFO, logging.WARNING


class _Brought(Struct):
    """What a run brought of one series so far: candles by source, and what else there is to tell."""

    rows: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    refused: int = 0
    absent: int = 0
    restated: int = 0


class FactLog:
    """A listener that writes down what happens: trouble as warnings, what passes by itself at info or debug.

    When a source fails, hundreds of jobs say the same, but for the time until which they wait: each reason is told once
    a run, and again for every job at debug. Why jobs wait a daemon tells once an outage: anew after a step that left
    nothing to do. At the end of a run each series that got something or lacks something has its line.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], None] = {}  # in the order of telling
        self._refused: dict[tuple[str, str], int] = {}
        self._brought: defaultdict[str, _Brought] = defaultdict(_Brought)

    def __call__(self, fact: Fact) -> None:
        """Hear a fact."""
        match fact:
            case RunBegan():
                MARK.text = fact.log_id
                say(_DEBUG, "run_began", "%s begins", fact.kind, kind=fact.kind)
            case RunEnded():
                self._log_run(fact)
            case JobEnded():
                self._log_job(fact)
            case PageStored():
                self._log_page(fact)
            case Restated():
                self._log_restated(fact)
            case _:
                _log(fact)

    def close(self) -> None:
        """Sum up what was told only once, where there was more of it."""
        words = "%s: %s from %s went to quarantine; see `quarantine`"
        for (series, source), rows in self._refused.items():
            if rows:
                more = counted(rows, "more row")
                say(_WARNING, "refused", words, series, more, source, series=series, source=source, refused=rows)
        self._refused.clear()
        self._told.clear()
        self._brought.clear()

    def _log_run(self, fact: RunEnded) -> None:
        lacking = {left.series: left for left in fact.series if left.missing or left.waiting or left.failed}
        for series in dict.fromkeys((*(left.series for left in fact.series), *self._brought)):
            if series in self._brought or series in lacking:
                self._log_series(series, lacking.get(series))
        if fact.kind != STEP or fact.missing is None:  # how a step went, unless it broke off, the daemon itself tells
            words, rows = "%s ended: %s in %.1f s", sum(sum(each.rows.values()) for each in self._brought.values())
            missing = f", {fact.missing:,} missing" if fact.missing else ""
            say(
                _INFO if lacking or fact.exit_code else _DEBUG, "run_ended", words + missing, fact.kind, fact.outcome,
                fact.seconds, kind=fact.kind, outcome=fact.outcome, exit_code=fact.exit_code, rows=rows,
                missing=fact.missing, seconds=round(fact.seconds, 3),
            )  # fmt: skip
        told = list(self._told) if fact.kind == STEP and lacking else []
        self.close()
        self._told.update(dict.fromkeys(reason for reason in told if reason[0] == "queued"))  # the same outage goes on

    def _log_series(self, series: str, left: SeriesLeft | None) -> None:
        got = self._brought.get(series, _Brought())
        left = left or SeriesLeft(series, 0, 0, 0, None)
        parts = [f"{counted(rows, 'candle')} from {source}" for source, rows in got.rows.items() if rows]
        counts = ((got.refused, "refused"), (got.absent, "proven absent"), (left.missing, "missing"))
        parts += [f"{count:,} {words}" for count, words in counts if count]
        jobs = ((left.waiting, "waiting"), (left.failed, "given up"))
        parts += [f"{counted(count, 'job')} {words}" for count, words in jobs if count]
        if not parts:
            return
        reason = f": {left.error}" if left.error else ""
        say(
            _INFO, "series", "%s: %s%s", series, ", ".join(parts), reason, series=series,
            rows=sum(got.rows.values()), refused=got.refused, absent=got.absent, restated=got.restated,
            missing=left.missing, waiting=left.waiting, failed=left.failed, error=left.error,
        )  # fmt: skip

    def _log_page(self, fact: PageStored) -> None:
        words, (series, source) = "%s: %s from %s committed", (fact.series, fact.source)
        rows = counted(fact.rows, "candle")
        say(_DEBUG, "page", words, series, rows, source, series=series, source=source, rows=fact.rows)
        got, grid = self._brought[series], Timeframe(series.rpartition(" ")[2]).grid()
        got.rows[source] += fact.rows
        got.refused += fact.refused
        for start, end in fact.absent:
            slots = grid.count(Window(start, end))
            got.absent += slots
            say(
                _INFO, "absent", "%s: %s … %s is proven absent", series, format_utc(start), format_utc(end),
                series=series, source=source, start_ms=start, end_ms=end, absent=slots,
            )  # fmt: skip
        if fact.refused:
            self._log_refused(fact)

    def _log_refused(self, fact: PageStored) -> None:
        """Warn of the first page of a series and source with refused rows; the others are counted until the end."""
        key = (fact.series, fact.source)
        level = _DEBUG if key in self._refused else _WARNING
        words = "%s: %s from %s went to quarantine; see `quarantine`"
        told = {"series": fact.series, "source": fact.source, "refused": fact.refused}
        say(level, "refused", words, fact.series, counted(fact.refused, "row"), fact.source, **told)
        self._refused[key] = self._refused[key] + fact.refused if key in self._refused else 0

    def _log_restated(self, fact: Restated) -> None:
        self._brought[fact.series].restated += fact.rows
        where = format_utc(fact.first_ms)
        if fact.last_ms != fact.first_ms:
            where += f" … {format_utc(fact.last_ms)}"
        words = "%s: %s changed %s (%s); the old values are in `revisions`"
        say(
            _INFO, "restated", words, fact.series, fact.source, counted(fact.rows, "closed candle"), where,
            series=fact.series, source=fact.source, rows=fact.rows, start_ms=fact.first_ms, end_ms=fact.last_ms + 1,
        )  # fmt: skip

    def _log_job(self, fact: JobEnded) -> None:
        window = f"{fact.series} {fact.kind} {format_utc(fact.start_ms)} … {format_utc(fact.end_ms)}"
        told = {
            "job": fact.job_id, "series": fact.series, "kind": fact.kind, "start_ms": fact.start_ms,
            "end_ms": fact.end_ms, "status": fact.status, "error": fact.error,
        }  # fmt: skip
        if fact.status == "done":
            say(_DEBUG, "job", "job %d (%s) is done", fact.job_id, window, **told)
            return
        level, words = (_WARNING, "was given up") if fact.status == "failed" else (_INFO, "waits")
        reason = (fact.status, timeless(fact.error or ""))
        if reason in self._told:
            level = _DEBUG
        self._told[reason] = None
        if len(self._told) > _TOLD:  # a daemon's backfill hears of new ones for days
            del self._told[next(iter(self._told))]
        say(level, "job", "job %d (%s) %s: %s", fact.job_id, window, words, fact.error, **told)


def _log(fact: Fact) -> None:
    match fact:
        case Attempt():
            _log_attempt(fact)
        case Planned():
            say(
                _DEBUG, "planned", "planned %s for %s", counted(fact.jobs, "job"), counted(fact.slots, "candle"),
                jobs=fact.jobs, slots=fact.slots,
            )  # fmt: skip
        case CrossChecked():
            _log_comparison(fact)
        case Pruned():
            rows = sum(count for _, count in fact.tables)
            words = ", ".join(f"{count:,} of {table}" for table, count in fact.tables)
            level = _INFO if rows >= _MANY_ROWS else _DEBUG
            say(level, "pruned", "old rows pruned: %s", words, rows=rows, tables=dict(fact.tables))
        case _:
            pass


def _log_attempt(fact: Attempt) -> None:
    told = {
        "source": fact.source, "endpoint": fact.endpoint, "purpose": fact.purpose, "outcome": fact.outcome,
        "error": fact.message or None, "seconds": round(fact.seconds, 3),
    }  # fmt: skip
    if fact.outcome == "ok":
        words = "%s answered %s in %d ms"
        say(_DEBUG, "request", words, fact.endpoint, fact.purpose, round(fact.seconds * 1000), **told)
    else:
        words = "%s failed %s: %s (%s)"
        say(_DEBUG, "request", words, fact.endpoint, fact.purpose, fact.message, fact.outcome, **told)


def _log_comparison(fact: CrossChecked) -> None:
    told = {"series": fact.series, "source": fact.source, "kinds": fact.kinds, "error": fact.message or None}
    if not fact.kinds:
        say(_DEBUG, "compared", "%s: %s agrees", fact.series, fact.source, **told)
    elif fact.kinds == ("not_compared",):
        say(_DEBUG, "compared", "%s", fact.message, **told)
    else:
        words = "%s disagrees (%s): %s"
        say(_WARNING, "compared", words, fact.source, ", ".join(fact.kinds), fact.message, **told)
