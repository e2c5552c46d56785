"""What stands before each request to an endpoint: stop-until, breaker, budget; and where its outcome is reported."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from msgspec.structs import replace

from db import breakers, endpoints
from db.engine import reading, writing
from db.retrying import retried
from fetcher.clock import format_utc
from fetcher.errors import RateLimited, SourceDown
from fetcher.model import DAY, MINUTE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from db.endpoints import EndpointRow
    from fetcher.clock import Clock

_FRESH_SECONDS = 0.05  # how long one look at the database serves all threads; so late comes what others learnt
_PROBE_LOOK_MS = 2_000
LONGEST_REST_MS = 3 * DAY  # Binance's longest ban; a longer rest was written by a clock that was ahead
SKEW_MS = 10 * MINUTE  # clocks of several machines may differ by so much; beyond it one was plainly wrong
REST_MS = 60_000  # of an open breaker, before it is probed
_PROBE_SLACK_MS = 5_000  # for what a request does besides: names to resolve, threads that wait for their turn


class Outlook:
    """What the database says of all endpoints, looked at by many threads at once and many gates."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = Lock()
        self._seen: tuple[float, dict[str, EndpointRow]] | None = None
        self._rests: dict[str, RateLimited] = {}  # on their way into the database, or kept from it

    def row(self, name: str) -> EndpointRow:
        """An endpoint or pool as of a moment ago."""
        with self._lock:
            seen = self._seen
            if seen is None or self._clock.elapsed() - seen[0] > _FRESH_SECONDS:
                rows = self._read()
                self._seen = seen = (self._clock.elapsed(), rows)
            row, rest = seen[1].get(name), self._rests.get(name)
        if row is None:
            raise LookupError(f"endpoint {name} has no row; app.build makes one for each")
        if rest is None or (row.stop_until or 0) >= rest.until_ms:
            return row
        return replace(row, stop_until=rest.until_ms, stop_reason=str(rest))

    @retried
    def _read(self) -> dict[str, EndpointRow]:
        with reading(self._engine) as connection:
            return {row.endpoint: row for row in endpoints.read_all(connection)}

    @contextmanager
    def resting(self, name: str, error: RateLimited) -> Iterator[RateLimited]:
        """Let a rest hold for all threads at once, while the longest one known, which this gives, is written down.

        That may wait for other writers. Where it fails the rest holds in this process all the same, until its time.
        """
        with self._lock:
            known = self._rests.get(name)
            held = error if known is None or known.until_ms < error.until_ms else known
            self._rests[name] = held
        yield held
        with self._lock:
            if self._rests.get(name) is held:
                del self._rests[name]
            self._seen = None

    def look_again(self) -> None:
        """Forget what was last seen of the database, also what is being read just now."""
        with self._lock:
            self._seen = None


