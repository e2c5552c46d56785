"""What becomes of a job after each kind of failure."""

from __future__ import annotations

import pytest

from fetcher.aftermath import LATER_SECONDS, Aftermath, after_failure
from fetcher.errors import (
    AuthenticationFailed,
    BadPayload,
    CannotServe,
    Contradicted,
    RateLimited,
    SourceDown,
    UnknownSymbol,
    Unproven,
)
from fetcher.resilience.retry import JOB_ATTEMPTS

NOW = 1_790_000_000_000


@pytest.mark.parametrize(
    ("error", "attempts", "end"),
    [
        (RateLimited("rest", NOW + 7_000), 3, Aftermath("queued", "rest", NOW + 7_000)),
        (SourceDown("probed", NOW + 2_000), 3, Aftermath("queued", "probed", NOW + 2_000)),
        (SourceDown("down", NOW + 60_000), 3, Aftermath("queued", "down", NOW)),
        (RateLimited("banned", NOW + 900_000), 3, Aftermath("queued", "banned", NOW)),
        (SourceDown("tried"), 1, Aftermath("queued", "tried", NOW + 5_000, 1)),
        (SourceDown("tried"), 3, Aftermath("queued", "tried", NOW + 20_000, 3)),
        (BadPayload("html"), 2, Aftermath("queued", "html", NOW + 10_000, 2)),
        (Contradicted("two words"), 1, Aftermath("queued", "two words", NOW + 5_000, 1)),
        (Unproven("newest edge"), 1, Aftermath("queued", "newest edge", NOW + int(LATER_SECONDS * 1000), 1)),
        (CannotServe("refused"), 1, Aftermath("queued", "refused", NOW + int(LATER_SECONDS * 1000), 1)),
        (Unproven("newest edge"), 99, Aftermath("queued", "newest edge", NOW + 21_600_000, JOB_ATTEMPTS - 1)),
        (UnknownSymbol("no such market"), 1, Aftermath("queued", "no such market", NOW + 3_600_000, 1)),
        (AuthenticationFailed("key"), 1, Aftermath("queued", "key", NOW + 3_600_000, 1)),
        (AuthenticationFailed("key"), 99, Aftermath("queued", "key", NOW + 3_600_000, JOB_ATTEMPTS - 1)),
        (KeyError("bug"), 1, Aftermath("queued", "KeyError: 'bug'", NOW + 5_000, 1)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_failure_decides_how_the_job_goes_on(error: Exception, attempts: int, end: Aftermath) -> None:
    """A rest is waited for, what a person must mend is asked hourly, everything else later and later."""
    assert after_failure(error, attempts, NOW) == end


def test_a_job_without_progress_is_given_up_with_its_reason() -> None:
    """The last attempt names how many there were, and what the last one met."""
    end = after_failure(SourceDown("nobody answers"), JOB_ATTEMPTS, NOW)
    assert (end.status, end.message) == ("failed", f"given up after {JOB_ATTEMPTS} attempts: nobody answers")


def test_a_rest_is_never_given_up() -> None:
    """A ban of days does not use up the attempts: the source said when to come back."""
    assert after_failure(RateLimited("banned", NOW + 1), JOB_ATTEMPTS + 5, NOW).status == "queued"
