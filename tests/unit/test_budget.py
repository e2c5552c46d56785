"""Request weight shared through one database: never more than the limit in any minute of the exchange's clock."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from db import endpoints
from db.engine import reading, writing
from fetcher.clock import Clock, ServerClock
from fetcher.model import MINUTE
from fetcher.resilience.budget import BLOCK_REQUESTS, GUARD_MS, Budget

if TYPE_CHECKING:
    from sqlalchemy import Engine

T0 = 1_780_272_000_000  # 2026-06-01, the start of a minute
POOL = "binance pool"


class HandClock(Clock):
    """A clock that moves when it is told to, and when somebody waits."""

    def __init__(self) -> None:
        super().__init__(T0)
        self.seconds = 0.0
        self.waits: list[float] = []

    def elapsed(self) -> float:
        """Seconds that the hand has turned."""
        return self.seconds

    def wait(self, stop: Event, seconds: float) -> bool:
        """Turn by what is waited for."""
        self.waits.append(seconds)
        self.seconds += max(0.0, seconds)
        return stop.is_set()


class StillClock(Clock):
    """A clock that stands still."""

    def __init__(self) -> None:
        super().__init__(T0)

    def elapsed(self) -> float:
        """No time passes."""
        return 0.0


@pytest.fixture
def pool(engine: Engine) -> Engine:
    """A database that knows the pool."""
    with writing(engine) as conn:
        endpoints.ensure(conn, POOL, "binance")
    return engine


def budget(engine: Engine, clock: Clock, limit: int = 600, ahead_ms: int = 0) -> Budget:
    """A process's budget over the shared database; its clock of the exchange is known."""
    server = ServerClock(clock)
    server.learn(clock.now_ms() + ahead_ms)
    return Budget(engine, server, POOL, lambda: (limit, MINUTE))


def take(asked: Budget, clock: Clock, cost: int) -> None:
    """Spend weight, waiting for it as a request does."""
    while seconds := asked.take_now(cost):
        clock.wait(Event(), seconds)


def used(engine: Engine) -> tuple[int | None, int]:
    """The window that the database counts, and what is taken of it."""
    with reading(engine) as conn:
        row = endpoints.read(conn, POOL)
    assert row is not None
    return row.window_ms, row.used


