"""How long to wait: jittered between bounds that grow, never without end."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.resilience.retry import JOB_ATTEMPTS, TRIES, job_delay, pauses, recheck_delay


def test_pauses_stay_under_doubling_bounds() -> None:
    """The k-th pause lies between nothing and 0.25 s · 2^k, at most 8 s, and comes near both."""
    rows = [list(islice(pauses(), 9)) for _ in range(300)]
    for number, column in enumerate(zip(*rows, strict=True)):
        bound = min(8.0, 0.25 * 2**number)
        assert all(0 <= pause <= bound for pause in column)
        assert max(column) > 0.9 * bound
        assert min(column) < 0.1 * bound


def test_pauses_never_end_and_are_jittered() -> None:
    """A hundred are to be had, and two rows differ: many processes do not come back at the same moment."""
    assert len(list(islice(pauses(), 100))) == 100
    assert list(islice(pauses(), 5)) != list(islice(pauses(), 5))


@given(st.integers(1, 10_000))
def test_job_delays_double_up_to_six_hours(attempts: int) -> None:
    """5 s after the first failure, each further one twice as long, never shorter, never above 6 hours."""
    assert job_delay(attempts) == min(5 * 2 ** (attempts - 1), 21_600)
    assert job_delay(attempts) <= job_delay(attempts + 1)


def test_a_job_is_tried_for_days() -> None:
    """Until it is given up a day's outage has long passed."""
    assert 1.9 * 86_400 < sum(map(job_delay, range(1, JOB_ATTEMPTS))) < 5 * 86_400
    assert TRIES * 8 < 60


@pytest.mark.parametrize(
    ("answers", "hours"), [(0, 1), (2, 1), (3, 1), (4, 4), (5, 16), (9, 4096), (10, 8760), (400, 8760)]
)
def test_absences_are_asked_again_ever_more_rarely(answers: int, hours: int) -> None:
    """An hour after they were proven, later less and less, once a year at last."""
    assert recheck_delay(answers) == hours * 3600.0


def test_recheck_delays_never_shrink() -> None:
    """More agreement never means asking sooner."""
    assert all(one <= other for one, other in pairwise(map(recheck_delay, range(60))))
