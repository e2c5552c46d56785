"""The CoinGecko client keeps to the contract, through the real pycoingecko, and asks as its documentation says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest

from fetcher.clients.base import BaseAPIClient, CandleRequest, Market
from fetcher.clients.coingecko import Access, CoinGeckoAPIClient
from fetcher.clock import Clock
from fetcher.config import CoinGeckoSource
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

HALF_HOUR = 30 * MINUTE
NOW = START + 20 * HOUR
SECRET = "CG-hush-hush"  # noqa: S105 - a made-up one


def clock(now: int = NOW) -> Clock:
    """A clock that stands where the tests' candles have just closed."""
    return Clock(now, speed=0.001)


def ohlc(start: int, count: int, size: int = HALF_HOUR) -> bytes:
    """Candles that open from `start` on, stamped with their ends as CoinGecko does."""
    return json.dumps([[start + (n + 1) * size, 10.0, 12.0, 9.0, 11.0] for n in range(count)]).encode()


class TestCoinGecko(ClientContract):
    """CoinGecko without a key."""

    market_id = "bitcoin"

    def make(self, base_url: str, timeout: tuple[float, float]) -> BaseAPIClient:
        """A client of one endpoint."""
        return CoinGeckoAPIClient("coingecko", clock(), timeout, base_url=f"{base_url}/api/v3")

    def candles_body(self, start: int, count: int) -> bytes:
        """Half hours: it has no minutes."""
        return ohlc(start, count)

    def time_body(self, ms: int) -> bytes:
        """It has no clock."""
        raise NotImplementedError(ms)

    def symbols_body(self, *symbols: str) -> bytes:
        """The answer of /coins/list."""
        tickers = [symbol.partition("/")[0].lower() for symbol in symbols]
        return json.dumps([{"id": f"the-{each}", "symbol": each, "name": each} for each in tickers]).encode()

    def request(self, count: int = 3) -> CandleRequest:
        """`count` half hours of the contract's market."""
        return CandleRequest(self.market_id, Timeframe("30m"), START, START + count * HALF_HOUR)

    def test_a_page_is_read(self, wire: WireServer, client: BaseAPIClient) -> None:
        """Candles come by their open times, with the record of how they came; one question is one request."""
        wire.answer(Reply(body=ohlc(START, 3), headers={"X-Mark": "seen"}))
        answer = client.candles(client.endpoints[0], self.request())
        assert answer.value.rows["open_time"].tolist() == [START + n * HALF_HOUR for n in range(3)]
        assert (answer.record.status, answer.record.headers["x-mark"]) == (200, "seen")
        assert answer.record.body == ohlc(START, 3)
        assert len(wire.seen) == 1

    def test_an_open_candle_is_passed_on(self, wire: WireServer, client: BaseAPIClient) -> None:
        """Not here: an answer may be 15 minutes old whatever its Date says, so that its newest rows may be live."""
        del client  # its clock stands still, and the server's Date does not
        now = Clock().now_ms()
        open_now = now - now % HALF_HOUR
        wire.answer(Reply(body=ohlc(open_now - 3 * HALF_HOUR, 4)))
        client = CoinGeckoAPIClient("coingecko", Clock(), PATIENT, base_url=wire.url)
        request = CandleRequest(self.market_id, Timeframe("30m"), open_now - 6 * HALF_HOUR, open_now + HALF_HOUR)
        page = client.candles(client.endpoints[0], request).value
        client.close()
        sure = [open_now - 3 * HALF_HOUR, open_now - 2 * HALF_HOUR]
        assert page.rows["open_time"].tolist()[:2] == sure
        assert page.rows["open_time"].max() + HALF_HOUR <= Clock().now_ms() - 15 * MINUTE

    def test_the_symbols_are_asked(self, wire: WireServer, client: BaseAPIClient) -> None:
        """Every coin is listed in dollars, by its id."""
        wire.answer(Reply(body=self.symbols_body("BTC/USDT", "ETH/BTC")), Reply(body=b"[]"))
        listed = client.symbols(client.endpoints[0]).value
        assert listed == [Market("the-btc", "BTC/USD", trading=True), Market("the-eth", "ETH/USD", trading=True)]
        assert wire.seen == ["/api/v3/coins/list"]
        with pytest.raises(BadPayload):
            client.symbols(client.endpoints[0])


@pytest.fixture
def wire() -> Iterator[WireServer]:
    """A server that answers as told."""
    with WireServer() as server:
        yield server


@pytest.fixture
def make(wire: WireServer) -> Iterator[Callable[..., CoinGeckoAPIClient]]:
    """Makes clients of that server by plan."""
    made: list[CoinGeckoAPIClient] = []

    def one(plan: str = "keyless", now: int = NOW) -> CoinGeckoAPIClient:
        access = Access(plan, {} if plan == "keyless" else {"KEY": SECRET})
        made.append(CoinGeckoAPIClient("coingecko", clock(now), PATIENT, access=access, base_url=wire.url + "/"))
        return made[-1]

    yield one
    for client in made:
        client.close()