class Gate:
    """One endpoint's admission: rests asked for by the exchange and breaker states hold across processes.

    `longest` is how many real seconds one request may last: for so long a probe, which may have been killed, keeps
    others away.
    """

    def __init__(
        self, engine: Engine, clock: Clock, endpoint: str, pool: str, owner: str, longest: float,
        outlook: Outlook | None = None,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._clock = clock
        self.endpoint = endpoint
        self.pool = pool
        self._owner = owner
        self._probe_ms = int(clock.stretched(longest) * 1000) + _PROBE_SLACK_MS
        self._outlook = outlook or Outlook(engine, clock)

    def refusal(self, *, vital: bool = True) -> RateLimited | SourceDown | None:
        """Why no request is let through now; None where one may be. Claims nothing.

        Only a `vital` question, for candles, probes a breaker that is not closed: others say nothing of those.
        """
        row, pool = self._look()
        refused = self._judged(row, pool)
        if refused is None and not vital and row.breaker != breakers.CLOSED:
            soon = self._clock.now_ms() + _PROBE_LOOK_MS
            return SourceDown(f"{self.endpoint} is asked for candles first, after failing: {row.last_error}", soon)
        return refused

    def admit(self) -> bool:
        """Let a request through, or raise RateLimited or SourceDown; True for a half-open breaker's one probe."""
        row = self._admissible()
        if row.breaker == breakers.CLOSED:
            return False
        claimed = self._claim_probe(row.opened_ms)
        self.look_again()
        if claimed:
            return True
        row = self._admissible()  # another was first, and may have its answer by now
        if row.breaker == breakers.CLOSED:
            return False
        soon = self._clock.now_ms() + _PROBE_LOOK_MS
        raise SourceDown(f"{self.endpoint} is being probed after failing: {row.last_error}", soon)

    def rests_until(self) -> int:
        """When this endpoint may be asked again, ms UTC; in the past when it may now. Claims nothing."""
        row, pool = self._look()
        now = self._clock.now_ms()
        stops = [place.stop_until or 0 for place in (pool, row)]
        opened = (row.opened_ms or 0) + REST_MS if row.breaker == breakers.OPEN else 0
        asked = [ms for ms in stops if ms <= now + LONGEST_REST_MS]
        return max(*asked, opened if opened <= now + REST_MS + SKEW_MS else 0, 0)

    def succeeded(self, *, probe: bool = False) -> None:
        """Report an answered request: ends a row of failures, and a probe's success closes the breaker."""
        row, _ = self._look()
        if row.breaker != breakers.CLOSED or row.failures:
            self._report(succeeded=True, probe=probe)

    def failed(self, error: str, *, probe: bool = False) -> None:
        """Report a failed request and why: the tenth in a row opens the breaker, and so does a probe."""
        self._report(succeeded=False, probe=probe, error=error)

    def undecided(self, *, probe: bool) -> None:
        """Report an outcome that says nothing of the endpoint's health (rate limit, refused key): frees the probe."""
        if probe:
            self._release_probe()
            self.look_again()

    def rest(self, error: RateLimited) -> None:
        """Stop this endpoint, or everything that shares its address, until the error's time."""
        name = self.pool if error.whole_pool else self.endpoint
        with self._outlook.resting(name, error) as held:
            self._stop(name, held)

    def look_again(self) -> None:
        """Forget what was last seen of the database."""
        self._outlook.look_again()

    def state(self) -> tuple[EndpointRow, EndpointRow]:
        """The endpoint and its pool as the database had them a moment ago."""
        return self._look()

    @retried
    def _claim_probe(self, opened_ms: int | None) -> bool:
        now = self._clock.now_ms()
        with writing(self._engine) as connection:
            return breakers.claim_probe(connection, self.endpoint, self._owner, now, now + self._probe_ms, opened_ms)

    @retried
    def _release_probe(self) -> None:
        with writing(self._engine) as connection:
            breakers.release_probe(connection, self.endpoint, self._owner)

    @retried
    def _stop(self, name: str, error: RateLimited) -> None:
        with writing(self._engine) as connection:
            endpoints.stop(connection, name, error.until_ms, str(error))

    def _admissible(self) -> EndpointRow:
        """The endpoint as it is looked at, where a request may be let through; else why not, raised."""
        row, pool = self._look()
        refused = self._judged(row, pool)
        if refused is not None:
            raise refused
        return row

    def _judged(self, row: EndpointRow, pool: EndpointRow) -> RateLimited | SourceDown | None:
        now = self._clock.now_ms()
        for place in (pool, row):
            if place.stop_until is not None and now < place.stop_until <= now + LONGEST_REST_MS:
                return RateLimited(
                    f"{self.endpoint} rests until {format_utc(place.stop_until)}: {place.stop_reason}",
                    place.stop_until,
                    whole_pool=place is pool,
                )
        if row.breaker == breakers.CLOSED:
            return None
        if row.breaker == breakers.OPEN:
            resting = (row.opened_ms or 0) + REST_MS
            if resting > now + REST_MS + SKEW_MS:  # opened by a clock that was ahead
                resting = now
        else:  # somebody's probe is on its way: its outcome is a matter of seconds
            resting = min(row.probe_until or 0, now + _PROBE_LOOK_MS)
        if resting > now:
            return SourceDown(
                f"{self.endpoint} rests until {format_utc(resting)} after failing: {row.last_error}", resting
            )
        return None

    @retried
    def _report(self, *, succeeded: bool, probe: bool, error: str | None = None) -> None:
        from fetcher.resilience.breaker import BreakerState, after_outcome  # noqa: PLC0415 (a healthy run needs it not)

        now = self._clock.now_ms()
        with writing(self._engine) as connection:
            row = _locked(connection, self.endpoint)
            if row.breaker != breakers.HALF_OPEN or (probe and row.probe_owner == self._owner):
                before = BreakerState(row.breaker, row.failures, row.successes, row.opened_ms)
                after = after_outcome(before, now, succeeded=succeeded)
                breakers.set_breaker(
                    connection, self.endpoint, after.state, after.failures, after.successes, after.opened_ms
                )  # else it was sent before somebody's probe, which alone decides
            if error is not None:
                breakers.note_error(connection, self.endpoint, error, now)
        self.look_again()

    def _look(self) -> tuple[EndpointRow, EndpointRow]:
        return self._outlook.row(self.endpoint), self._outlook.row(self.pool)


def _locked(connection: Connection, endpoint: str) -> EndpointRow:
    """The row as nobody else changes it before this transaction ends: every report counts."""
    row = endpoints.read(connection, endpoint, for_update=True)
    if row is None:
        raise LookupError(f"endpoint {endpoint} has no row; app.build makes one for each")
    return row
