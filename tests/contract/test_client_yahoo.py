"""The Yahoo client keeps to the contract, through the real yfinance, one question costing one request."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest

from fetcher.clients import yahoo_library
from fetcher.clients.base import BaseAPIClient, CandleRequest
from fetcher.clients.yahoo import YahooFinanceAPIClient
from fetcher.clock import Clock
from fetcher.config import YahooSource
from fetcher.errors import (
    AuthenticationFailed,
    BadPayload,
    CannotServe,
    RateLimited,
    RetryableError,
    UnknownSymbol,
)
from fetcher.model import DAY, HOUR, MINUTE, Timeframe
from tests.contract.client_contract import PATIENT, START, ClientContract
from tests.contract.wire import Reply, WireServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fetcher.errors import SourceError

NOW = START + 20 * HOUR
CHART = "/v8/finance/chart/BTC-USD"
CRUMB_REFUSED = b'{"finance":{"result":null,"error":{"code":"Unauthorized","description":"Invalid Crumb"}}}'
NOT_FOUND = (
    b'{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found, symbol may be delisted"}}}'
)
TOO_FAR = (
    b'{"chart":{"result":null,"error":{"code":"Unprocessable Entity","description":"5m data not available for '
    b'startTime=1 and endTime=2. The requested range must be within the last 60 days."}}}'
)


def clock(now: int = NOW) -> Clock:
    """A clock that stands where the tests' candles have just closed."""
    return Clock(now, speed=0.001)


def chart(start: int, count: int, step: int = MINUTE) -> bytes:
    """The answer of /v8/finance/chart with `count` candles from `start` (ms) on."""
    meta = {"currency": "USD", "symbol": "BTC-USD", "exchangeTimezoneName": "UTC"}
    if not count:
        return json.dumps(
            {"chart": {"result": [{"meta": meta, "indicators": {"quote": [{}]}}], "error": None}}
        ).encode()
    quote = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 5000}
    result = {
        "meta": meta,
        "timestamp": [(start + n * step) // 1000 for n in range(count)],
        "indicators": {"quote": [{name: [value] * count for name, value in quote.items()}]},
    }
    return json.dumps({"chart": {"result": [result], "error": None}}).encode()


class TestYahoo(ClientContract):
    """Yahoo by its chart."""

    market_id = "BTC-USD"

    def make(self, base_url: str, timeout: tuple[float, float]) -> BaseAPIClient:
        """A client of one endpoint."""
        return YahooFinanceAPIClient("yahoo", clock(), timeout, base_url=base_url)

    def candles_body(self, start: int, count: int) -> bytes:
        """The answer of /v8/finance/chart."""
        return chart(start, count)

    def time_body(self, ms: int) -> bytes:
        """It has no clock."""
        raise NotImplementedError(ms)

    def symbols_body(self, *symbols: str) -> bytes:
        """It lists no symbols."""
        raise NotImplementedError(symbols)

    def test_an_open_candle_is_passed_on(self, wire: WireServer, client: BaseAPIClient) -> None:
        """Only where the answer does not tell up to when it knows the market; else reading leaves live rows out."""
        wire.answer(Reply(body=chart(START, 3)))
        request = CandleRequest(self.market_id, Timeframe("1m"), START, START + 3 * MINUTE)
        assert len(client.candles(client.endpoints[0], request).value) == 3


@pytest.fixture(autouse=True)
def no_crumb() -> Iterator[None]:
    """The library's crumb and cookies last as long as the process: no test inherits another's."""
    yield
    library, switchboard = yahoo_library._load()
    held = library.data.YfData(session=switchboard)
    held._cookie, held._crumb, held._cookie_strategy = True, "", "basic"
    yahoo_library._crumb.tried_at = -math.inf
    switchboard.cookies.clear()


@pytest.fixture
def wire() -> Iterator[WireServer]:
    """A server that answers as told."""
    with WireServer() as server:
        yield server


@pytest.fixture
def make(wire: WireServer) -> Iterator[Callable[..., YahooFinanceAPIClient]]:
    """Makes clients of that server."""
    made: list[YahooFinanceAPIClient] = []

    def one(now: int = NOW) -> YahooFinanceAPIClient:
        made.append(YahooFinanceAPIClient("yahoo", clock(now), PATIENT, base_url=wire.url))
        return made[-1]

    yield one
    for client in made:
        client.close()


def minutes(count: int = 3) -> CandleRequest:
    """The question of most tests."""
    return CandleRequest("BTC-USD", Timeframe("1m"), START, START + count * MINUTE)


def test_the_chart_is_asked_in_seconds(wire: WireServer, make: Callable[..., YahooFinanceAPIClient]) -> None:
    """By yfinance, to our address, with the host that it meant and a browser's name; without a crumb."""
    wire.answer(Reply(body=chart(START, 3)))
    client = make()
    client.candles(client.endpoints[0], minutes())
    parts = urlsplit(wire.seen[0])
    sent = dict(parse_qsl(parts.query, keep_blank_values=True))
    assert parts.path == CHART
    assert (sent["period1"], sent["period2"], sent["interval"]) == ("1614556800", "1614556980", "1m")
    assert "crumb" not in sent
    assert wire.headers[0]["x-orig-host"] == "query2.finance.yahoo.com"
    assert wire.headers[0]["user-agent"].startswith("Mozilla/5.0")


def test_an_error_of_a_past_span_is_not_remembered(
    wire: WireServer, make: Callable[..., YahooFinanceAPIClient]
) -> None:
    """The library's cache keeps even errors for the life of the process; the next question must be asked again."""
    wire.answer(Reply(500, b"oops"), Reply(body=chart(START, 3)), Reply(body=chart(START, 2)))
    client = make()
    with pytest.raises(RetryableError):
        client.candles(client.endpoints[0], minutes())
    assert [len(client.candles(client.endpoints[0], minutes()).value) for _ in range(2)] == [3, 2]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(404, NOT_FOUND), UnknownSymbol),
        (Reply(200, NOT_FOUND), UnknownSymbol),
        (Reply(422, TOO_FAR), CannotServe),
        (Reply(404, b"<html>"), CannotServe),
        (Reply(400, b""), CannotServe),
        (Reply(401, b""), AuthenticationFailed),
        (Reply(429, b"Too Many Requests"), RateLimited),
        (Reply(403, b"<html>"), RateLimited),
        (Reply(451, b""), RateLimited),
        (Reply(500, b"<html>Will be right back</html>"), RetryableError),
        (Reply(200, b"<html>Will be right back</html>"), BadPayload),
    ],
)
def test_every_refusal_is_one_request_and_told_apart(
    wire: WireServer, make: Callable[..., YahooFinanceAPIClient], reply: Reply, kind: type[SourceError]
) -> None:
    """Where yfinance would ask up to 17 times and say "possibly delisted"."""
    wire.answer(reply)
    client = make()
    with pytest.raises(kind) as caught:
        client.candles(client.endpoints[0], minutes())
    assert type(caught.value) is kind
    assert len(wire.seen) == 1


