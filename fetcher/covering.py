"""Coverage of what pages brought: candles by their runs, and proven absences around the candles that others gave."""

from __future__ import annotations

import json
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from db import candles, coverage
from fetcher.gaps import GapDetector
from fetcher.model import Window
from fetcher.resilience.retry import recheck_delay

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from db.intervals import Interval
    from fetcher.model import Rows, Series, Slots
    from fetcher.page import Absent


def cover_stored(
    connection: Connection, series: Series, rows: Rows, source_id: int, route: str,
    **proof: Any,  # noqa: ANN401 (the last fields of an Interval)
) -> None:  # fmt: skip
    """Cover the slots of candles that are stored already as their source's."""
    intervals = [
        coverage.Interval(w.start, w.end, coverage.STORED, series.grid.count(w), source_id, route, **proof)
        for w in GapDetector(series.grid).runs(_once(rows["open_time"]))
    ]
    _cover(connection, series, intervals)


def cover_absent(
    connection: Connection, series: Series, absent: Absent, source_id: int, route: str, ranks: Mapping[int, int],
    now_ms: int,
) -> None:  # fmt: skip
    """Cover a window as one in which a source has no candles, but for those that are there all the same.

    These stay their sources' (of worse rank: on the evidence that a better one lacks them), by the route they came. The
    rest is absent, or of this source without rows where that merely leaves out quiet slots.
    """
    window = absent.window
    no_proof: dict[str, Any] = {}
    proof = no_proof | {
        "evidence": json.dumps(absent.evidence),
        "answers": absent.answers,
        "checked_at": now_ms,
        "recheck_at": now_ms + int(recheck_delay(absent.answers) * 1000),
    }
    there = candles.read(connection, series.id, window.start, window.end)
    known = coverage.read(connection, series.id, window.start, window.end)
    served = sorted(zip(there["source_id"].tolist(), _routes(there, known, route), range(len(there)), strict=True))
    for (theirs, their_route), rows in groupby(served, key=itemgetter(0, 1)):
        worse = ranks.get(theirs, len(ranks)) >= ranks.get(source_id, len(ranks))
        held = there[[row for *_, row in rows]]
        cover_stored(connection, series, held, theirs, their_route, **(proof if worse else no_proof))
    empty = GapDetector(series.grid).holes(window, there["open_time"]) if len(there) else [window]
    state, told = (coverage.STORED, no_proof) if absent.quiet else (coverage.ABSENT, proof)
    _cover(connection, series, [coverage.Interval(w.start, w.end, state, 0, source_id, route, **told) for w in empty])


def _once(times: Slots) -> Slots:
    """The times ascending, each once; most come so already, and then nothing is sorted."""
    return times if (times[1:] > times[:-1]).all() else np.unique(times)


def _routes(there: Rows, known: Sequence[Interval], otherwise: str) -> list[str]:
    """By which route each stored candle came, as its source's coverage has it; `otherwise` where there is none."""
    if not known:
        return [otherwise] * len(there)
    places = np.searchsorted([each.start_ms for each in known], there["open_time"], side="right") - 1
    found = []
    for place, time, source_id in zip(
        places.tolist(), there["open_time"].tolist(), there["source_id"].tolist(), strict=True
    ):
        each = known[max(place, 0)]
        theirs = each.state == coverage.STORED and each.source_id == source_id
        found.append(each.route if theirs and each.start_ms <= time < each.end_ms else otherwise)
    return found


def _cover(connection: Connection, series: Series, intervals: Sequence[Interval]) -> None:
    def slots(start: int, end: int) -> int:
        return series.grid.count(Window(start, end))

    if intervals:
        coverage.cover(connection, series.id, intervals, slots)
