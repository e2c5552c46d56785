"""One question to one source: through the gate, again where it is worth it, over its endpoints, accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from fetcher.errors import (
    AuthenticationFailed,
    BrokenAddress,
    CannotServe,
    RateLimited,
    RetryableError,
    SourceDown,
    SourceError,
    Stopped,
    UnknownSymbol,
)
from fetcher.events import Attempt
from fetcher.resilience.retry import TRIES, pauses

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from fetcher.clients.base import Answer, Endpoint
    from fetcher.clients.http import HttpRecord
    from fetcher.clock import Clock
    from fetcher.line import SourceLine
    from fetcher.resilience.turns import Turn

T = TypeVar("T")

LONGEST_PAUSE = 30.0  # seconds that a request waits where it is; a longer Retry-After sends its job back to the queue


class Effort(Struct, frozen=True):
    """How hard a question is tried; `hurried` where others can be asked, so that a failing source is soon left alone.

    A question that is not `vital` (time, symbols) says nothing of the candles behind the same door: whatever comes of
    it, the breaker does not hear.
    """

    tries: int = TRIES
    vital: bool = True
    hurried: bool = False


USUAL = Effort()


class Attempts:
    """Sends questions for the router; every attempt leaves as an event."""

    def __init__(self, clock: Clock, stop: Event, tell: Callable[[Attempt], None]) -> None:
        self._clock = clock
        self._stop = stop
        self._tell = tell

    def ask(
        self,
        line: SourceLine,
        cost: int,
        purpose: str,
        send: Callable[[Endpoint], Answer[T]],
        effort: Effort = USUAL,
    ) -> Answer[T]:
        """Send one request through the gate, trying again soon on what is worth it, over the source's endpoints.

        Raises SourceDown when the tries are used up or every endpoint rests, RateLimited when the source asks for a
        rest, CannotServe or AuthenticationFailed as they come, Stopped when the program ends meanwhile.
        """
        waits = pauses()
        failed: list[Endpoint] = []
        last: SourceError | None = None
        for attempt in range(effort.tries):
            tired = line.failing.enough(vital=effort.vital) if effort.hurried else None
            if tired is not None:
                last = last or SourceDown(f"{line.source} is left alone after {tired}", line.failing.forgotten_ms())
                break
            asked = 0.0 if line.has_others(failed) else _asked_pause(last)  # others were not asked for a pause
            if attempt and self._clock.wait(self._stop, max(next(waits), asked)):
                break
            endpoint, turn = line.admit(cost, self._stop, failed, vital=effort.vital)
            try:
                return self._try(line, (endpoint, turn), purpose, send, vital=effort.vital)
            except SourceError as error:
                failed.append(endpoint)
                if not self._worth_another_try(line, failed, error):
                    raise
                last = error
            finally:
                line.turns.ended(turn)
        if self._stop.is_set():
            raise Stopped("stopped while asking " + line.source)
        if last is not None and not isinstance(last, RetryableError):
            raise last
        raise SourceDown(f"{last}" + (f" (tried {len(failed)} times)" if len(failed) > 1 else "")) from last

    def _worth_another_try(self, line: SourceLine, failed: list[Endpoint], error: SourceError) -> bool:
        """Whether to ask again here and now, the last of `failed` having failed.

        Raises SourceDown where the last one left wants a longer pause than a request waits.
        """
        match error:
            case RetryableError():
                asked = _asked_pause(error)
                if asked > LONGEST_PAUSE and not line.has_others(failed):
                    raise SourceDown(str(error), self._until(asked)) from error
                return True
            case UnknownSymbol():
                return False
            case CannotServe() if _cannot_anywhere(error):
                return False
            case CannotServe() | AuthenticationFailed():  # it may be no mirror at all, or the key of this way alone
                return line.has_others(failed)
            case RateLimited():  # a host may turn us away that another does not, an address or key have its own limit
                return line.has_others(failed, without_pool=failed[-1].pool if error.whole_pool else None)
            case _:
                return False

    def _try(
        self,
        line: SourceLine,
        way_in: tuple[Endpoint, Turn],
        purpose: str,
        send: Callable[[Endpoint], Answer[T]],
        *,
        vital: bool,
    ) -> Answer[T]:
        (endpoint, turn), began = way_in, self._clock.elapsed()
        try:
            answer = send(endpoint)
        except SourceError as error:
            if isinstance(error, RetryableError) and (vital or error.record is None):
                line.failing.failed(began, str(error), vital=vital)
            self._report(line, turn, error, vital=vital)
            self._account(line, endpoint, purpose, error, error.record, vital=vital)
            raise
        if vital:
            self._well(line, turn)
            line.turns.learn(turn, good=True, seconds=answer.record.seconds)
        else:
            turn.gate.undecided(probe=turn.probe)
        self._account(line, endpoint, purpose, None, answer.record, vital=vital)
        return answer

    def _report(self, line: SourceLine, turn: Turn, error: SourceError, *, vital: bool) -> None:
        """Tell the gate, and whoever deals turns, what a question brought instead of an answer."""
        gate, probe = turn.gate, turn.probe
        rest = self._rest_of(error)
        if rest is not None:
            line.rest(gate, rest)
        if vital and isinstance(error, RetryableError):
            gate.failed(str(error), probe=probe)
        elif vital and isinstance(error, CannotServe) and error.record is not None:  # a wrong question, answered well
            self._well(line, turn)
        else:
            gate.undecided(probe=probe)
        if _asked_nobody(error):
            line.turns.refund(turn)
        same_everywhere = isinstance(error, UnknownSymbol | RateLimited) or _cannot_anywhere(error)
        if vital and not same_everywhere:
            line.turns.learn(turn, good=False)

    @staticmethod
    def _well(line: SourceLine, turn: Turn) -> None:
        turn.gate.succeeded(probe=turn.probe)
        line.failing.over()

    def _rest_of(self, error: SourceError) -> RateLimited | None:
        """The rest that an answer asks for, by whatever status; the pause of a 503 is its host's alone."""
        if isinstance(error, RateLimited):
            return error
        asked = _asked_pause(error)
        return RateLimited(str(error), self._until(asked), whole_pool=False) if asked else None

    def _until(self, seconds: float) -> int:
        return self._clock.now_ms() + int(seconds * 1000)

    def _account(
        self, line: SourceLine, endpoint: Endpoint, purpose: str, error: SourceError | None,
        record: HttpRecord | object, *, vital: bool,
    ) -> None:  # fmt: skip
        now = self._clock.now_ms()
        seconds = line.note_answer(endpoint, record)
        if error is None or (isinstance(error, CannotServe) and record is not None):
            line.health.answered(endpoint.key, seconds, now)  # the question was wrong, the answer was well
        elif not isinstance(error, CannotServe) and not _asked_nobody(error):
            line.health.failed(endpoint.key, str(error), now)
        outcome = "ok" if error is None else type(error).__name__
        asked = error is None or not _asked_nobody(error)
        self._tell(Attempt(line.source, endpoint.key, purpose, outcome, str(error or ""), now, seconds, vital, asked))


def _cannot_anywhere(error: SourceError) -> bool:
    """Whether the client itself knew that the source cannot serve the question, wherever it is asked."""
    return isinstance(error, CannotServe) and _asked_nobody(error)


def _asked_nobody(error: SourceError) -> bool:
    """Whether the client itself knew the answer: a question that cannot be served, or a key that is not there."""
    known = isinstance(error, CannotServe | AuthenticationFailed) and not isinstance(error, BrokenAddress)
    return known and error.record is None


def _asked_pause(error: SourceError | None) -> float:
    return (error.retry_after or 0.0) if isinstance(error, RetryableError) else 0.0