def test_a_crumb_is_fetched_when_it_is_demanded_and_kept(
    wire: WireServer, make: Callable[..., YahooFinanceAPIClient]
) -> None:
    """Cookie, crumb and the question again; the next question takes both along."""
    wire.answer(
        Reply(401, CRUMB_REFUSED),
        *[Reply(404, b"", {"Set-Cookie": "A3=abc; Path=/"})] * 2,  # yfinance looks twice where no domain is Yahoo's
        Reply(200, b"crumb42"),
        Reply(body=chart(START, 3)),
        Reply(body=chart(START, 2)),
    )
    client = make()
    assert [len(client.candles(client.endpoints[0], minutes()).value) for _ in range(2)] == [3, 2]
    hosts = [headers["x-orig-host"] for headers in wire.headers]
    assert hosts[1:4] == ["fc.yahoo.com", "fc.yahoo.com", "query1.finance.yahoo.com"]
    assert [urlsplit(path).path for path in wire.seen] == [CHART, "/", "/", "/v1/test/getcrumb", CHART, CHART]
    assert all("crumb=crumb42" in path for path in wire.seen[4:])
    assert all("A3=abc" in headers["cookie"] for headers in wire.headers[2:])


def test_a_crumb_that_cannot_be_had_is_retryable(wire: WireServer, make: Callable[..., YahooFinanceAPIClient]) -> None:
    """Cookie and crumb may fail; the chart is asked again without, and its refusal is what counts."""
    wire.answer(
        Reply(401, CRUMB_REFUSED), Reply(fault="reset"), Reply(500, b"<html>"), *[Reply(401, CRUMB_REFUSED)] * 6
    )
    client = make()
    with pytest.raises(RetryableError, match="its cookie could not be had"):
        client.candles(client.endpoints[0], minutes())


class Guarded(WireServer):
    """A Yahoo that answers charts to those who bring cookie and crumb, which it hands out unless it is `closed`."""

    def __init__(self, *, closed: bool) -> None:
        super().__init__()
        plain, guarded = self._server.RequestHandlerClass, self
        guarded_lock = Lock()

        class Handler(plain):  # type: ignore[misc, valid-type]  # made where it is known
            def do_GET(self) -> None:  # noqa: N802 (the library's name)
                with guarded_lock:  # the reply is this question's
                    guarded.replies.appendleft(self.reply())
                    super().do_GET()

            def reply(self) -> Reply:
                if self.path.startswith("/v8/"):
                    return Reply(body=chart(START, 3)) if "crumb=crumb42" in self.path else Reply(401, CRUMB_REFUSED)
                if "getcrumb" in self.path:
                    return Reply(500, b"<html>") if closed else Reply(200, b"crumb42")
                return Reply(404, b"", {"Set-Cookie": "A3=abc; Path=/"})

        self._server.RequestHandlerClass = Handler

    def asked(self, path: str) -> int:
        """How many requests had this in their path."""
        return sum(path in seen for seen in self.seen)


