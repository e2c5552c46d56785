"""SourceLine: one source as the router uses it — its client, endpoints and gates, its clock, budget and symbols."""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from db import state
from db.engine import reading, writing
from db.errors import DatabaseProblem
from db.retrying import retried
from db.series import source_clock
from fetcher.clients.base import CandleRequest, Market
from fetcher.clients.http import HttpRecord
from fetcher.model import DAY
from fetcher.resilience.failing import Failing
from fetcher.resilience.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from threading import Event

    from sqlalchemy import Engine

    from fetcher.clients.base import Answer, BaseAPIClient, Endpoint
    from fetcher.clock import Clock, ServerClock
    from fetcher.errors import RateLimited
    from fetcher.model import Series, Timeframe
    from fetcher.resilience.budget import Budget, Unlimited
    from fetcher.resilience.gate import Gate
    from fetcher.resilience.health import Health
    from fetcher.resilience.turns import Turn
    from fetcher.wire import WirePage

_SYMBOLS_AGE_MS = DAY
_ASK_AGAIN_SECONDS = 60.0  # after a time endpoint or a symbol list failed


class SourceLine:
    """Everything that belongs to one source in this process; shared by all threads."""

    def __init__(
        self,
        client: BaseAPIClient,
        gates: Mapping[Endpoint, Gate],
        budgets: Mapping[str, Budget | Unlimited],
        server: ServerClock,
        health: Health,
        engine: Engine,
        clock: Clock,
        symbols: Mapping[str, str],
    ) -> None:
        self.client = client
        self.source = client.source
        self.budgets = budgets  # by pool
        self.server = server
        self.health = health
        self._gates = gates
        self._engine = engine
        self._clock = clock
        self._symbols = symbols
        self.turns = Turns(gates.values(), budgets, engine, clock)
        self.failing = Failing(clock)
        self._by_key = {endpoint.key: endpoint for endpoint in gates}
        self._lock = Lock()
        self._clock_lock = Lock()
        self._markets_lock = Lock()  # held while the list is asked for, so that it is asked for once
        self._clock_asked: float | None = None
        self._markets: list[Market] | None = None
        self._markets_ms = 0
        self._markets_again = 0.0
        self._proven_ms: int | None = None

    def behind(self, gates: Mapping[Endpoint, Gate]) -> SourceLine:
        """The same source, with the same budgets and clock, asked at these gates."""
        return SourceLine(
            self.client, gates, self.budgets, self.server, self.health, self._engine, self._clock, self._symbols
        )

    def has_others(self, tried: Collection[Endpoint], *, without_pool: str | None = None) -> bool:
        """Whether there are more ways in than those that were tried, of other pools than `without_pool`."""
        return any(each not in tried and each.pool != without_pool for each in self._gates)

    def admit(
        self, cost: int, stop: Event, avoid: Collection[Endpoint] = (), *, vital: bool = True
    ) -> tuple[Endpoint, Turn]:
        """Whose turn it is, as Turns.admit says; those to `avoid` have just failed. Follow with `turns.ended`."""
        turn = self.turns.admit(cost, stop, [endpoint.key for endpoint in avoid], vital=vital)
        return self._by_key[turn.gate.endpoint], turn

    def candles(
        self,
        endpoint: Endpoint,
        market_id: str,
        timeframe: Timeframe,
        start: int | None,
        end: int | None,
        limit: int | None,
    ) -> Answer[WirePage]:
        """One request for candles of a market by the source's own id."""
        return self.client.candles(
            endpoint, CandleRequest(market_id, timeframe, start, end, limit, self.server.guess_ms())
        )

    def oldest(self, series: Series) -> int:
        """The oldest open time (ms UTC) that it serves now of a series; 0 where it serves all.

        One slot later than what it has now: before the question arrives there, its oldest candle may have gone.
        """
        able, name, grid = self.client.capabilities, series.timeframe.name, series.grid
        reach, since = able.look_back.get(name), able.since.get(name)
        first = 0 if since is None else grid.ceil(since)
        return first if reach is None else max(first, grid.next(grid.next(self.server.guess_ms() - reach)))

    def _answers_asides(self) -> bool:
        """Whether anything but candles may be asked now: what failed is asked for those first."""
        return any(gate.refusal(vital=False) is None for gate in self._gates.values())

    def rests_until(self) -> int:
        """When the first of its endpoints may be asked again, ms UTC; in the past when one may now."""
        return min(gate.rests_until() for gate in self._gates.values())

    def rest(self, gate: Gate, error: RateLimited) -> None:
        """Write down that an endpoint, or all of them, must rest; no thread of this process overlooks it."""
        gate.rest(error)
        for each in self._gates.values():
            each.look_again()

    def close(self) -> None:
        """Close every connection, and hand back what weight was reserved and not spent."""
        self.client.close()
        with suppress(DatabaseProblem):  # whoever lost it has told, and a window is over soon
            for budget in self.budgets.values():
                budget.close()

    # the source's clock

    def claim_clock_reading(self) -> bool:
        """Whether the caller should read the time endpoint now; others wait here until it is done."""
        if self.server.is_fresh() or not self.client.capabilities.time_cost or not self._answers_asides():
            return False
        if not self._clock_lock.acquire(blocking=self.server.now_ms() is None):
            return False  # somebody is asking; until then the older reading serves
        recent = self._clock_asked is not None and self._clock.elapsed() - self._clock_asked < _ASK_AGAIN_SECONDS
        if self.server.is_fresh() or recent:
            self._clock_lock.release()
            return False
        return True

    def clock_reading_done(self) -> None:
        """Let the others go on, whether the reading came or not."""
        self._clock_asked = self._clock.elapsed()
        self._clock_lock.release()

    def doubt_clock(self) -> None:
        """Have the source's clock read anew before anything else is asked."""
        self.server.doubt()
        self._clock_asked = None

    def learn_clock(self, server_ms: int, record: HttpRecord) -> None:
        """Take the time endpoint's word, unless its own Date header contradicts it."""
        dated = self.server.dated_ms(record.headers.get("Date"))
        self.server.learn(server_ms if dated is None else min(server_ms, dated + 999))

    def proven_ms(self, record: HttpRecord, as_of_ms: int | None = None) -> int | None:
        """The source's clock (ms UTC) proven by an answer, else the newest that any run has proven.

        An answer that was kept for a while, or that names the time up to which it knows (`as_of_ms`), proves no more.
        """
        proven = self.server.proven_ms(record.sent_at, record.headers.get("Date"))
        if proven is not None:
            proven = min(proven - self.client.answer_age_ms, proven if as_of_ms is None else as_of_ms)
        with self._lock:
            if proven is None:
                return self._last_proven()
            if self._proven_ms is None or proven > self._proven_ms:
                self._proven_ms = proven
            return proven

    @retried
    def _last_proven(self) -> int | None:
        if self._proven_ms is None:
            with reading(self._engine) as connection:
                known = source_clock(connection, self.source)
            self._proven_ms = None if known is None else known.clock_ms
        return self._proven_ms

    @property
    def newest_proven_ms(self) -> int | None:
        """The newest clock proven by this process, to be kept for runs that find none."""
        return self._proven_ms

    # the source's markets

    def market_id(self, symbol: str, ask: Callable[[], object]) -> str:
        """The source's own id of a symbol: configured, listed, or made by its rule while the list cannot be had."""
        configured = self._symbols.get(symbol)
        if configured is not None:
            return self.client.resolve_configured(symbol, configured)
        return self.client.resolve(symbol, self._listed(ask))

    def trades(self, symbol: str, ask: Callable[[], object]) -> bool:
        """Whether a market still trades by the source's list; True while that cannot be had."""
        listed = self._listed(ask)
        if listed is None:
            return True
        own = self.market_id(symbol, ask)
        return any(market.trading for market in listed if market.id == own)

    def looks_up(self, symbol: str) -> bool:
        """Whether its id of a symbol is looked up in its list, which may be dear, rather than configured."""
        return symbol not in self._symbols

    def load_markets(self, ask: Callable[[], object]) -> None:
        """Have the source's list of markets ready, where it has one."""
        self._listed(ask)

    def _listed(self, ask: Callable[[], object]) -> list[Market] | None:
        """Every market of the source, asked for at most once a day and kept in the database; None without any list."""
        if not self.client.capabilities.symbols_cost:
            return None
        with self._markets_lock:
            now = self._clock.now_ms()
            due = abs(now - self._markets_ms) > _SYMBOLS_AGE_MS and self._clock.elapsed() >= self._markets_again
            if due and (self._markets_ms == 0 or self._answers_asides()):
                self._load_markets(now, ask)
            return self._markets

    def _load_markets(self, now: int, ask: Callable[[], object]) -> None:
        key = f"symbols:{self.source}"
        cached = self._kept(key)
        if cached is not None:
            self._markets, self._markets_ms = msgspec.json.decode(cached[0], type=list[Market]), cached[1]
            if abs(now - cached[1]) <= _SYMBOLS_AGE_MS:
                return
        listed = ask()
        if not isinstance(listed, list):
            self._markets_again = self._clock.elapsed() + _ASK_AGAIN_SECONDS
            return
        self._keep(key, msgspec.json.encode(listed).decode(), now)
        self._markets, self._markets_ms = listed, now

    @retried
    def _kept(self, key: str) -> tuple[str, int] | None:
        with reading(self._engine) as connection:
            return state.cache_get(connection, key)

    @retried
    def _keep(self, key: str, text: str, now: int) -> None:
        with writing(self._engine) as connection:
            state.cache_put(connection, key, text, now)

    # what answers tell

    def note_answer(self, endpoint: Endpoint, record: HttpRecord | object) -> float:
        """Count in what an answer says of its pool's used weight; returns the seconds it took (0 without an answer)."""
        if not isinstance(record, HttpRecord):
            return 0.0
        used, budget = self.client.used_weight(record), self.budgets[endpoint.pool]
        if used is not None:
            budget.saw(used, record.sent_at)
        if record.requests > 1:
            budget.owe(record.requests - 1)  # which nobody asked for beforehand
        return record.seconds
