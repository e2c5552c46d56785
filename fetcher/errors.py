"""Errors sorted by what the caller does next; each message says what happened and what to run or fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.masking import masked

if TYPE_CHECKING:
    from collections.abc import Sequence


class FetcherError(Exception):
    """Base of everything the program raises on purpose."""


class ConfigError(FetcherError):
    """Bad configuration, argument or database: one sentence for the user, exit code 2."""


class ExportFailed(FetcherError):
    """A file that was asked for cannot be written (disk full, no right to): exit code 1."""


class RunLocked(FetcherError):
    """Another run holds the run lock: exit code 75, cron tries again."""


class SourceError(FetcherError):
    """A source did not serve what was asked; subclasses say what the router does next.

    `record` is what our own session recorded of the exchange, where an answer came at all.
    """

    record: object | None = None

    def __init__(self, message: str = "") -> None:
        super().__init__(masked(message))  # it goes to tables, logs and terminals, and may repeat what a source said


class RetryableError(SourceError):
    """Ask the same source again soon (timeout, reset, 5xx); counts against its breaker.

    `retry_after` is the pause in seconds that the source asked for, where it did.
    """

    retry_after: float | None = None


class Contradicted(RetryableError):
    """Two answers of one source cannot both be right: ask again at once; says nothing of whether it is reachable."""


class BadPayload(RetryableError):
    """A 200 whose body is not what the source promises (HTML, truncated, wrong shape); counts against the breaker."""


class RateLimited(SourceError):
    """The endpoint rests until `until_ms` (ms UTC of the program's clock); does not count against the breaker."""

    def __init__(self, message: str, until_ms: int, *, whole_pool: bool = True) -> None:
        super().__init__(message)
        self.until_ms = until_ms
        self.whole_pool = whole_pool  # a 429 rests everything behind the same address, a 451 one host only


class SourceDown(SourceError):
    """The source cannot be reached for now (breaker open, retries used up): ask the next source."""

    def __init__(self, message: str, retry_at_ms: int | None = None) -> None:
        super().__init__(message)
        self.retry_at_ms = retry_at_ms


class CannotServe(SourceError):
    """The source is well but cannot serve this timeframe or window: ask the next source."""


class NotPublished(CannotServe):
    """An archive has no such file, or not yet: ask for smaller ones, or another route."""


class UnknownSymbol(CannotServe):
    """The source does not list the symbol: configuration, or the next source."""


class BrokenAddress(CannotServe):
    """A way in that can never be asked (its host or proxy is no address): ask by another, mend the configuration."""


class Unproven(SourceError):
    """The source has no such candles, but its answers do not prove it yet: ask again later."""


class AuthenticationFailed(SourceError):
    """The source refuses the key: the configuration must change before asking again."""


class Stopped(FetcherError):
    """The program was asked to stop (signal, time budget) while waiting; nothing is lost."""


def most_hopeful(errors: Sequence[SourceError]) -> SourceError:
    """The one of several refusals to go by: that which ends soonest, else one that may end at all, else the first."""
    passing = [(ends_at(error), number) for number, error in enumerate(errors) if ends_at(error) is not None]
    return errors[min(passing)[1]] if passing else errors[0]


def ends_at(error: SourceError) -> int | None:
    """When a refusal passes, ms UTC (0: at any time); None where it does not pass by itself."""
    match error:
        case RateLimited():
            return error.until_ms
        case SourceDown():
            return error.retry_at_ms or 0
        case _:
            return None
