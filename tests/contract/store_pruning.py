"""What may be pruned: the oldest first, in small steps, and nothing that somebody still needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select, update

from db import archive_files, candles, pruning, quarantine, state
from db.archive_files import ArchiveFileRow
from db.audit_log import Hand, read
from db.quarantine import QuarantineRow
from db.revisions import keep_revisions
from db.schema import cache, locks, revisions
from db.schema import candles as candles_table
from tests.contract.store_base import MINUTE, T0, StoreBase, candles_at

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from db.series import SeriesRow

OFF_GRID = 2
LATER = T0 + 1_000_000


class PruningStore(StoreBase):
    """Rows that go, and rows that stay."""

    def test_refused_rows_go_by_when_they_last_came(self, conn: Connection, btc: SeriesRow) -> None:
        """One that comes again stays, as does what a candle stored at its slot looked like; at most `limit` go."""
        off = QuarantineRow(btc.id, 1, "rest", T0 + 14_789, "off_grid", "as it came")
        stray = QuarantineRow(btc.id, 1, "rest", T0 + MINUTE + 14_789, "off_grid", "not stored")
        rows = [QuarantineRow(btc.id, 1, "rest", T0, "ohlc_order", str(n)) for n in range(4)]
        quarantine.add(conn, [off, stray, *rows], T0)
        quarantine.add(conn, rows[:1], LATER)
        candles.insert(conn, btc.id, 1, candles_at(0))
        conn.execute(update(candles_table).values(flags=OFF_GRID))
        assert pruning.old_refusals(conn, T0 + 1, OFF_GRID, 3) == 3
        assert pruning.old_refusals(conn, T0 + 1, OFF_GRID, 3) == 1
        assert {row.payload for row in quarantine.listing(conn)} == {"as it came", "0"}

    def test_too_many_refused_rows_go_but_none_that_is_fresh(self, conn: Connection, btc: SeriesRow) -> None:
        """The oldest beyond the limit, released ones at any age, others not before they are old enough."""
        quarantine.add(conn, [QuarantineRow(btc.id, 1, "rest", T0, "future", str(n)) for n in range(3)], T0)
        quarantine.add(conn, [QuarantineRow(btc.id, 1, "rest", T0, "future", str(n)) for n in range(3, 6)], LATER)
        newest = quarantine.listing(conn)[0]
        quarantine.mark_released(conn, [newest.id], LATER)
        assert pruning.surplus_refusals(conn, 6, LATER, OFF_GRID, 9) == 0
        assert pruning.surplus_refusals(conn, 4, LATER, OFF_GRID, 9) == 2
        assert pruning.surplus_refusals(conn, 0, LATER, OFF_GRID, 9) == 2
        assert [row.payload for row in quarantine.listing(conn)] == ["4", "3"]

    def test_revisions_go_by_age_and_by_number(self, conn: Connection, btc: SeriesRow) -> None:
        """The oldest first; a limit takes none that was replaced since."""
        candles.insert(conn, btc.id, 1, candles_at(1, 2))
        stored = candles.read(conn, btc.id, T0, LATER)
        for at in (T0, T0 + 10, LATER):
            keep_revisions(conn, btc.id, stored, at, 1)
        assert pruning.old_revisions(conn, T0 + 5, 9) == 2
        assert pruning.surplus_revisions(conn, 1, LATER, 1) == 1
        assert pruning.surplus_revisions(conn, 1, LATER, 9) == 1
        assert pruning.surplus_revisions(conn, 1, LATER, 9) == 0
        assert list(conn.scalars(select(revisions.c.replaced_ms))) == [LATER, LATER]

    def test_what_was_done_by_hand_is_kept_until_it_is_old(self, conn: Connection, btc: SeriesRow) -> None:
        """Newest first, with what was done; then the oldest goes."""
        Hand("ann@host", "jobs cancel", T0).note(conn, count=1, jobs=["1 …"])
        Hand("x" * 300, "sources reset", T0 + 5).note(conn, endpoints=[btc.symbol])
        newest, oldest = read(conn, 9)
        assert (oldest.who, oldest.action, oldest.detail) == ("ann@host", "jobs cancel", {"count": 1, "jobs": ["1 …"]})
        assert (len(newest.who), read(conn, 1)) == (200, [newest])
        assert pruning.old_deeds(conn, T0 + 5, 9) == 1
        assert read(conn, 9) == [newest]

    def test_small_things_go_with_their_time(self, conn: Connection, btc: SeriesRow) -> None:
        """Cached texts, locks that ran out, and files that brought nothing; one that was read stays."""
        state.cache_put(conn, "old", "", T0)
        state.cache_put(conn, "new", "", LATER)
        state.lock_acquire(conn, "old", "me", T0, T0 + 1)
        state.lock_acquire(conn, "new", "me", T0, LATER)
        for name, kind in (("a", "read"), ("b", "missing"), ("c", "suspect")):
            archive_files.put(
                conn, ArchiveFileRow(btc.id, 1, name, T0, T0 + 1, kind, None, None, None, None, None, T0)
            )  # fmt: skip
        assert (pruning.old_texts(conn, T0 + 2), pruning.old_locks(conn, T0 + 2)) == (1, 1)
        assert pruning.old_files(conn, "read", T0 + 2) == 2
        assert list(conn.scalars(select(cache.c.key))) == ["new"]
        assert conn.execute(select(func.count()).select_from(locks)).scalar_one() == 1
        assert [row.name for row in archive_files.read(conn, btc.id)] == ["a"]
