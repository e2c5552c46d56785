"""The breaker's states, outcome by outcome, and the gate that keeps them in the database for all processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from db import endpoints
from db.breakers import CLOSED, HALF_OPEN, OPEN
from db.engine import reading, writing
from fetcher.clock import Clock
from fetcher.errors import RateLimited, SourceDown
from fetcher.resilience.breaker import FAIL_MAX, BreakerState, after_outcome
from fetcher.resilience.gate import REST_MS, Gate, Outlook

if TYPE_CHECKING:
    from sqlalchemy import Engine

NOW = 1_780_272_000_000
OPENED = NOW - 90_000
LONGEST = 35.0  # seconds that one request may last
HOST, MIRROR, POOL = "binance api.example", "binance mirror.example", "binance pool"


class HandClock(Clock):
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        super().__init__(NOW)
        self.seconds = 0.0

    def elapsed(self) -> float:
        """Seconds that the hand has turned."""
        return self.seconds


@pytest.mark.parametrize(
    ("before", "outcome", "after"),
    [
        (BreakerState(), "succeeded", BreakerState()),
        (BreakerState(), "failed", BreakerState(CLOSED, 1)),
        (BreakerState(CLOSED, FAIL_MAX - 2), "failed", BreakerState(CLOSED, FAIL_MAX - 1)),
        (BreakerState(CLOSED, FAIL_MAX - 1), "succeeded", BreakerState(CLOSED, 0)),
        (BreakerState(CLOSED, FAIL_MAX - 1), "failed", BreakerState(OPEN, FAIL_MAX, 0, NOW)),
        (BreakerState(OPEN, FAIL_MAX, 0, OPENED), "succeeded", BreakerState(OPEN, FAIL_MAX, 0, OPENED)),
        (BreakerState(OPEN, FAIL_MAX, 0, OPENED), "failed", BreakerState(OPEN, FAIL_MAX, 0, OPENED)),
    ],
)
def test_the_table_of_outcomes(before: BreakerState, outcome: str, after: BreakerState) -> None:
    """Failures in a row count, a success forgets them, enough of them open; what was sent before that is void."""
    assert after_outcome(before, NOW, succeeded=outcome == "succeeded") == after


def test_a_probe_decides_alone() -> None:
    """Half-open: one success closes and forgets, one failure opens anew from now."""
    probing = BreakerState(HALF_OPEN, FAIL_MAX, 0, OPENED)
    closed = after_outcome(probing, NOW, succeeded=True)
    assert (closed.state, closed.failures) == (CLOSED, 0)
    opened = after_outcome(probing, NOW, succeeded=False)
    assert (opened.state, opened.opened_ms) == (OPEN, NOW)


@given(st.lists(st.booleans(), max_size=80))
def test_any_row_of_outcomes_agrees_with_the_model(outcomes: list[bool]) -> None:
    """Closed until so many failures follow one another, whatever came before; open for good without a probe."""
    state, row = BreakerState(), 0
    for succeeded in outcomes:
        state = after_outcome(state, NOW, succeeded=succeeded)
        row = row if row >= FAIL_MAX else 0 if succeeded else row + 1
        assert (state.state, state.failures) == (OPEN if row >= FAIL_MAX else CLOSED, row)
        assert (state.opened_ms is None) == (state.state == CLOSED)


@pytest.fixture
def hand() -> HandClock:
    """A clock to turn."""
    return HandClock()


@pytest.fixture
def hosts(engine: Engine) -> Engine:
    """A database that knows two hosts and the pool of both."""
    with writing(engine) as conn:
        for key in (HOST, MIRROR, POOL):
            endpoints.ensure(conn, key, "binance")
    return engine


def gate(engine: Engine, clock: Clock, owner: str = "one", endpoint: str = HOST) -> Gate:
    """One process's gate of a host."""
    return Gate(engine, clock, endpoint, POOL, owner, LONGEST)


def trip(gate: Gate) -> None:
    """Let so many requests fail that the breaker opens."""
    for _ in range(FAIL_MAX):
        assert gate.admit() is False
        gate.failed("connection refused")


def refusal(gate: Gate) -> SourceDown:
    """Why nothing is let through."""
    with pytest.raises(SourceDown) as refused:
        gate.admit()
    return refused.value


def state(engine: Engine) -> tuple[str, int]:
    """The host's breaker as every process sees it: state and failures."""
    with reading(engine) as conn:
        row = endpoints.read(conn, HOST)
    assert row is not None
    return row.breaker, row.failures


def test_a_failing_host_rests_for_every_process(hosts: Engine, hand: HandClock) -> None:
    """Enough failures of one process close the gate of all, with the reason and the time; other hosts stay open."""
    trip(gate(hosts, hand))
    refused = refusal(gate(hosts, hand, "two"))
    assert refused.retry_at_ms == NOW + REST_MS
    assert "connection refused" in str(refused)
    assert gate(hosts, hand, "two", MIRROR).admit() is False
    hand.seconds += REST_MS / 1000 - 1
    assert refusal(gate(hosts, hand)).retry_at_ms == NOW + REST_MS


def test_one_process_probes_and_its_success_opens_the_gate(hosts: Engine, hand: HandClock) -> None:
    """After the rest exactly one request goes out; answered, it lets everybody in again."""
    one, two = gate(hosts, hand, "one"), gate(hosts, hand, "two")
    trip(one)
    hand.seconds += REST_MS / 1000
    assert one.admit() is True
    assert state(hosts)[0] == HALF_OPEN
    assert (refusal(two).retry_at_ms or 0) > hand.now_ms()
    one.succeeded(probe=True)
    hand.seconds += 1
    assert (one.admit(), two.admit()) == (False, False)
    assert state(hosts) == (CLOSED, 0)


