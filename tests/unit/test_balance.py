"""Who is asked next: shares of turns among endpoints that are well, slow, failing, hanging or short of budget."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.clock import Clock
from fetcher.resilience.balance import LEAST, Balance, Standing, take_turn, weigh


class HandClock(Clock):
    """A clock that moves when it is told to."""

    seconds = 0.0

    def elapsed(self) -> float:
        """Seconds that the hand has turned."""
        return self.seconds


def dealt(weights: dict[str, float], turns: int = 1000) -> Counter[str]:
    """How many turns each gets."""
    credit: dict[str, float] = {}
    counted = Counter[str]()
    for _ in range(turns):
        chosen, credit = take_turn(credit, weights)
        counted[chosen] += 1
    return counted


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=12))
def test_turns_are_in_proportion_to_weights(sizes: list[float]) -> None:
    """To a turn or two for each, and whatever the number of those who share."""
    weights = {f"host {number}": size for number, size in enumerate(sizes)}
    counted = dealt(weights)
    for name, size in weights.items():
        assert counted[name] == pytest.approx(1000 * size / sum(sizes), abs=2)


def test_equals_alternate() -> None:
    """Nobody is asked twice before everybody was asked once."""
    weights = weigh({name: Standing(latency=0.1) for name in "abc"})
    credit: dict[str, float] = {}
    asked = ""
    for _ in range(6):
        chosen, credit = take_turn(credit, weights)
        asked += chosen
    assert asked == "abcabc"


WELL = Standing(latency=0.1)


@pytest.mark.parametrize(
    ("other", "least", "most"),
    [
        (Standing(latency=0.1), 0.5, 0.5),
        (Standing(), 0.5, 0.5),
        (Standing(latency=0.18), 0.5, 0.5),
        (Standing(latency=0.5), 0.05, 0.2),
        (Standing(success=0.7, latency=0.1), 0.1, 0.25),
        (Standing(success=0.0, latency=0.1), 0.001, 0.01),
        (Standing(success=0.0, latency=0.1, idle=600.0), 0.45, 0.5),
        (Standing(latency=5.0, idle=600.0), 0.4, 0.5),
        (Standing(latency=0.1, waiting=5.0, in_flight=1), 0.001, 0.01),
        (Standing(latency=0.1, in_flight=3), 0.2, 0.2),
        (Standing(latency=0.1, budget_left=0.25), 0.2, 0.2),
        (Standing(latency=0.1, budget_left=0.0), 0.001, 0.01),
    ],
    ids=[
        "as well", "not known", "hardly slower", "five times slower", "fails 30 %", "dead", "dead long ago",
        "slow long ago", "hangs", "busy", "little budget", "no budget",
    ],
)  # fmt: skip
def test_the_share_of_one_beside_one_that_is_well(other: Standing, least: float, most: float) -> None:
    """What each trouble costs in turns; none costs all, so that a recovery is noticed."""
    weights = weigh({"well": WELL, "other": other})
    assert least <= weights["other"] / sum(weights.values()) <= most


def test_latencies_of_loopback_are_noise() -> None:
    """One millisecond or ten make no difference."""
    weights = weigh({"a": Standing(latency=0.001), "b": Standing(latency=0.01)})
    assert weights["a"] == weights["b"]


def played(hosts: dict[str, tuple[float, float]], requests: int) -> Counter[str]:
    """How often each host is asked, given its chance of failure and its seconds, by four threads' worth of requests."""
    clock, chance = HandClock(), Random(5)
    balance, asked = Balance(clock), Counter[str]()
    flying: list[tuple[float, str, float]] = []
    for name in hosts:
        balance.introduce(name)
    for _ in range(requests):
        if len(flying) == 4:
            flying.sort()
            ends, name, ticket = flying.pop(0)
            clock.seconds = max(clock.seconds, ends)
            fails, seconds = hosts[name]
            good = chance.random() >= fails
            balance.ended(name, ticket)
            balance.learn(name, good=good, latency=seconds if good else None)
        name = balance.choose(dict.fromkeys(hosts, 1.0))
        asked[name] += 1
        flying.append((clock.seconds + hosts[name][1] * (0.7 + 0.6 * chance.random()), name, balance.began(name)))
    return asked


def test_ten_that_are_well_share_equally() -> None:
    """Within a tenth of the mean."""
    asked = played({f"host {n}": (0.0, 0.1) for n in range(10)}, 2000)
    assert min(asked.values()) >= 180
    assert max(asked.values()) <= 220


@pytest.mark.parametrize(
    ("bad", "most"),
    [((0.0, 0.6), 0.5), ((0.3, 0.1), 0.7), ((0.6, 0.1), 0.35), ((1.0, 0.1), 0.15), ((1.0, 10.0), 0.1)],
    ids=["six times slower", "fails 30 %", "fails 60 %", "dead", "hangs"],
)
def test_one_in_ten_that_is_not_well_gets_less(bad: tuple[float, float], most: float) -> None:
    """Compared with the mean of the others."""
    asked = played({f"host {n}": (0.0, 0.1) for n in range(9)} | {"bad": bad}, 2000)
    mean = (2000 - asked["bad"]) / 9
    assert 0 < asked["bad"] <= most * mean


def test_what_is_long_ago_is_forgiven() -> None:
    """A host that failed gets its share again after some minutes without being asked, and loses it when it fails."""
    clock = HandClock()
    balance = Balance(clock)
    balance.introduce("well")
    balance.introduce("back", success=0.0)
    share = Counter(balance.choose({"well": 1.0, "back": 1.0}) for _ in range(100))["back"]
    assert share <= 2
    clock.seconds += 600
    share = Counter(balance.choose({"well": 1.0, "back": 1.0}) for _ in range(100))["back"]
    assert share >= 45
    for _ in range(20):
        balance.learn("back", good=False)
    assert Counter(balance.choose({"well": 1.0, "back": 1.0}) for _ in range(100))["back"] <= 2


def test_a_new_process_begins_anywhere() -> None:
    """Runs of one request each ask every host in the long run."""
    first = Counter[str]()
    for _ in range(200):
        balance = Balance(HandClock())
        for name in "abcd":
            balance.introduce(name)
        first[balance.choose(dict.fromkeys("abcd", 1.0))] += 1
    assert min(first.values()) > 20


def test_the_least_weight_is_never_nothing() -> None:
    """Without any budget or health there is still a turn to deal."""
    assert min(weigh({"a": Standing(success=0.0, budget_left=0.0)}).values()) == LEAST**2
