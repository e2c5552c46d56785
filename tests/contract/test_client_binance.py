"""The Binance client keeps to the contract, and asks as the exchange's documentation says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest

from fetcher.clients import CLIENTS, client_class
from fetcher.clients.base import BaseAPIClient, CandleRequest
from fetcher.clients.binance import BinanceAPIClient
from fetcher.clock import Clock
from fetcher.errors import RateLimited, RetryableError, UnknownSymbol
from fetcher.model import MINUTE, TIMEFRAMES, Timeframe
from tests.contract.client_contract import PATIENT, START, ClientContract
from tests.contract.wire import Reply, WireServer, unused_url

if TYPE_CHECKING:
    from collections.abc import Iterator


def kline(open_time: int) -> list[object]:
    """One row as the exchange writes it."""
    prices = ["10.0", "12.0", "9.0", "11.0", "5.0"]
    return [open_time, *prices, open_time + MINUTE - 1, "50.0", 7, "2.0", "20.0", "0"]


class TestBinance(ClientContract):
    """Binance by REST."""

    def make(self, base_url: str, timeout: tuple[float, float]) -> BaseAPIClient:
        """A client of one endpoint."""
        return BinanceAPIClient("binance", [base_url], Clock(), timeout)

    def candles_body(self, start: int, count: int) -> bytes:
        """Rows of /api/v3/klines."""
        return json.dumps([kline(start + n * MINUTE) for n in range(count)]).encode()

    def time_body(self, ms: int) -> bytes:
        """The answer of /api/v3/time."""
        return json.dumps({"serverTime": ms}).encode()

    def symbols_body(self, *symbols: str) -> bytes:
        """The answer of /api/v3/exchangeInfo, short of what is not read."""
        listed = [
            {"symbol": base + quote, "status": "TRADING", "baseAsset": base, "quoteAsset": quote}
            for base, _, quote in (symbol.partition("/") for symbol in symbols)
        ]
        return json.dumps({"timezone": "UTC", "symbols": listed}).encode()


@pytest.fixture
def wire() -> Iterator[WireServer]:
    """A server that answers as told."""
    with WireServer() as server:
        yield server


@pytest.fixture
def client(wire: WireServer) -> Iterator[BinanceAPIClient]:
    """A client of that server."""
    made = BinanceAPIClient("binance", [wire.url + "/"], Clock(), PATIENT)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("request_", "sent"),
    [
        pytest.param(
            CandleRequest("BTCUSDT", Timeframe("1m"), START, START + 5 * MINUTE),
            {"startTime": str(START), "endTime": str(START + 5 * MINUTE - 1), "limit": "1000"},
            id="window",
        ),
        pytest.param(
            CandleRequest("BTCUSDT", Timeframe("1m"), 0, None, 1), {"startTime": "0", "limit": "1"}, id="listing"
        ),
        pytest.param(
            CandleRequest("BTCUSDT", Timeframe("1m"), None, START, 2),
            {"endTime": str(START - 1), "limit": "2"},
            id="neighbour",
        ),
        pytest.param(CandleRequest("BTCUSDT", Timeframe("1m"), limit=5000), {"limit": "1000"}, id="capped"),
    ],
)
def test_candles_are_asked_by_inclusive_bounds(
    wire: WireServer, client: BinanceAPIClient, request_: CandleRequest, sent: dict[str, str]
) -> None:
    """The exchange's bounds include both ends, so that the exclusive end is asked as one ms less."""
    wire.answer(Reply(body=b"[]"))
    client.candles(client.endpoints[0], request_)
    parts = urlsplit(wire.seen[0])
    assert parts.path == "/api/v3/klines"
    assert dict(parse_qsl(parts.query)) == {"symbol": "BTCUSDT", "interval": "1m"} | sent


def test_a_name_beyond_ascii_is_asked_whole(wire: WireServer, client: BinanceAPIClient) -> None:
    """Symbols may be UTF-8 since 2025-12, and none can add a parameter of its own."""
    wire.answer(Reply(body=b"[]"))
    client.candles(client.endpoints[0], CandleRequest("币安&limit=9 USDT", Timeframe("1M"), limit=1))
    assert dict(parse_qsl(urlsplit(wire.seen[0]).query))["symbol"] == "币安&limit=9 USDT"


def test_time_and_symbols_are_asked_at_their_paths(wire: WireServer, client: BinanceAPIClient) -> None:
    """The symbol list comes without the permission sets, which are most of its size."""
    wire.answer(
        Reply(body=b'{"serverTime":1614556800000}'),
        Reply(body=b'{"symbols":[{"symbol":"AB","status":"BREAK","baseAsset":"A","quoteAsset":"B"}]}'),
    )
    client.server_time(client.endpoints[0])
    client.symbols(client.endpoints[0])
    assert wire.seen == ["/api/v3/time", "/api/v3/exchangeInfo?showPermissionSets=false"]