def test_a_failed_probe_begins_another_rest(hosts: Engine, hand: HandClock) -> None:
    """From the moment of its failure."""
    one = gate(hosts, hand)
    trip(one)
    hand.seconds += REST_MS / 1000 + 5
    assert one.admit() is True
    one.failed("still away", probe=True)
    refused = refusal(one)
    assert refused.retry_at_ms == hand.now_ms() + REST_MS
    assert "still away" in str(refused)


def test_answers_to_requests_sent_before_a_probe_decide_nothing(hosts: Engine, hand: HandClock) -> None:
    """Only the probe opens or closes a half-open breaker: what was sent earlier tells of an earlier time."""
    one, late = gate(hosts, hand, "one"), gate(hosts, hand, "late")
    trip(one)
    hand.seconds += REST_MS / 1000
    assert one.admit() is True
    late.succeeded()
    assert state(hosts)[0] == HALF_OPEN
    late.failed("timed out")
    assert state(hosts)[0] == HALF_OPEN
    one.succeeded(probe=True)
    assert state(hosts) == (CLOSED, 0)


def test_a_probe_without_verdict_is_free_again(hosts: Engine, hand: HandClock) -> None:
    """Given back undecided (a 429 says nothing of health) another may probe at once; killed, after its time."""
    one, two = gate(hosts, hand, "one"), gate(hosts, hand, "two")
    trip(one)
    hand.seconds += REST_MS / 1000
    assert one.admit() is True
    one.undecided(probe=True)
    hand.seconds += 1
    assert two.admit() is True
    hand.seconds += LONGEST + 1
    refusal(one)
    hand.seconds += 5
    assert one.admit() is True


def test_a_late_answer_changes_nothing_while_the_host_rests(hosts: Engine, hand: HandClock) -> None:
    """A request sent before the breaker opened may still succeed or fail; the rest goes on as it was."""
    one = gate(hosts, hand)
    trip(one)
    hand.seconds += 10
    one.succeeded()
    one.failed("late")
    assert refusal(one).retry_at_ms == NOW + REST_MS


def test_a_success_in_between_forgets_failures(hosts: Engine, hand: HandClock) -> None:
    """Only failures in a row count."""
    one = gate(hosts, hand)
    for _ in range(3):
        for _ in range(FAIL_MAX - 1):
            one.failed("timeout")
        one.succeeded()
        assert state(hosts) == (CLOSED, 0)
    assert one.admit() is False


def test_a_rest_holds_while_it_waits_to_be_written(hosts: Engine, hand: HandClock) -> None:
    """Another writer holds the database: no thread of this process sends anything on meanwhile, at any of the gates."""
    outlook = Outlook(hosts, hand)
    one, mirror = (Gate(hosts, hand, name, POOL, "one", LONGEST, outlook) for name in (HOST, MIRROR))
    error = RateLimited("429 Too Many Requests", NOW + 30_000)
    with outlook.resting(POOL, error):
        for each in (one, mirror):
            assert isinstance(each.refusal(), RateLimited)
            assert each.rests_until() == NOW + 30_000
    assert one.refusal() is None
    with ThreadPoolExecutor(1) as threads, writing(hosts):
        held = threads.submit(one.rest, error)
        while mirror.refusal() is None:
            assert not held.done()
        assert not held.done()
    assert held.result() is None
    assert isinstance(gate(hosts, hand, "two", MIRROR).refusal(), RateLimited)


@pytest.mark.parametrize("whole_pool", [True, False])
def test_a_rest_that_was_asked_for_stops_every_process(hosts: Engine, hand: HandClock, *, whole_pool: bool) -> None:
    """A 429 rests all hosts behind the address, a 451 one of them, until its time; a shorter one shortens nothing."""
    one = gate(hosts, hand)
    one.rest(RateLimited("429 Too Many Requests", NOW + 30_000, whole_pool=whole_pool))
    one.rest(RateLimited("429 again", NOW + 10_000, whole_pool=whole_pool))
    hand.seconds += 29
    for other in (one, gate(hosts, hand, "two")):
        with pytest.raises(RateLimited) as refused:
            other.admit()
        assert (refused.value.until_ms, refused.value.whole_pool) == (NOW + 30_000, whole_pool)
    mirror = gate(hosts, hand, "two", MIRROR)
    if whole_pool:
        with pytest.raises(RateLimited):
            mirror.admit()
    else:
        assert mirror.admit() is False
    hand.seconds += 1
    assert (one.admit(), mirror.admit()) == (False, False)
    assert state(hosts) == (CLOSED, 0)


def test_a_rest_that_cannot_be_written_holds_all_the_same(hosts: Engine, hand: HandClock) -> None:
    """The disk is full for a moment: this process asks nothing until the rest is over, and writes it when it can."""
    outlook = Outlook(hosts, hand)
    one, mirror = (Gate(hosts, hand, name, POOL, "one", LONGEST, outlook) for name in (HOST, MIRROR))

    def fail(_conn: object) -> None:
        raise OSError("no space left on device")

    event.listen(hosts, "commit", fail)
    try:
        with pytest.raises(OSError, match="no space"):
            one.rest(RateLimited("429 Too Many Requests", NOW + 30_000))
    finally:
        event.remove(hosts, "commit", fail)
    hand.seconds += 20
    for each in (one, mirror):
        assert isinstance(each.refusal(), RateLimited)
    assert gate(hosts, hand, "two").refusal() is None, "nobody else knows of it"
    one.rest(RateLimited("429 again", NOW + 25_000))
    assert isinstance(gate(hosts, hand, "two").refusal(), RateLimited)
    assert gate(hosts, hand, "two").rests_until() == NOW + 30_000, "the longer one of both was written"
    hand.seconds += 10
    assert one.refusal() is None