def test_two_processes_never_exceed_the_limit(pool: Engine) -> None:
    """Random requests of two budgets over many minutes: every minute of the exchange's stays within its weight."""
    clock, chance, spent = HandClock(), random.Random(7), Counter[int]()
    both = [budget(pool, clock, 100, ahead_ms=25_500) for _ in range(2)]
    for _ in range(400):
        clock.seconds += chance.random() * 0.8
        cost = chance.choice([1, 2, 2, 2, 20])
        number = chance.randrange(2)
        take(both[number], clock, cost)
        if chance.random() < 0.1:  # a process ends, and the next run begins
            both[number].close()
            both[number] = budget(pool, clock, 100, ahead_ms=25_500)
        spent[(clock.now_ms() + 25_500) // MINUTE] += cost
        assert used(pool)[1] <= 100
    assert len(spent) > 8
    assert max(spent.values()) <= 100


def test_threads_of_two_processes_share_one_minute(pool: Engine) -> None:
    """Eight threads asking at once get all of the minute's weight together, and not one request more."""
    granted = list[int]()

    def ask(shared: Budget) -> None:
        while shared.take_now(2) == 0.0:
            granted.append(2)

    both = [budget(pool, StillClock(), 300) for _ in range(2)]
    with ThreadPoolExecutor(8) as threads:
        for _ in threads.map(ask, both * 4):
            pass
    assert 300 - 2 * BLOCK_REQUESTS * 2 <= sum(granted) <= 300
    assert used(pool) == (T0, 300)


def test_weight_is_reserved_in_blocks(pool: Engine) -> None:
    """Twenty requests cost one short transaction; the rest of a block is spent without asking."""
    clock = HandClock()
    asked = budget(pool, clock)
    for number in range(1, 2 * BLOCK_REQUESTS + 1):
        take(asked, clock, 2)
        assert used(pool)[1] == 2 * BLOCK_REQUESTS * (1 + (number - 1) // BLOCK_REQUESTS)
    assert clock.waits == []


def test_a_full_minute_is_waited_out(pool: Engine) -> None:
    """The wait ends with the exchange's minute, not with ours, and the next one begins anew."""
    clock = HandClock()
    asked = budget(pool, clock, 40, ahead_ms=20_000)
    for _ in range(20):
        take(asked, clock, 2)
    assert clock.waits == []
    take(asked, clock, 2)
    assert sum(clock.waits) == pytest.approx(40.0)
    assert used(pool) == (T0 + MINUTE, 40)


def test_nothing_is_sent_at_the_end_of_a_minute(pool: Engine) -> None:
    """A request that leaves in the last second may be counted in the next minute: it waits for that."""
    clock = HandClock()
    asked = budget(pool, clock)
    clock.seconds = 59.5
    take(asked, clock, 2)
    assert clock.waits == [pytest.approx(0.5)]
    assert clock.now_ms() % MINUTE == 0
    clock.seconds = 120 - GUARD_MS / 1000 - 0.1
    take(asked, clock, 2)
    assert len(clock.waits) == 1


@pytest.mark.parametrize("foreign", [0, 300, 560, 588, 600, 900])
def test_what_the_exchange_counts_itself_counts(pool: Engine, foreign: int) -> None:
    """Another program behind the same address uses weight too: told by the answers, together they stay in the limit."""
    clock = HandClock()
    asked = budget(pool, clock)
    take(asked, clock, 2)
    counted = foreign + 2  # what the exchange says with the first answer
    asked.saw(counted, clock.elapsed())
    while True:
        take(asked, clock, 2)
        if clock.waits:
            break
        counted += 2
        asked.saw(counted, clock.elapsed())
    assert counted == max(600, foreign + 2)
    assert sum(clock.waits) == pytest.approx(60.0)
    asked.saw(600, 0.0)  # an answer to the minute before says nothing of this one
    for _ in range(100):
        take(asked, clock, 2)
    assert sum(clock.waits) == pytest.approx(60.0)


def test_who_does_not_wait_is_told_how_long_it_would_be(pool: Engine) -> None:
    """A used-up minute costs no further look at the database until it is over."""
    clock = HandClock()
    asked = budget(pool, clock, 40)
    assert [asked.take_now(2) for _ in range(20)] == [0.0] * 20
    clock.seconds += 20
    written: list[object] = []

    def note(conn: object) -> None:
        written.append(conn)

    event.listen(pool, "commit", note)
    try:
        assert [asked.take_now(2) for _ in range(3)] == [pytest.approx(40.0)] * 3
        clock.seconds += 40
        assert asked.take_now(2) == 0.0
    finally:
        event.remove(pool, "commit", note)
    assert clock.waits == []
    assert used(pool) == (T0 + MINUTE, 40)
    assert len(written) == 2  # one found it used up, one opened the next minute


def test_what_was_not_sent_for_is_given_back(pool: Engine) -> None:
    """To the span it was taken from, and never to a later one."""
    clock = HandClock()
    asked = budget(pool, clock, 20)
    for _ in range(10):
        assert asked.take_now(2) == 0.0
    asked.give_back(2)
    assert asked.take_now(2) == 0.0
    assert asked.take_now(2) > 0
    clock.seconds += 60
    asked.give_back(2)
    assert sum(asked.take_now(2) == 0.0 for _ in range(15)) == 10


def test_a_process_that_ends_hands_back_what_it_did_not_spend(pool: Engine) -> None:
    """After three requests three are spent, and the next run need not wait for the minute's end to ask on."""
    clock = HandClock()
    one, two = budget(pool, clock, 5), budget(pool, clock, 5)
    for _ in range(3):
        assert one.take_now(1) == 0.0
    assert used(pool) == (T0, 5), "reserved while it is at work"
    one.close()
    assert used(pool) == (T0, 3)
    assert two.take_now(1) == 0.0


def test_nothing_is_handed_back_to_another_minute(pool: Engine) -> None:
    """What was reserved in a minute that is over is gone with it, and a budget closed twice hands back once."""
    clock = HandClock()
    one, two = budget(pool, clock, 100), budget(pool, clock, 100)
    assert one.take_now(1) == 0.0
    clock.seconds += 60
    assert two.take_now(1) == 0.0
    one.close()
    assert used(pool) == (T0 + MINUTE, BLOCK_REQUESTS)
    two.close()
    two.close()
    assert used(pool) == (T0 + MINUTE, 1)


def test_what_was_spent_without_asking_counts(pool: Engine) -> None:
    """Requests that a library added to ours are owed: those that follow find so much less."""
    asked = budget(pool, HandClock(), 20)
    assert asked.take_now(1) == 0.0
    asked.owe(15)
    assert [asked.take_now(1) for _ in range(4)] == [0.0] * 4
    assert asked.take_now(1) > 0


def test_the_share_that_is_left_counts_everybody(pool: Engine) -> None:
    """What others reserved and what the exchange tells is gone, what this process holds of a block is not."""
    clock = HandClock()
    one, two = budget(pool, clock, 200), budget(pool, clock, 200)
    assert one.share_left(None, 0) == 1.0
    take(one, clock, 2)
    take(two, clock, 2)
    assert (one.share_left(*used(pool)), two.share_left(*used(pool))) == (0.79, 0.79)  # 80 reserved, 38 of them held
    one.saw(150, clock.elapsed())
    assert one.share_left(*used(pool)) == 0.25
    clock.seconds += 60
    assert one.share_left(*used(pool)) == 1.0


def test_a_busy_database_does_not_carry_weight_into_the_next_minute(pool: Engine) -> None:
    """What was reserved while the minute ended is not spent in the next one, where nobody has counted it."""
    clock = HandClock()
    asked = budget(pool, clock, 100)
    clock.seconds = 50.0

    def slow(_conn: object) -> None:
        if clock.seconds < 60:
            clock.seconds += 15.0

    event.listen(pool, "commit", slow)
    try:
        take(asked, clock, 2)
    finally:
        event.remove(pool, "commit", slow)
    assert used(pool) == (T0 + MINUTE, 2 * BLOCK_REQUESTS)
