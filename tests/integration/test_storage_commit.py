"""Commits of pages into a real database: candles, coverage, revisions, quarantine and jobs in one transaction."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from db import candles, coverage, quarantine
from db.engine import reading, writing
from db.jobs import NewJob, add, listing
from db.revisions import Revision, read_revisions
from db.series import WantedSeries, read_series, sync_series
from fetcher.events import Restated
from fetcher.jobqueue import as_series
from fetcher.model import CANDLE, HOUR, CandleBatch, Window, empty_rows
from fetcher.page import Absent, Closing, Page, Stored
from fetcher.storage import Storage
from fetcher.validation import Refused

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from fetcher.model import Rows, Series

T0 = 1_704_067_200_000  # 2024-01-01


def fetched(*hours: int, **cells: float) -> Rows:
    """Candles as a page brings them, with some cells changed: dtype CANDLE."""
    rows = np.zeros(len(hours), dtype=CANDLE)
    rows["open_time"] = [T0 + hour * HOUR for hour in hours]
    rows["open"], rows["high"], rows["low"], rows["close"], rows["volume"], rows["trades"] = 10, 12, 9, 11, 5, 3
    for name, value in cells.items():
        rows[name] = value
    return rows


@pytest.fixture
def btc(engine: Engine) -> Series:
    """BTC/USDT 1h from binance, then okx."""
    with writing(engine) as conn:
        [row] = sync_series(conn, [WantedSeries("BTC/USDT", "1h", HOUR, T0, ("binance", "okx"))], T0)
    return as_series(row)


def page(
    series: Series, rows: Rows | None = None, source: str = "binance", *, absent: tuple[tuple[int, int], ...] = (),
    refused: tuple[Refused, ...] = (),
) -> Page:  # fmt: skip
    """One page of a source; absent parts in hours after T0."""
    parts = tuple(Absent(Window(T0 + a * HOUR, T0 + b * HOUR), 3, {"why": "said twice"}) for a, b in absent)
    return Page(CandleBatch(series, source, "rest", empty_rows() if rows is None else rows), refused, parts)


def known(engine: Engine, series: Series) -> list[tuple[int, int, str, int, int]]:
    """Coverage in hours after T0: start, end, state, rows, source."""
    with reading(engine) as conn:
        found = coverage.read_all(conn).get(series.id, [])
    return [((i.start_ms - T0) // HOUR, (i.end_ms - T0) // HOUR, i.state, i.rows, i.source_id) for i in found]


def stored(engine: Engine, series: Series) -> Rows:
    """Every candle of the series."""
    with reading(engine) as conn:
        return candles.read(conn, series.id, 0, 2**62)


def revisions(engine: Engine, series: Series) -> list[Revision]:
    """Everything replaced."""
    with reading(engine) as conn:
        return read_revisions(conn, series.id, 0, 2**62)


def test_a_commit_is_idempotent(engine: Engine, btc: Series) -> None:
    """The same page twice leaves the same rows and coverage, and says that nothing was new."""
    storage = Storage(engine)
    refused = (Refused(T0 + 9 * HOUR, "ohlc_order", "{}"),)
    batch = page(btc, fetched(1, 2, 4), absent=((3, 4),), refused=refused)
    assert storage.commit([batch], [], T0) == Stored(new=3, refused=1)
    before = (stored(engine, btc).tolist(), known(engine, btc))
    assert storage.commit([batch], [], T0 + 5) == Stored(unchanged=3, refused=1)
    assert (stored(engine, btc).tolist(), known(engine, btc)) == before
    assert before[1] == [(1, 3, "stored", 2, 1), (3, 4, "absent", 0, 1), (4, 5, "stored", 1, 1)]
    assert revisions(engine, btc) == []
    with reading(engine) as conn:
        assert [row.seen for row in quarantine.listing(conn)] == [2]


def test_pages_of_one_commit_merge_into_one_interval(engine: Engine, btc: Series) -> None:
    """In whatever order they came; rows that repeat across pages count once."""
    Storage(engine).commit([page(btc, fetched(4, 5)), page(btc, fetched(1, 2)), page(btc, fetched(2, 3))], [], T0)
    assert known(engine, btc) == [(1, 6, "stored", 5, 1)]
    Storage(engine).commit([page(btc, fetched(8, 9))], [], T0)
    assert known(engine, btc) == [(1, 6, "stored", 5, 1), (8, 10, "stored", 2, 1)]
    Storage(engine).commit([page(btc, fetched(6, 7))], [], T0)
    assert known(engine, btc) == [(1, 10, "stored", 9, 1)]


def test_pages_that_follow_each_other_are_written_by_one_statement(
    engine: Engine, btc: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a database is asked once for twenty pages; over a gap they stay apart, since others may have filled it."""
    written: list[tuple[list[int], bool]] = []
    insert = candles.insert

    def recorded(conn: Connection, series_id: int, source_id: int, rows: Rows, *, fresh: bool) -> None:
        written.append((((rows["open_time"] - T0) // HOUR).tolist(), fresh))
        insert(conn, series_id, source_id, rows, fresh=fresh)

    monkeypatch.setattr(candles, "insert", recorded)
    Storage(engine).commit([page(btc, fetched(7)), page(btc, fetched(8))], [], T0)
    pages = [page(btc, fetched(*hours)) for hours in ((4, 5), (9, 10), (1,), (2, 3), (11, 13), (14,))]
    told = Storage(engine).commit([*pages, page(btc)], [], T0)
    assert written == [([7, 8], True), ([1, 2, 3, 4, 5], True), ([9, 10, 11, 13, 14], True)]
    assert told == Stored(new=10)
    assert known(engine, btc) == [(1, 6, "stored", 5, 1), (7, 12, "stored", 5, 1), (13, 15, "stored", 2, 1)]


def test_a_short_page_covers_only_what_it_brought(engine: Engine, btc: Series) -> None:
    """Three of five candles are three slots proven, wherever the page was asked for; an empty page proves nothing."""
    storage, window = Storage(engine), Window(T0, T0 + 5 * HOUR)
    storage.commit([page(btc, fetched(0, 1, 3)), page(btc)], [], T0)
    assert storage.missing(btc, window) == [
        Window(T0 + 2 * HOUR, T0 + 3 * HOUR),
        Window(T0 + 4 * HOUR, T0 + 5 * HOUR),
    ]


def test_restated_values_are_kept(engine: Engine, btc: Series) -> None:
    """The new ones are stored, the old ones are in `revisions` with time and sources."""
    storage = Storage(engine)
    storage.commit([page(btc, fetched(1, 2, 3))], [], T0)
    told = Restated("BTC/USDT 1h", "binance", 2, T0 + HOUR, T0 + 2 * HOUR)
    done = storage.commit([page(btc, fetched(1, 2, close=11.5))], [], T0 + 7)
    assert done == Stored(changed=2, restated=[told])
    assert stored(engine, btc)["close"].tolist() == [11.5, 11.5, 11]
    assert [(r.open_time, r.close, r.source_id, r.replaced_by, r.replaced_ms) for r in revisions(engine, btc)] == [
        (T0 + hour * HOUR, 11.0, 1, 1, T0 + 7) for hour in (1, 2)
    ]
    assert known(engine, btc) == [(1, 4, "stored", 3, 1)]


def test_the_better_source_heals_and_the_worse_one_fills(engine: Engine, btc: Series) -> None:
    """Okx fills what binance lacks and touches nothing else; binance takes back what it can, coverage with it."""
    storage = Storage(engine)
    storage.commit([page(btc, fetched(1, 4))], [], T0)
    assert storage.commit([page(btc, fetched(1, 2, 3, 4, close=10), "okx")], [], T0) == Stored(new=2, unchanged=2)
    assert stored(engine, btc)["source_id"].tolist() == [1, 2, 2, 1]
    assert known(engine, btc) == [(1, 2, "stored", 1, 1), (2, 4, "stored", 2, 2), (4, 5, "stored", 1, 1)]
    assert storage.commit([page(btc, fetched(2))], [], T0) == Stored(changed=1)
    assert known(engine, btc) == [(1, 3, "stored", 2, 1), (3, 4, "stored", 1, 2), (4, 5, "stored", 1, 1)]
    [old] = revisions(engine, btc)
    assert (old.source_id, old.replaced_by, old.close) == (2, 1, 10.0)


def test_what_was_absent_and_is_stored_now_is_stored(engine: Engine, btc: Series) -> None:
    """In a later commit and in the same one; what stays absent keeps its evidence and its date of asking again."""
    storage = Storage(engine)
    storage.commit([page(btc, absent=((1, 5),))], [], T0)
    storage.commit([page(btc, fetched(2))], [], T0 + 9)
    assert known(engine, btc) == [(1, 2, "absent", 0, 1), (2, 3, "stored", 1, 1), (3, 5, "absent", 0, 1)]
    with reading(engine) as conn:
        left = coverage.read_all(conn)[btc.id][0]
    assert (json.loads(left.evidence or ""), left.answers, left.checked_at) == ({"why": "said twice"}, 3, T0)
    assert left.recheck_at == T0 + HOUR
    storage.commit([page(btc, fetched(6)), page(btc, absent=((6, 8),))], [], T0)
    assert known(engine, btc)[-2:] == [(6, 7, "stored", 1, 1), (7, 8, "absent", 0, 1)]


def test_a_job_is_done_when_coverage_proves_it(engine: Engine, btc: Series) -> None:
    """In the same transaction; with a slot unexplained it stays open and the commit says which."""
    storage, window = Storage(engine), Window(T0, T0 + 4 * HOUR)
    with writing(engine) as conn:
        [job_id] = add(conn, [NewJob(btc.id, "gap", window.start, window.end, 20)], T0)

    def status() -> str:
        with reading(engine) as conn:
            return listing(conn)[0].status

    closing = Closing(job_id, btc, window)
    first = storage.commit([page(btc, fetched(0, 1, 3))], [closing], T0)
    assert first.missing == {job_id: [Window(T0 + 2 * HOUR, T0 + 3 * HOUR)]}
    assert status() == "queued"
    second = storage.commit([page(btc, absent=((2, 3),))], [closing], T0)
    assert (second.missing, status()) == ({job_id: []}, "done")


def test_a_commit_that_fails_leaves_nothing(engine: Engine, btc: Series) -> None:
    """A row that the table refuses takes the whole commit with it: candles, coverage, quarantine and sources."""
    pages = [page(btc, fetched(1, 2)), page(btc, fetched(3, close=math.nan), refused=(Refused(None, "x", "{}"),))]
    with pytest.raises(Exception, match=r"(?i)not.null"):
        Storage(engine).commit(pages, [], T0)
    assert len(stored(engine, btc)) == 0
    assert known(engine, btc) == []
    with reading(engine) as conn:
        assert quarantine.listing(conn) == []
        assert len(read_series(conn)) == 1


def test_answers_about_an_absence_are_counted(engine: Engine, btc: Series) -> None:
    """A window knows how many answers agreed on all of it; what merely touches it says nothing."""
    storage = Storage(engine)
    storage.commit([page(btc, fetched(0), absent=((1, 3), (3, 5)))], [], T0)
    middle = Window(T0 + 2 * HOUR, T0 + 3 * HOUR)
    assert storage.answers(btc, middle) == 3
    assert storage.answers(btc, Window(T0 + 7 * HOUR, T0 + 8 * HOUR)) == 0
    assert storage.answers(btc, Window(T0 + 5 * HOUR, T0 + 6 * HOUR)) == 0
    assert storage.open_times(btc, Window(T0, T0 + 9 * HOUR), "binance").tolist() == [T0]


def test_neighbours_are_the_sources_own_where_it_has_some(engine: Engine, btc: Series) -> None:
    """A source need not have the candle that another one gave beside a hole; where it has none at all, any will do."""
    storage = Storage(engine)
    storage.commit([page(btc, fetched(0, 3), source="okx"), page(btc, fetched(1, 4))], [], T0)
    hole = Window(T0 + 2 * HOUR, T0 + 3 * HOUR)
    assert storage.nearest(btc, hole, "okx", 10) == (T0, T0 + 3 * HOUR)
    assert storage.nearest(btc, hole, "binance", 10) == (T0 + HOUR, T0 + 4 * HOUR)
    assert storage.nearest(btc, Window(T0 + 2 * HOUR, T0 + 4 * HOUR), "okx", 1) == (T0, T0 + 4 * HOUR)
    assert storage.nearest(btc, hole, "kraken", 1) == (T0 + HOUR, T0 + 3 * HOUR)
    assert storage.has_after(btc, T0 + 4 * HOUR, "binance")
    assert not storage.has_after(btc, T0 + 4 * HOUR, "okx")


def test_an_absence_takes_nothing_of_what_others_gave(engine: Engine, btc: Series) -> None:
    """Their candles stay theirs, by the route they came, as lacked by the better source; a quiet rest is its own."""
    storage = Storage(engine)
    by_file = Page(CandleBatch(btc, "okx", "archive", fetched(2, 3)))
    storage.commit([by_file, page(btc, fetched(4), source="okx")], [], T0)
    lacked = Absent(Window(T0 + HOUR, T0 + 6 * HOUR), 3, {"source": "binance"}, quiet=True)
    storage.commit([Page(CandleBatch(btc, "binance", "rest", empty_rows()), absent=(lacked,))], [], T0)
    with reading(engine) as conn:
        found = coverage.read_all(conn)[btc.id]
    hours = [((i.start_ms - T0) // HOUR, (i.end_ms - T0) // HOUR, i.state, i.rows, i.route) for i in found]
    assert hours == [
        (1, 2, "stored", 0, "rest"), (2, 4, "stored", 2, "archive"), (4, 5, "stored", 1, "rest"),
        (5, 6, "stored", 0, "rest"),
    ]  # fmt: skip
    assert [i.evidence is not None for i in found] == [False, True, True, False]
    assert [i.source_id for i in found] == [1, 2, 2, 1]


def test_an_absence_is_asked_about_until_nobody_can_tell(engine: Engine, btc: Series) -> None:
    """What is due is told piece by piece with its source; what is left for good is due no more."""
    storage = Storage(engine)
    storage.commit([page(btc, fetched(0), absent=((1, 3), (3, 5)))], [], T0)
    both = Window(T0, T0 + 6 * HOUR)
    assert storage.due_absences(btc, both, T0) == []
    assert storage.due_absences(btc, both, T0 + HOUR) == [
        (Window(T0 + HOUR, T0 + 3 * HOUR), "binance"),
        (Window(T0 + 3 * HOUR, T0 + 5 * HOUR), "binance"),
    ]
    storage.ask_no_more(btc, Window(T0 + HOUR, T0 + 4 * HOUR))
    assert storage.due_absences(btc, both, T0 + HOUR) == [(Window(T0 + 4 * HOUR, T0 + 5 * HOUR), "binance")]
    assert known(engine, btc)[1:] == [(1, 3, "absent", 0, 1), (3, 4, "absent", 0, 1), (4, 5, "absent", 0, 1)]