@pytest.mark.parametrize(
    ("timeframe", "start", "sent"),
    [
        pytest.param("30m", NOW - 23 * HOUR, {"days": "1"}, id="half hours"),
        pytest.param("4h", NOW - 6 * DAY, {"days": "7"}, id="a week"),
        pytest.param("4h", NOW - 7 * DAY, {"days": "14"}, id="a candle that began before a week"),
        pytest.param("4h", NOW - 29 * DAY, {"days": "30"}, id="a month"),
    ],
)
def test_the_fewest_days_that_hold_the_window_are_asked(
    wire: WireServer, make: Callable[..., CoinGeckoAPIClient], timeframe: str, start: int, sent: dict[str, str]
) -> None:
    """The size of its candles follows from the number of days, so that nothing else can be asked for."""
    wire.answer(Reply(body=b"[]"))
    client = make()
    client.candles(client.endpoints[0], CandleRequest("bitcoin", Timeframe(timeframe), start, start + 8 * HOUR))
    parts = urlsplit(wire.seen[0])
    assert parts.path == "/coins/bitcoin/ohlc"
    assert dict(parse_qsl(parts.query)) == {"vs_currency": "usd"} | sent


@pytest.mark.parametrize(("timeframe", "interval"), [("1h", "hourly"), ("1d", "daily")])
def test_the_pro_plan_asks_for_ranges(
    wire: WireServer, make: Callable[..., CoinGeckoAPIClient], timeframe: str, interval: str
) -> None:
    """Hours and days come by /ohlc/range, up to one candle later than asked, since stamps are ends."""
    wire.answer(Reply(body=b"[]"))
    client, step = make("pro"), Timeframe(timeframe).ms
    client.candles(client.endpoints[0], CandleRequest("bitcoin", Timeframe(timeframe), START - 9 * step, START))
    assert dict(parse_qsl(urlsplit(wire.seen[0]).query)) == {
        "vs_currency": "usd",
        "from": str((START - 9 * step) // 1000),
        "to": str((START + step) // 1000),
        "interval": interval,
    }


def test_what_was_not_asked_for_is_cut_off(wire: WireServer, make: Callable[..., CoinGeckoAPIClient]) -> None:
    """A day always comes whole; neighbours and limits are what the caller asked."""
    wire.answer(*[Reply(body=ohlc(START, 10))] * 4)
    client = make()
    half_hour = Timeframe("30m")

    def asked(**bounds: int) -> list[int]:
        page = client.candles(client.endpoints[0], CandleRequest("bitcoin", half_hour, **bounds)).value
        return [(time - START) // HALF_HOUR for time in page.rows["open_time"].tolist()]

    assert asked(start=START + 2 * HALF_HOUR, end=START + 4 * HALF_HOUR) == [2, 3]
    assert asked(end=START + 4 * HALF_HOUR, limit=1) == [3]
    assert asked(start=START + 5 * HALF_HOUR, limit=2) == [5, 6]
    assert asked(limit=2) == [8, 9]


@pytest.mark.parametrize(
    ("plan", "timeframe", "start", "sentence"),
    [
        ("keyless", "30m", NOW - 24 * HOUR, "reaches back only 23.5 h with 30m candles"),
        ("demo", "4h", NOW - 30 * DAY, "reaches back only 29.83 d with 4h candles"),
        ("keyless", "1d", NOW - 5 * DAY, "has no 1d candles, only"),
        ("pro", "1d", 1_518_048_000_000, "with 1d candles"),
        ("pro", "1m", START, "has no 1m candles"),
        ("keyless", "30m", 0, "reaches back only"),
    ],
)
def test_what_it_cannot_serve_is_never_asked(
    wire: WireServer, make: Callable[..., CoinGeckoAPIClient], plan: str, timeframe: str, start: int, sentence: str
) -> None:
    """Another timeframe, or a window that lies too far back even in part, goes to the next source without a request."""
    client = make(plan)
    with pytest.raises(CannotServe, match=sentence):
        client.candles(client.endpoints[0], CandleRequest("bitcoin", Timeframe(timeframe), start, None, 1))
    assert wire.seen == []


@pytest.mark.parametrize("plan", ["demo", "pro"])
def test_the_key_travels_in_a_header_alone(
    wire: WireServer, make: Callable[..., CoinGeckoAPIClient], plan: str
) -> None:
    """No address, record, error or representation holds it."""
    wire.answer(Reply(body=ohlc(START, 1)), Reply(401, b'{"status":{"error_code":10002,"error_message":"no key"}}'))
    client = make(plan)
    request = CandleRequest("bitcoin", Timeframe("30m"), START, START + HOUR)
    record = client.candles(client.endpoints[0], request).record
    assert wire.headers[0][f"x-cg-{plan}-api-key"] == SECRET
    with pytest.raises(AuthenticationFailed) as caught:
        client.candles(client.endpoints[0], request)
    shown = (*wire.seen, repr(record), str(caught.value), repr(Access(plan, {"KEY": SECRET})), repr(client.endpoints))
    assert not any(SECRET in text for text in shown)


def test_a_rest_is_never_slept_through(wire: WireServer, make: Callable[..., CoinGeckoAPIClient]) -> None:
    """Retry-After and 503 come back at once: the library's own retries are off."""
    wire.answer(Reply(429, b"Throttled", {"Retry-After": "119"}), Reply(503, b"", {"Retry-After": "7"}))
    client = make()
    request = CandleRequest("bitcoin", Timeframe("30m"), START, START + HOUR)
    with pytest.raises(RateLimited) as rest:
        client.candles(client.endpoints[0], request)
    assert 118_000 <= rest.value.until_ms - NOW <= 120_000
    with pytest.raises(RetryableError) as failure:
        client.candles(client.endpoints[0], request)
    assert failure.value.retry_after == 7.0
    assert len(wire.seen) == 2


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(404, b'{"error":"coin not found"}'), UnknownSymbol),
        (Reply(200, b'{"status":{"error_code":429,"error_message":"You\'ve exceeded the Rate Limit."}}'), RateLimited),
        (Reply(401, b'{"error":{"status":{"error_code":10012,"error_message":"exceeds"}}}'), CannotServe),
        (Reply(403, b"<html>error code: 1020</html>"), RateLimited),
        (Reply(400, b'{"error":"invalid days"}'), CannotServe),
    ],
)
def test_refusals_are_told_apart_through_the_library(
    wire: WireServer, make: Callable[..., CoinGeckoAPIClient], reply: Reply, kind: type[SourceError]
) -> None:
    """What pycoingecko raises as the same ValueError is sorted by what the session recorded."""
    wire.answer(reply)
    client = make()
    with pytest.raises(kind) as caught:
        client.candles(client.endpoints[0], CandleRequest("bitcoin", Timeframe("30m"), START, START + HOUR))
    assert type(caught.value) is kind
    assert ClientContract.recorded(caught.value).status == reply.status


