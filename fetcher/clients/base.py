"""What every client looks like from outside, and the one way from a question to an answer or a sorted error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from msgspec import Struct, field

from fetcher.clients.http import longest_answer
from fetcher.clients.ways import DIRECT, Way, without_password
from fetcher.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from fetcher.clients.http import HttpRecord
    from fetcher.clock import Clock
    from fetcher.model import Timeframe
    from fetcher.wire import WirePage

T = TypeVar("T")


class Endpoint(Struct, frozen=True):
    """One way in to a source: a mirror, by a proxy, with a key; endpoints of the same `pool` share one budget.

    `key` names it in the database and to the user (`binance https://api.binance.com via 10.0.0.7:3128`) and holds no
    secret.
    """

    key: str
    source: str
    base_url: str
    pool: str
    way: Way = DIRECT


def endpoints_of(source: str, sites: Mapping[str, str], by: Sequence[Way] = (DIRECT,)) -> tuple[Endpoint, ...]:
    """Each site (its name, which shows no password, and its base URL) by each way; budgets are the ways'."""
    return tuple(
        Endpoint(f"{source} {without_password(name)}{way.name}", source, base_url, f"{source}{way.pool}", way)
        for way in by
        for name, base_url in sites.items()
    )


class Market(Struct, frozen=True):
    """One market as the source lists it: its own id (`BTCUSDT`), our symbol (`BTC/USDT`), whether it trades now."""

    id: str
    symbol: str
    trading: bool


class Answer(Struct, Generic[T], frozen=True):
    """What was asked for, with the exchange of messages that brought it."""

    value: T
    record: HttpRecord


class Capabilities(Struct, frozen=True):
    """What a source can do and what it costs; the router asks only those that can.

    Costs are in the source's own weight, of which a pool may use `weight_per_minute`, counted in spans of `budget_ms`
    (a source that counts by the second must not be asked a minute's worth at once). `time_cost` or `symbols_cost` 0
    means that it has no such question. `look_back` is how far back it serves a timeframe, `max_span` the longest
    window of one request, both in ms (not named: to the listing, and as many rows as a request holds). `has_volume`:
    whether rows carry a base volume; `omits_empty`: whether candles without trades are left out of its answers;
    `answers_open`: whether a question with an open side finds the nearest candle, however far. `since` is the first
    open time that it ever serves of a timeframe, ms UTC (not named: the listing).
    """

    timeframes: frozenset[str]
    rows_per_request: int
    candle_cost: int
    time_cost: int
    symbols_cost: int
    weight_per_minute: int
    budget_ms: int = 60_000
    look_back: Mapping[str, int] = field(default_factory=dict)
    since: Mapping[str, int] = field(default_factory=dict)
    max_span: Mapping[str, int] = field(default_factory=dict)
    has_volume: bool = True
    omits_empty: bool = False
    answers_open: bool = False


class CandleRequest(Struct, frozen=True):
    """Candles of one market whose open time lies in `[start, end)`, ms UTC, at most `limit`, ascending.

    An open `start` or `end` (None) serves to find the listing and a stored neighbour: without `start` the newest rows
    before `end` come, without `end` the oldest from `start` on. `now_ms` is the source's clock as far as it is known,
    by which its reach is judged; None: ours.
    """

    market_id: str
    timeframe: Timeframe
    start: int | None = None
    end: int | None = None
    limit: int | None = None
    now_ms: int | None = None


class Question(Struct, Generic[T], frozen=True):
    """One GET and the pure function that reads its body; `parse` raises BadPayload for any other body."""

    path: str
    parse: Callable[[bytes], T]
    params: Mapping[str, str | int] = field(default_factory=dict)


class BaseAPIClient(ABC):
    """One route to one source. Each question costs one HTTP request and raises subclasses of SourceError only.

    A raised error carries the HttpRecord in `.record` when an answer came. Retries, budget, breaker: the router's.
    """

    source: str
    route: str
    capabilities: Capabilities
    endpoints: tuple[Endpoint, ...]
    unusable: str | None = None  # why nobody can be asked before a person mends something, where that is so
    timeout: tuple[float, float]  # real seconds to connect, and for each wait for more of an answer
    answer_age_ms: int = 0  # how old an answer may be when it arrives: what its source keeps and serves again

    @property
    def longest_request(self) -> float:
        """How many real seconds one request may last."""
        return longest_answer(self.timeout)

    @classmethod
    @abstractmethod
    def configured(cls, source: str, settings: Any, clock: Clock) -> Self:  # noqa: ANN401 (its own section's model)
        """Make the client that a section of `sources:` asks for; `source` is the section's name."""

    @classmethod
    def offers(cls, settings: Any) -> frozenset[str] | None:  # noqa: ANN401 (its own section's model)
        """The timeframes that a source so configured has; None where only its library can tell."""
        del settings
        return None

    def candles(self, endpoint: Endpoint, request: CandleRequest) -> Answer[WirePage]:
        """A page of candles, decoded and not yet judged."""
        return self._ask(endpoint, self._candles(request))

    def server_time(self, endpoint: Endpoint) -> Answer[int]:
        """The source's clock, ms UTC."""
        return self._ask(endpoint, self._server_time())

    def symbols(self, endpoint: Endpoint) -> Answer[list[Market]]:
        """Every market that the source lists."""
        return self._ask(endpoint, self._symbols())

    def market_id(self, symbol: str) -> str:
        """The source's id of a symbol by its usual rule, for while its list cannot be had: `BTCUSDT` of `BTC/USDT`.

        CannotServe where it has none: nobody is asked, and the next source is.
        """
        return symbol.replace("/", "")

    def resolve_configured(self, symbol: str, configured: str) -> str:
        """The source's id of a symbol that the configuration maps to `configured`."""
        del symbol
        return configured

    def resolve(self, symbol: str, markets: Collection[Market] | None) -> str:
        """The source's id of a symbol, given its list (None while that cannot be had).

        Raises UnknownSymbol where the list shows that a person has to choose.
        """
        listed = (market.id for market in markets or () if market.symbol == symbol)
        return next(listed, None) or self.market_id(symbol)

    @abstractmethod
    def used_weight(self, record: HttpRecord) -> int | None:
        """The weight that the source says is used up in its current minute; None where it does not say."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection."""

    @abstractmethod
    def _candles(self, request: CandleRequest) -> Question[WirePage]: ...

    @abstractmethod
    def _server_time(self) -> Question[int]: ...

    @abstractmethod
    def _symbols(self) -> Question[list[Market]]: ...

    @abstractmethod
    def _send(self, endpoint: Endpoint, path: str, params: Mapping[str, str | int]) -> HttpRecord:
        """Do the request; RetryableError when no whole answer came."""

    @abstractmethod
    def _classify(self, record: HttpRecord) -> SourceError | None:
        """What the status and body mean; None for an answer worth reading."""

    def _ask(self, endpoint: Endpoint, question: Question[T]) -> Answer[T]:
        record = self._send(endpoint, question.path, question.params)
        try:
            refusal = self._classify(record)
            if refusal is not None:
                raise refusal
            return Answer(question.parse(record.body), record)
        except SourceError as error:
            error.record = record
            raise
