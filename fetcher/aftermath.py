"""What becomes of a job that failed: when it is due again, or why it is given up. Pure."""

from __future__ import annotations

from msgspec import Struct

from fetcher.errors import (
    AuthenticationFailed,
    CannotServe,
    RateLimited,
    SourceDown,
    SourceError,
    UnknownSymbol,
    Unproven,
)
from fetcher.resilience.retry import JOB_ATTEMPTS, job_delay

PATIENCE_SECONDS = 30.0  # a run waits for jobs due within this, and ends when every source rests longer
LATER_SECONDS = 60.0  # an absence on the newest edge waits for the next candle; a refusal will not change sooner either
PERSON_SECONDS = 3600.0  # an unknown symbol, a refused key: asked again now and then, in case somebody mended it


class Aftermath(Struct, frozen=True):
    """How a failed job goes on: `queued` from `not_before` (ms UTC) or `failed`; attempts None: as many as before.

    Attempts count what was answered: one that a rest of its source cut short is none.
    """

    status: str
    message: str
    not_before: int = 0
    attempts: int | None = None


def after_failure(error: Exception, attempts: int, now_ms: int, *, alone: bool = True) -> Aftermath:
    """Decide by the kind of error and the attempts made in a row without progress, this one included.

    `alone`: the series has no other source, so that whoever claims jobs sees that they rest.
    """
    message = str(error) if isinstance(error, SourceError) else f"{type(error).__name__}: {error}"
    match error:
        case RateLimited():
            return Aftermath("queued", message, _rest_to_wait(error.until_ms, now_ms, alone=alone))
        case SourceDown() if error.retry_at_ms is not None:
            return Aftermath("queued", message, _rest_to_wait(error.retry_at_ms, now_ms, alone=alone))
        case UnknownSymbol() | AuthenticationFailed():  # a person's affair, or a market that comes: the rest goes on
            return Aftermath("queued", message, now_ms + int(PERSON_SECONDS * 1000), min(attempts, JOB_ATTEMPTS - 1))
        case Unproven():  # the source says nothing against it, only nothing yet
            delay = max(LATER_SECONDS, job_delay(attempts))
            return Aftermath("queued", message, now_ms + int(delay * 1000), min(attempts, JOB_ATTEMPTS - 1))
        case _ if attempts >= JOB_ATTEMPTS:
            return Aftermath("failed", f"given up after {attempts} attempts: {message}")
        case _:
            least = LATER_SECONDS if isinstance(error, CannotServe) else 0.0
            return Aftermath("queued", message, now_ms + int(max(least, job_delay(attempts)) * 1000), attempts)


def _rest_to_wait(until_ms: int, now_ms: int, *, alone: bool) -> int:
    """When a job whose source rests is due: a short rest is waited for; a long one is the source's, not the job's.

    Whoever claims jobs looks whether their sources rest, so that a job is free at once when a rest is lifted or another
    host is configured.
    """
    return now_ms if alone and until_ms - now_ms > PATIENCE_SECONDS * 1000 else until_ms
