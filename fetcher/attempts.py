"""One question to one source: through the gate, again where it is worth it, over its endpoints, accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

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
        *,
        tries: int = TRIES,
        vital: bool = True,
    ) -> Answer[T]:
        """Send one request through the gate, trying again soon on what is worth it, over the source's endpoints.

        Raises SourceDown when the tries are used up or every endpoint rests, RateLimited when the source asks for a
        rest, CannotServe or AuthenticationFailed as they come, Stopped when the program ends meanwhile.
        """
        waits = pauses()
        failed: list[Endpoint] = []
        last: SourceError | None = None
        for attempt in range(tries):
            asked = 0.0 if line.has_others(failed) else _asked_pause(last)  # others were not asked for a pause
            if attempt and self._clock.wait(self._stop, max(next(waits), asked)):
                break
            endpoint, turn = line.admit(cost, self._stop, failed)
            try:
                return self._try(line, (endpoint, turn), purpose, send, vital=vital)
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
        raise SourceDown(f"{last} (tried {tries} times)") from last

    def _worth_another_try(self, line: SourceLine, failed: list[Endpoint], error: SourceError) -> bool:
        """Whether to ask again here and now, the last of `failed` having failed.

        Raises SourceDown where the last one left wants a longer pause than a request waits.
        """
        match error:
            case RetryableError():
                asked = _asked_pause(error)
                if asked > LONGEST_PAUSE and not line.has_others(failed):
                    raise SourceDown(str(error), self._clock.now_ms() + int(asked * 1000)) from error
                return True
            case UnknownSymbol():
                return False
            case CannotServe() if _asked_nobody(error):
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
        endpoint, turn = way_in
        gate, probe = turn.gate, turn.probe
        try:
            answer = send(endpoint)
        except RetryableError as error:
            if vital or error.record is None:
                gate.failed(str(error), probe=probe)
                line.turns.learn(turn, good=False)
            else:  # a time or symbol question answered badly says nothing of the candles behind the same door
                gate.undecided(probe=probe)
            self._account(line, endpoint, purpose, error, error.record)
            raise
        except RateLimited as error:
            line.rest(gate, error)
            gate.undecided(probe=probe)
            self._account(line, endpoint, purpose, error, error.record)
            raise
        except SourceError as error:
            if isinstance(error, CannotServe) and error.record is not None:  # it answered, and well: a wrong question
                gate.succeeded(probe=probe)
            else:
                gate.undecided(probe=probe)
            if _asked_nobody(error):
                line.turns.refund(turn)
            elif not isinstance(error, UnknownSymbol):  # where the question was wrong, all look alike in the end
                line.turns.learn(turn, good=False)
            self._account(line, endpoint, purpose, error, error.record)
            raise
        gate.succeeded(probe=probe)
        line.turns.learn(turn, good=True, seconds=answer.record.seconds if vital else None)
        self._account(line, endpoint, purpose, None, answer.record)
        return answer

    def _account(
        self, line: SourceLine, endpoint: Endpoint, purpose: str, error: SourceError | None, record: HttpRecord | object
    ) -> None:
        now = self._clock.now_ms()
        seconds = line.note_answer(endpoint, record)
        if error is None or (isinstance(error, CannotServe) and record is not None):
            line.health.answered(endpoint.key, seconds, now)  # the question was wrong, the answer was well
        elif not isinstance(error, CannotServe):  # else nobody was asked
            line.health.failed(endpoint.key, str(error), now)
        outcome = "ok" if error is None else type(error).__name__
        self._tell(Attempt(line.source, endpoint.key, purpose, outcome, str(error or ""), now, seconds))


def _asked_nobody(error: SourceError) -> bool:
    """Whether the client itself knew that the source cannot serve the question, wherever it is asked."""
    return isinstance(error, CannotServe) and not isinstance(error, BrokenAddress) and error.record is None


def _asked_pause(error: SourceError | None) -> float:
    return (error.retry_after or 0.0) if isinstance(error, RetryableError) else 0.0
