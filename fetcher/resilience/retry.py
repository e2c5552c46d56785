"""How long to wait between tries: `backoff`'s exponential steps with full jitter, as plain numbers.

Its decorators are not used: they sleep without listening to a stop, and jitter even an exact Retry-After.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIES = 5  # of one request, before the source counts as down for this window
JOB_ATTEMPTS = 20  # of one job, before it is given up: about two days of growing delays
_FIRST, _LONGEST = 0.25, 8.0
_JOB_FIRST, _JOB_LONGEST = 5.0, 6 * 3600.0


def pauses() -> Iterator[float]:
    """Seconds to wait before each further try of a request, jittered, without end."""
    import backoff  # noqa: PLC0415 (it loads asyncio, 45 ms that a run without failures need not spend)

    steps = backoff.expo(base=2, factor=_FIRST, max_value=_LONGEST)
    next(steps)  # the library's generators begin with an empty yield
    while True:
        yield backoff.full_jitter(float(next(steps)))


def job_delay(attempts: int) -> float:
    """Seconds until a job that failed `attempts` times (1 or more) is due again: 5 s, doubling, at most 6 hours."""
    return float(min(_JOB_FIRST * 2 ** min(attempts - 1, 20), _JOB_LONGEST))


def recheck_delay(answers: int) -> float:
    """Seconds until an absence with `answers` agreeing answers is asked again: an hour at first, a year at last."""
    return float(min(3600.0 * 4 ** max(0, answers - 3), 365 * 86400.0))
