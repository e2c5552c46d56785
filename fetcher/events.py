"""Facts that leave the core as frozen values; logs, progress, metrics and alerts listen, and the core knows none."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct


class Attempt(Struct, frozen=True):
    """One request, as it went: `outcome` is `ok` or the name of the error; at_ms is ms UTC.

    `vital`: it was about candles. `asked` is False where the client itself knew the answer, and sent nothing.
    """

    source: str
    endpoint: str
    purpose: str
    outcome: str
    message: str
    at_ms: int
    seconds: float
    vital: bool = True
    asked: bool = True


class Planned(Struct, frozen=True):
    """A plan was made: how many jobs it queued, and the slots that these are to bring or to ask about again."""

    jobs: int
    slots: int


class PageStored(Struct, frozen=True):
    """A page was committed: rows received and kept, rows refused, and windows (ms UTC) proven absent."""

    series: str
    source: str
    rows: int
    refused: int
    absent: tuple[tuple[int, int], ...]


class TailRead(Struct, frozen=True):
    """A page at the newest edge of a series was committed: its candles open from `first_ms` to `last_ms` (None: none).

    `whole`: with none missing between. `newest_ms` is the open time of the newest candle that was closed by the
    source's clock when it was asked, `since_close_ms` after that close; None where that was not asked for. ms UTC.
    """

    series: str
    source: str
    first_ms: int | None
    last_ms: int | None
    whole: bool
    newest_ms: int | None
    since_close_ms: int | None

    def holds(self, open_ms: int) -> bool:
        """Whether the candle that opened then came."""
        if self.first_ms is None or self.last_ms is None:
            return False
        inside = self.first_ms < open_ms < self.last_ms
        return open_ms in {self.first_ms, self.last_ms} or (inside and self.whole)


class JobEnded(Struct, frozen=True):
    """A job left this process: `status` is done, queued (again, with `error`) or failed; its window is in ms UTC."""

    job_id: int
    kind: str
    series: str
    start_ms: int
    end_ms: int
    status: str
    error: str | None


class CrossChecked(Struct, frozen=True):
    """Newest candles of a series were compared with those of `source`, another one than theirs.

    `kinds` names what it disagrees about (fetcher/crosscheck.py), or is `not_compared`; empty where both agree.
    """

    series: str
    source: str
    kinds: tuple[str, ...]
    message: str


class Restated(Struct, frozen=True):
    """A source gave other values for closed candles of its own that were stored: how many, and between which opens."""

    series: str
    source: str
    rows: int
    first_ms: int
    last_ms: int


class Pruned(Struct, frozen=True):
    """Rows that nothing depended on any more are gone: how many of which table."""

    tables: tuple[tuple[str, int], ...]


STEP = "daemon"  # the kind of run that a step of the daemon is


class RunBegan(Struct, frozen=True):
    """A run of this process began; `log_id` marks its lines in the log, and its row in the table `runs`."""

    log_id: str
    kind: str


class SeriesLeft(Struct, frozen=True):
    """What a run left of a series: slots missing, jobs waiting and given up, and their last error."""

    series: str
    missing: int
    waiting: int
    failed: int
    error: str | None


class RunEnded(Struct, frozen=True):
    """A run of this process ended, in `seconds` of the program's clock; `series` is empty where it broke off."""

    kind: str
    outcome: str
    exit_code: int
    missing: int | None
    seconds: float
    series: tuple[SeriesLeft, ...]


Fact = Attempt | Planned | PageStored | TailRead | JobEnded | CrossChecked | Restated | Pruned | RunBegan | RunEnded
Listener = Callable[[Fact], None]


class Hooks:
    """Tells every listener each fact, in the thread where it happened; listeners are quick and raise nothing."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def add(self, listener: Listener) -> None:
        """Have `listener` told from now on."""
        self._listeners.append(listener)

    def tell(self, fact: Fact) -> None:
        """Pass a fact on."""
        for listener in self._listeners:
            listener(fact)