@pytest.mark.parametrize("closed", [False, True])
def test_one_thread_fetches_the_crumb_for_all(*, closed: bool) -> None:
    """Eight that are refused at once cost one fetching; where that brings nothing, nobody tries again for a minute."""
    with Guarded(closed=closed) as server:
        ours = Clock(NOW)
        client = YahooFinanceAPIClient("yahoo", ours, (30.0, 30.0), base_url=server.url)

        def ask(_: int) -> tuple[int, int]:
            try:
                answer = client.candles(client.endpoints[0], minutes())
            except RetryableError:
                return 0, 0
            return len(answer.value), answer.record.requests

        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(ask, range(16)))
        client.close()
    assert {rows for rows, _ in got} == {0 if closed else 3}
    assert server.asked("getcrumb") <= 2, "yfinance looks twice where the first way fails"
    if not closed:
        assert sum(requests for _, requests in got) == len(server.seen), "each request is told to whoever counts"


def test_clients_and_threads_ask_side_by_side() -> None:
    """The library's one session per process mixes up neither servers nor answers."""
    with WireServer() as first, WireServer() as second:
        clients = [YahooFinanceAPIClient("yahoo", clock(), (2.0, 5.0), base_url=each.url) for each in (first, second)]
        first.answer(*[Reply(body=chart(START, 1))] * 20)
        second.answer(*[Reply(body=chart(START, 2))] * 20)

        def ask(number: int) -> int:
            client = clients[number % 2]
            return len(client.candles(client.endpoints[0], minutes()).value)

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(ask, range(40))) == [1, 2] * 20
        assert (len(first.seen), len(second.seen)) == (20, 20)
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    ("bounds", "sent"),
    [
        pytest.param({"start": 0, "limit": 1}, (1, (START + DAY) // 1000), id="listing"),
        pytest.param({"end": START, "limit": 1}, (START // 1000 - 10_080 * 86_400, START // 1000), id="neighbour"),
        pytest.param({"start": START - DAY, "end": START}, (START // 1000 - 86_400, START // 1000), id="window"),
    ],
)
def test_open_bounds_are_filled_in(
    wire: WireServer, make: Callable[..., YahooFinanceAPIClient], bounds: dict[str, int], sent: tuple[int, int]
) -> None:
    """Days reach back to the listing in one answer; of what comes, as many are kept as were asked."""
    wire.answer(Reply(body=chart(START - 3 * DAY, 4, DAY)))
    client = make()
    page = client.candles(client.endpoints[0], CandleRequest("BTC-USD", Timeframe("1d"), **bounds)).value
    asked = dict(parse_qsl(urlsplit(wire.seen[0]).query))
    assert (max(int(asked["period1"]), 1), int(asked["period2"])) == (max(sent[0], 1), sent[1])
    assert len(page) == 1
    assert page.rows["open_time"][0] == (START - 3 * DAY if bounds.get("start") == 0 else START - DAY)


@pytest.mark.parametrize(
    ("timeframe", "bounds", "sentence"),
    [
        ("1m", {"start": NOW - 30 * DAY, "end": NOW - 29 * DAY}, "reaches back only 29.96 d with 1m candles"),
        ("15m", {"start": NOW - 60 * DAY}, "reaches back only 59.96 d"),
        ("1h", {"start": 0, "limit": 1}, "reaches back only 730 d"),
        ("1m", {"end": NOW - 40 * DAY, "limit": 2}, "reaches back only"),
        ("1m", {"start": NOW - 9 * DAY, "end": NOW}, "at most 10080 candles of 1m a request"),
        ("30m", {"start": START}, "has no 30m candles"),
        ("1w", {"start": START}, "has no 1w candles"),
    ],
)
def test_what_it_cannot_serve_is_never_asked(
    wire: WireServer,
    make: Callable[..., YahooFinanceAPIClient],
    timeframe: str,
    bounds: dict[str, int],
    sentence: str,
) -> None:
    """Another timeframe, or a window that lies too far back even in part, goes to the next source without a request."""
    client = make()
    with pytest.raises(CannotServe, match=sentence):
        client.candles(client.endpoints[0], CandleRequest("BTC-USD", Timeframe(timeframe), **bounds))
    assert wire.seen == []


@pytest.mark.parametrize(
    ("symbol", "ticker"),
    [
        ("BTC/USDT", "BTC-USD"),
        ("BTC/USDC", "BTC-USD"),
        ("BTC/EUR", "BTC-EUR"),
        ("ETH/BTC", "ETH-BTC"),
        ("UNI/USDT", "UNI7083-USD"),
    ],
)
def test_symbols_become_tickers(symbol: str, ticker: str) -> None:
    """Stable coins are dollars; what is ambiguous is configured."""
    settings = YahooSource(client="yahoo", symbols={"UNI/USDT": "UNI7083-USD"})
    client = YahooFinanceAPIClient.configured("yahoo", settings, Clock())
    assert client.market_id(symbol) == client.resolve(symbol, []) == ticker
    assert client.endpoints[0].key == "yahoo https://query2.finance.yahoo.com"
