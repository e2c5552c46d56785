"""Request weight: the fixed minute, the rest after an excess, the ban of those who go on asking."""

from __future__ import annotations

from fetcher.model import MINUTE
from fetcher.sandbox.limits import WeightLimit

START = 1_000 * MINUTE


def test_weight_counts_by_the_wall_clock_minute() -> None:
    """A request at :59 belongs to its minute, the count drops to zero at :00."""
    limit = WeightLimit(per_minute=10)
    assert limit.admit(10, START + 59_999) is None
    assert limit.admit(10, START + MINUTE) is None
    assert limit.used == 10


def test_an_excess_rests_until_the_next_minute() -> None:
    """Retry-After says the seconds to it, rounded up, and holds for every request meanwhile."""
    limit = WeightLimit(per_minute=10)
    limit.admit(10, START)
    refusal = limit.admit(1, START + 20_500)
    assert refusal is not None
    assert (refusal.status, refusal.retry_after) == (429, 40)
    later = limit.admit(1, START + 60_400)
    assert later is not None
    assert (later.status, later.retry_after) == (429, 1)
    assert limit.admit(1, START + 60_500) is None


def test_retry_after_is_never_below_one_second() -> None:
    """At the very end of a minute too."""
    limit = WeightLimit(per_minute=1)
    refusal = limit.admit(2, START + 59_999)
    assert refusal is not None
    assert refusal.retry_after == 1


def test_those_who_go_on_asking_are_banned() -> None:
    """After as many strikes as configured, until the time the ban names, and free again after it."""
    limit = WeightLimit(per_minute=1, ban_after=3, ban_seconds=120)
    statuses = [refusal.status for _ in range(5) if (refusal := limit.admit(2, START))]
    assert statuses == [429, 429, 429, 418, 418]
    ban = limit.admit(1, START + 119_999)
    assert ban is not None
    assert (ban.status, ban.retry_after, ban.until_ms) == (418, 1, START + 120_000)
    assert limit.admit(1, START + 120_000) is None


def test_strikes_are_forgotten_once_a_rest_was_kept() -> None:
    """Two strikes now and two after a good minute are no ban."""
    limit = WeightLimit(per_minute=1, ban_after=3)
    for start in (START, START + 2 * MINUTE):
        statuses = [refusal.status for _ in range(3) if (refusal := limit.admit(2, start))]
        assert statuses == [429, 429, 429]
        assert limit.admit(1, start + MINUTE) is None


def test_a_pardon_forgets_everything() -> None:
    """Setting the clock must not leave a ban of another time behind."""
    limit = WeightLimit(per_minute=1, ban_after=1)
    limit.admit(2, START)
    limit.admit(2, START)
    limit.pardon()
    assert limit.admit(1, START - MINUTE) is None
