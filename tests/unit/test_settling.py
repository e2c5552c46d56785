"""How long after a close a source is given: grows when a candle was late, shrinks slowly, learns nothing from halts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from db.engine import reading, writing
from db.series import ensure_sources, settle_times
from fetcher.clock import Clock
from fetcher.events import Planned, TailRead
from fetcher.model import MINUTE
from fetcher.settling import IN_TIME, LEAST_MS, MOST_MS, Settling

if TYPE_CHECKING:
    from sqlalchemy import Engine

SLOT = 10 * MINUTE


@pytest.fixture
def settling(engine: Engine) -> Settling:
    """One that begins with two seconds, for a source that the database knows."""
    with writing(engine) as conn:
        ensure_sources(conn, ["okx"])
    return Settling(engine, Clock(), 2.0)


def read(first: int | None, last: int | None, newest: int | None, since: int | None, *, whole: bool = True) -> TailRead:
    """A page of minutes, in minutes."""
    first_ms, last_ms, newest_ms = (None if n is None else n * MINUTE for n in (first, last, newest))
    return TailRead("BTC/USDT 1m", "okx", first_ms, last_ms, whole, newest_ms, since)


def test_a_candle_that_came_later_was_late(settling: Settling) -> None:
    """Asked for 3 s after its close and not there, but there a minute later: 4.5 s from now on."""
    settling(read(8, 9, 10, 3_000))
    assert settling.ms("okx") == 2_000
    settling(read(10, 11, 11, 3_000))
    assert settling.ms("okx") == 4_500


@pytest.mark.parametrize("later", [read(11, 11, 11, 3_000), read(9, 12, 12, 3_000, whole=False)])
def test_one_that_never_comes_teaches_nothing(settling: Settling, later: TailRead) -> None:
    """A halt of the exchange, or a minute without trades."""
    settling(read(None, None, 10, 3_000))
    settling(later)
    settling(read(10, 10, None, None))
    assert settling.ms("okx") == 2_000


def test_an_answer_about_something_else_is_waited_over(settling: Settling) -> None:
    """What says nothing of the slot leaves it open until something does."""
    settling(read(None, None, 10, 3_000))
    settling(read(7, 8, None, None))
    settling(Planned(1, 1))
    settling(read(10, 10, None, None))
    assert settling.ms("okx") == 4_500


def test_in_time_again_and_again_less_is_tried(settling: Settling) -> None:
    """Slowly, and never less than a quarter of a second; what came long after its close does not count."""
    for minute in range(IN_TIME - 1):
        settling(read(minute, minute, minute, 2_100))
    settling(read(500, 500, 500, 40_000))
    assert settling.ms("okx") == 2_000
    settling(read(501, 501, 501, 2_100))
    assert settling.ms("okx") == 1_800
    for minute in range(100 * IN_TIME):
        settling(read(minute, minute, minute, 100))
    assert settling.ms("okx") == LEAST_MS


def test_there_is_a_most(settling: Settling) -> None:
    """Less than a minute, or candles would be passed over."""
    for minute in range(0, 40, 2):
        settling(read(None, None, minute, settling.ms("okx")))
        settling(read(minute, minute + 1, minute + 1, 100))
    assert settling.ms("okx") == MOST_MS


def test_what_was_learnt_is_kept(settling: Settling, engine: Engine) -> None:
    """By source; nothing is written where nothing was learnt."""
    settling.keep()
    with reading(engine) as conn:
        assert settle_times(conn) == {}
    settling(read(None, None, 10, 3_000))
    settling(read(10, 10, 10, 3_000))
    settling.keep()
    with reading(engine) as conn:
        assert settle_times(conn) == {"okx": 4_500}
    assert Settling(engine, Clock(), 2.0).ms("okx") == 4_500


def test_who_does_not_wait_learns_nothing(engine: Engine) -> None:
    """A bare run asks for what has closed, whenever cron starts it."""
    idle = Settling(engine, Clock(), None)
    idle(read(None, None, 10, 3_000))
    idle(read(10, 10, 10, 3_000))
    assert idle.ms("okx") == 0