def test_unknown_symbols_are_told_apart(wire: WireServer, client: BinanceAPIClient) -> None:
    """The exchange's code decides, and the answer is kept with the error."""
    wire.answer(Reply(400, b'{"code":-1121,"msg":"Invalid symbol."}', {"x-mbx-used-weight-1m": "8"}))
    says = r"^binance answered 400 \(-1121\): Invalid symbol\.; it does not list this market; if it has another name"
    with pytest.raises(UnknownSymbol, match=says) as caught:
        client.candles(client.endpoints[0], CandleRequest("NOPE", Timeframe("1m")))
    assert client.used_weight(ClientContract.recorded(caught.value)) == 8


def test_a_rest_is_dated_by_the_answer(wire: WireServer, client: BinanceAPIClient) -> None:
    """Retry-After counts from the Date of the same answer, not from our clock."""
    wire.answer(Reply(451, b"", {"Date": "Fri, 20 Nov 2026 10:00:00 GMT"}))
    with pytest.raises(RateLimited) as caught:
        client.server_time(client.endpoints[0])
    assert caught.value.whole_pool is False


@pytest.mark.parametrize(
    ("headers", "weight"),
    [
        ({"x-mbx-used-weight-1m": "42"}, 42),
        ({"X-MBX-USED-WEIGHT-1M": "42", "X-MBX-USED-WEIGHT": "7"}, 42),
        ({"x-mbx-used-weight": "7"}, 7),
        ({}, None),
        ({"x-mbx-used-weight-1m": "many"}, None),
        ({"x-mbx-used-weight-1m": "-3"}, None),
        ({"x-mbx-used-weight-1m": "9" * 40}, None),
    ],
)
def test_the_used_weight_is_read(
    wire: WireServer, client: BinanceAPIClient, headers: dict[str, str], weight: int | None
) -> None:
    """The header counts this address's weight in the server's minute; nonsense counts nothing."""
    wire.answer(Reply(body=b"[]", headers=headers))
    answer = client.candles(client.endpoints[0], CandleRequest("BTCUSDT", Timeframe("1m")))
    assert client.used_weight(answer.record) == weight


def test_a_proxy_is_asked_instead_of_the_host(wire: WireServer) -> None:
    """With a proxy configured, requests go to it; its password is in no message."""
    proxy = wire.url.replace("http://", "http://user:hush@")
    client = BinanceAPIClient("binance", ["http://api.binance.example"], Clock(), PATIENT, [proxy])
    wire.answer(Reply(body=b"[]"), Reply(fault="reset"))
    request = CandleRequest("BTCUSDT", Timeframe("1m"), limit=1)
    assert len(client.candles(client.endpoints[0], request).value) == 0
    assert wire.seen[0].startswith("http://api.binance.example/api/v3/klines?")
    with pytest.raises(RetryableError, match="through the proxy 127") as caught:
        client.candles(client.endpoints[0], request)
    assert "hush" not in str(caught.value)
    client.close()


def test_the_environment_names_no_proxy(
    wire: WireServer, client: BinanceAPIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the configuration does: under cron the environment is another one."""
    monkeypatch.setenv("http_proxy", unused_url())
    monkeypatch.setenv("no_proxy", "")
    wire.answer(Reply(body=b"[]"))
    client.candles(client.endpoints[0], CandleRequest("BTCUSDT", Timeframe("1m")))
    assert wire.seen[0].startswith("/api/v3/klines")


def test_mirrors_share_one_budget() -> None:
    """Limits hold for our address: every base URL is an endpoint of its own, all in the source's one pool."""
    client = BinanceAPIClient("binance", ["https://api.binance.com/", "https://api1.binance.com"], Clock())
    assert [endpoint.key for endpoint in client.endpoints] == [
        "binance https://api.binance.com",
        "binance https://api1.binance.com",
    ]
    assert {endpoint.pool for endpoint in client.endpoints} == {"binance"}


def test_what_it_can_do_is_declared() -> None:
    """All timeframes, 1000 rows a request, the documented weights, the configured budget."""
    can = BinanceAPIClient("binance", [], Clock(), weight_per_minute=600).capabilities
    assert can.timeframes == set(TIMEFRAMES)
    assert (can.rows_per_request, can.candle_cost, can.time_cost, can.symbols_cost) == (1000, 2, 1, 20)
    assert (can.weight_per_minute, can.look_back, can.has_volume, can.omits_empty) == (600, {}, True, False)


def test_the_registry_names_real_classes() -> None:
    """Each entry can be imported, though only when it is used."""
    assert client_class("binance") is BinanceAPIClient
    assert all(issubclass(client_class(name), BaseAPIClient) for name in CLIENTS)