def test_an_id_cannot_leave_its_place(wire: WireServer, make: Callable[..., CoinGeckoAPIClient]) -> None:
    """Whatever a list or a configuration names is one part of the path; the quote is a parameter."""
    wire.answer(Reply(body=b"[]"), Reply(body=b"[]"))
    client = make()
    for market in ("..?x=1&y #", "ethereum/btc"):
        client.candles(client.endpoints[0], CandleRequest(market, Timeframe("30m"), START, START + HOUR))
    assert wire.seen[0] == "/coins/..%3Fx%3D1%26y%20%23/ohlc?vs_currency=usd&days=1"
    assert wire.seen[1] == "/coins/ethereum/ohlc?vs_currency=btc&days=1"


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("NO_SUCH_KEY", "NO_SUCH_KEY holds no key"),
        ("BAD_KEY", "characters that no key has"),
        (["A_KEY", "NO_SUCH_KEY"], "NO_SUCH_KEY holds no key"),
        (["A_KEY", "SAME_KEY"], "SAME_KEY holds the key of another one"),
    ],
)
def test_without_its_key_nobody_is_asked(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch, names: str | list[str], sentence: str
) -> None:
    """A key that is missing, useless or given twice is told by name; with another one the source serves."""
    monkeypatch.setenv("BAD_KEY", "a\nb")
    for name in ("A_KEY", "SAME_KEY"):
        monkeypatch.setenv(name, "one and the same")
    settings = CoinGeckoSource.model_validate(
        {"client": "coingecko", "plan": "demo", "api_key_env": names, "base_url": wire.url}
    )
    client = CoinGeckoAPIClient.configured("coingecko", settings, Clock(NOW))
    assert (client.unusable is None) == (len(client.endpoints) > 1)
    request = CandleRequest("bitcoin", Timeframe("30m"), START, START + HOUR)
    with pytest.raises(AuthenticationFailed, match=sentence) as refused:
        client.candles(client.endpoints[-1], request)
    assert refused.value.record is None
    assert wire.seen == []
    wire.answer(Reply(body=b"[]"))
    if client.unusable is None:
        client.candles(client.endpoints[0], request)
    client.close()


@pytest.mark.parametrize(
    ("plan", "host", "calls"),
    [("keyless", "api.coingecko.com", 5), ("demo", "api.coingecko.com", 30), ("pro", "pro-api.coingecko.com", 250)],
)
def test_host_and_budget_follow_from_the_plan(
    monkeypatch: pytest.MonkeyPatch, plan: str, host: str, calls: int
) -> None:
    """Each plan has its root and its calls a minute, unless the configuration says otherwise."""
    monkeypatch.setenv("GECKO", SECRET)
    keyed = {} if plan == "keyless" else {"api_key_env": "GECKO"}
    client = CoinGeckoAPIClient.configured("gecko", CoinGeckoSource(client="coingecko", plan=plan, **keyed), Clock())
    assert client.endpoints[0].key == f"gecko https://{host}/api/v3"
    assert client.capabilities.weight_per_minute == calls
