"""CcxtAPIClient over real HTTP, through the real ccxt, against servers that speak as four exchanges do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest

from fetcher.clients.base import CandleRequest, Market
from fetcher.clients.ccxt_exchange import CcxtAPIClient
from fetcher.clock import Clock
from fetcher.errors import (
    AuthenticationFailed,
    BadPayload,
    CannotServe,
    ConfigError,
    RateLimited,
    RetryableError,
    UnknownSymbol,
)
from fetcher.model import HOUR, MINUTE, Timeframe
from tests.contract.client_contract import PATIENT, START, ClientContract
from tests.contract.wire import Reply, WireServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fetcher.errors import SourceError

ID = {"kraken": "XBTUSDT", "okx": "BTC-USDT", "coinbaseexchange": "BTC-USD", "bitstamp": "btcusdt"}
M1 = Timeframe("1m")


def kraken_candles(start: int, count: int) -> bytes:
    """Seconds, strings, vwap and trades, ascending, under the pair's name."""
    rows = [[start // 1000 + n * 60, "10.0", "12.0", "9.5", "11.0", "10.7", "3.25", 7] for n in range(count)]
    last = start // 1000 + 60 * max(0, count - 2)
    return json.dumps({"error": [], "result": {"XBTUSDT": rows, "last": last}}).encode()


def okx_candles(start: int, count: int) -> bytes:
    """Strings, newest first: ts, o, h, l, c, vol, volCcy, volCcyQuote, confirm."""
    rows = [
        [str(start + n * MINUTE), "10.0", "12.0", "9.5", "11.0", "3.25", "3.25", "34.1", "1"]
        for n in reversed(range(count))
    ]
    return json.dumps({"code": "0", "msg": "", "data": rows}).encode()


def coinbase_candles(start: int, count: int) -> bytes:
    """Numbers, newest first, low and high before open and close."""
    return json.dumps([[start // 1000 + n * 60, 9.5, 12.0, 10.0, 11.0, 3.25] for n in reversed(range(count))]).encode()


def bitstamp_candles(start: int, count: int) -> bytes:
    """Objects of strings, ascending."""
    rows = [
        {"timestamp": str(start // 1000 + n * 60), "open": "10.0", "high": "12.0", "low": "9.5", "close": "11.0"}
        | {"volume": "3.25"}
        for n in range(count)
    ]
    return json.dumps({"data": {"pair": "BTC/USDT", "ohlc": rows}}).encode()


CANDLES = {
    "kraken": kraken_candles,
    "okx": okx_candles,
    "coinbaseexchange": coinbase_candles,
    "bitstamp": bitstamp_candles,
}


class CcxtContract(ClientContract):
    """The contract for one exchange id."""

    exchange = ""

    @property
    def market_id(self) -> str:  # type: ignore[override]  # a plain value in the contract
        """The exchange's own id of BTC/USDT."""
        return ID[self.exchange]

    def make(self, base_url: str, timeout: tuple[float, float]) -> CcxtAPIClient:
        """One exchange at `base_url`, an hour after START."""
        return CcxtAPIClient(self.exchange, self.exchange, Clock(START + HOUR), timeout, base_url=base_url)

    def candles_body(self, start: int, count: int) -> bytes:
        """As that exchange writes them."""
        return CANDLES[self.exchange](start, count)


class TestKraken(CcxtContract):
    """Kraken: seconds as strings, errors in a list with 200."""

    exchange = "kraken"

    def time_body(self, ms: int) -> bytes:
        """As that exchange writes it."""
        return json.dumps({"error": [], "result": {"unixtime": ms // 1000, "rfc1123": ""}}).encode()

    def symbols_body(self, *symbols: str) -> bytes:
        """As that exchange lists them."""
        pairs = {
            symbol.replace("/", "").replace("BTC", "XBT"): {
                "altname": symbol.replace("/", "").replace("BTC", "XBT"),
                "wsname": symbol.replace("BTC", "XBT"),
                "base": symbol.split("/", maxsplit=1)[0].replace("BTC", "XXBT").replace("ETH", "XETH"),
                "quote": symbol.split("/")[1].replace("BTC", "XXBT"),
                "status": "online",
                "pair_decimals": 1,
                "lot_decimals": 8,
            }
            for symbol in symbols
        }
        return json.dumps({"error": [], "result": pairs}).encode()

    def test_an_open_candle_is_passed_on(self, wire: WireServer, client: CcxtAPIClient) -> None:  # type: ignore[override]  # its own kind of client
        """Kraken has no end to ask for: its rows after the window are its way, and left out; the live one is not."""
        wire.answer(Reply(body=kraken_candles(START, 61)))
        now = CandleRequest(self.market_id, M1, START + 58 * MINUTE, START + 2 * HOUR)
        assert client.candles(client.endpoints[0], now).value.rows["open_time"][-1] == START + HOUR
        wire.answer(Reply(body=kraken_candles(START, 61)))
        assert self.ask(client) == [START + n * MINUTE for n in range(3)]


class TestOkx(CcxtContract):
    """OKX: newest first, a code beside the rows."""

    exchange = "okx"

    def time_body(self, ms: int) -> bytes:
        """As that exchange writes it."""
        return json.dumps({"code": "0", "msg": "", "data": [{"ts": str(ms)}]}).encode()

    def symbols_body(self, *symbols: str) -> bytes:
        """As that exchange lists them."""
        rows = [
            {"instType": "SPOT", "instId": symbol.replace("/", "-"), "baseCcy": symbol.split("/", maxsplit=1)[0]}
            | {"quoteCcy": symbol.split("/")[1], "state": "live", "tickSz": "0.1", "lotSz": "0.1", "minSz": "1"}
            for symbol in symbols
        ]
        return json.dumps({"code": "0", "msg": "", "data": rows}).encode()


class TestCoinbaseExchange(CcxtContract):
    """Coinbase Exchange: numbers, newest first, candles without trades left out."""

    exchange = "coinbaseexchange"

    def time_body(self, ms: int) -> bytes:
        """As that exchange writes it."""
        return json.dumps({"iso": "", "epoch": ms / 1000}).encode()

    def symbols_body(self, *symbols: str) -> bytes:
        """As that exchange lists them."""
        rows = [
            {"id": symbol.replace("/", "-"), "base_currency": symbol.split("/", maxsplit=1)[0], "status": "online"}
            | {"quote_currency": symbol.split("/")[1], "quote_increment": "0.01", "base_increment": "0.01"}
            for symbol in symbols
        ]
        return json.dumps(rows).encode()


class TestBitstamp(CcxtContract):
    """Bitstamp: objects, no time endpoint."""

    exchange = "bitstamp"

    def time_body(self, ms: int) -> bytes:
        """As that exchange writes it."""
        raise NotImplementedError

    def symbols_body(self, *symbols: str) -> bytes:
        """As that exchange lists them."""
        rows = [
            {"name": symbol, "market_symbol": symbol.replace("/", "").lower(), "trading": "Enabled"}
            | {"base_currency": symbol.split("/", maxsplit=1)[0], "counter_currency": symbol.split("/")[1]}
            | {"base_decimals": 8, "counter_decimals": 2, "market_type": "SPOT", "minimum_order_value": "10"}
            for symbol in symbols
        ]
        return json.dumps(rows).encode()


@pytest.fixture
def wire() -> Iterator[WireServer]:
    """A server that answers as told."""
    with WireServer() as server:
        yield server


@pytest.fixture
def make(wire: WireServer) -> Iterator[Callable[..., CcxtAPIClient]]:
    """Clients of that server, an hour after START."""
    made: list[CcxtAPIClient] = []

    def make_one(exchange: str, now: int = START + HOUR) -> CcxtAPIClient:
        made.append(CcxtAPIClient(exchange, exchange, Clock(now), PATIENT, base_url=wire.url + "/mirror"))
        return made[-1]

    yield make_one
    for client in made:
        client.close()


def asked(wire: WireServer) -> tuple[str, dict[str, str]]:
    """Path and parameters of the only request."""
    (seen,) = wire.seen
    parts = urlsplit(seen)
    return parts.path, dict(parse_qsl(parts.query))


@pytest.mark.parametrize("exchange", CANDLES)
def test_every_cell_is_where_it_belongs(wire: WireServer, make: Callable[..., CcxtAPIClient], exchange: str) -> None:
    """Prices in quote, volume in base currency, the rest unknown rather than guessed."""
    client = make(exchange)
    wire.answer(Reply(body=CANDLES[exchange](START, 2)))
    request = CandleRequest(ID[exchange], M1, START, START + 2 * MINUTE)
    row = client.candles(client.endpoints[0], request).value.rows[0]
    assert [row[name] for name in ("open_time", "open", "high", "low", "close", "volume")] == [
        START, 10.0, 12.0, 9.5, 11.0, 3.25,
    ]  # fmt: skip
    assert all(row[name] != row[name] for name in ("quote_volume", "taker_base", "taker_quote"))
    assert (row["trades"], row["close_time"]) == (-1, -1)


@pytest.mark.parametrize(
    ("exchange", "path", "params"),
    [
        ("kraken", "/0/public/OHLC", {"pair": "XBTUSDT", "interval": "1", "since": str(START // 1000 - 60)}),
        (
            "okx",
            "/api/v5/market/candles",
            {"instId": "BTC-USDT", "bar": "1m", "limit": "5", "before": str(START - 1)}
            | {"after": str(START + 5 * MINUTE - 1)},
        ),
        (
            "coinbaseexchange",
            "/products/BTC-USD/candles",
            {"granularity": "60", "start": "2021-03-01T00:00:00.000Z", "end": "2021-03-01T00:04:59.999Z"},
        ),
        (
            "bitstamp",
            "/api/v2/ohlc/btcusdt/",
            {"step": "60", "start": str(START // 1000), "end": str(START // 1000 + 299), "limit": "5"},
        ),
    ],
)
def test_a_window_is_asked_as_the_exchange_understands_it(
    wire: WireServer, make: Callable[..., CcxtAPIClient], exchange: str, path: str, params: dict[str, str]
) -> None:
    """One request behind base_url, which keeps its own path, with the exchange's own bounds."""
    client = make(exchange)
    wire.answer(Reply(body=CANDLES[exchange](START, 5)))
    client.candles(client.endpoints[0], CandleRequest(ID[exchange], M1, START, START + 5 * MINUTE))
    assert asked(wire) == ("/mirror" + path, params)


def test_okx_asks_its_history_by_our_clock(wire: WireServer, make: Callable[..., CcxtAPIClient]) -> None:
    """Which of its two endpoints has a candle depends on its age; ccxt judges it by the program's clock."""
    client = make("okx", START + 2000 * MINUTE)
    wire.answer(Reply(body=okx_candles(START, 5)))
    client.candles(client.endpoints[0], CandleRequest("BTC-USDT", M1, START, START + 5 * MINUTE))
    assert asked(wire)[0].endswith("/market/history-candles")


def test_kraken_reaches_back_720_candles(wire: WireServer, make: Callable[..., CcxtAPIClient]) -> None:
    """A window that begins earlier is refused without a request, and so is the search for the listing."""
    client = make("kraken", START + HOUR + 30_000)
    oldest = START + HOUR - 719 * MINUTE
    for start, end in ((oldest - MINUTE, oldest + HOUR), (0, None), (None, oldest)):
        with pytest.raises(CannotServe, match=r"^kraken reaches back only 720 candles of 1m$"):
            client.candles(client.endpoints[0], CandleRequest("XBTUSDT", M1, start, end))
    assert wire.seen == []
    wire.answer(Reply(body=kraken_candles(oldest, 720)))
    page = client.candles(client.endpoints[0], CandleRequest("XBTUSDT", M1, oldest, oldest + HOUR)).value
    assert page.rows["open_time"].tolist() == list(range(oldest, oldest + HOUR, MINUTE))


def test_kraken_passes_the_window_by_meanwhile(wire: WireServer, make: Callable[..., CcxtAPIClient]) -> None:
    """A full answer that begins after the window's start says nothing of that start."""
    client = make("kraken")
    wire.answer(Reply(body=kraken_candles(START + MINUTE, 720)))
    with pytest.raises(CannotServe, match="720 newest 1m candles"):
        client.candles(client.endpoints[0], CandleRequest("XBTUSDT", M1, START, START + 3 * MINUTE))


@pytest.mark.parametrize("exchange", ["okx", "coinbaseexchange", "bitstamp"])
def test_a_window_longer_than_a_page_is_refused(
    wire: WireServer, make: Callable[..., CcxtAPIClient], exchange: str
) -> None:
    """They would give its last rows, or an error; a page leaves room for a neighbour on either side."""
    client = make(exchange)
    can = client.capabilities
    rows = can.max_span["1m"] // MINUTE
    assert can.rows_per_request == rows - 2
    with pytest.raises(CannotServe, match=f"only {rows} candles"):
        client.candles(client.endpoints[0], CandleRequest(ID[exchange], M1, START, START + (rows + 1) * MINUTE))
    assert wire.seen == []


def test_the_nearest_candle_before_is_found(wire: WireServer, make: Callable[..., CcxtAPIClient]) -> None:
    """An open start asks the page that ends there, and brings its newest row."""
    client = make("okx")
    wire.answer(Reply(body=okx_candles(START - 5 * MINUTE, 3)))
    page = client.candles(client.endpoints[0], CandleRequest("BTC-USDT", M1, None, START, 1)).value
    assert page.rows["open_time"].tolist() == [START - 3 * MINUTE]
    assert asked(wire)[1]["before"] == str(START - 300 * MINUTE - 1)


@pytest.mark.parametrize(("start", "end"), [(0, None), (None, START)])
def test_none_within_reach_is_not_none_at_all(
    wire: WireServer, make: Callable[..., CcxtAPIClient], start: int | None, end: int | None
) -> None:
    """What lies farther off than one request can look is not answered by an empty page."""
    client = make("okx")
    wire.answer(Reply(body=okx_candles(START, 0)))
    with pytest.raises(CannotServe, match="cannot be asked for the nearest one"):
        client.candles(client.endpoints[0], CandleRequest("BTC-USDT", M1, start, end, 1))


def test_no_candle_after_the_newest_is_an_answer(wire: WireServer, make: Callable[..., CcxtAPIClient]) -> None:
    """Where the request reached until now, there is nothing farther off."""
    client = make("okx")
    wire.answer(Reply(body=okx_candles(START, 0)))
    assert len(client.candles(client.endpoints[0], CandleRequest("BTC-USDT", M1, START, None, 1)).value) == 0


@pytest.mark.parametrize(
    ("exchange", "status", "body", "kind", "sentence"),
    [
        ("kraken", 200, {"error": ["EQuery:Unknown asset pair"]}, UnknownSymbol, "EQuery:Unknown asset pair"),
        ("kraken", 200, {"error": ["EAPI:Rate limit exceeded"]}, RateLimited, "EAPI:Rate limit exceeded"),
        ("kraken", 200, {"error": ["EService:Unavailable"]}, RetryableError, "EService:Unavailable"),
        ("kraken", 200, {"error": ["EGeneral:Invalid arguments"]}, CannotServe, "EGeneral:Invalid arguments"),
        ("okx", 200, {"code": "51001", "msg": "Instrument ID doesn't exist.", "data": []}, UnknownSymbol, "51001"),
        ("okx", 429, {"code": "50011", "msg": "Requests too frequent.", "data": []}, RateLimited, "50011"),
        ("okx", 200, {"code": "50001", "msg": "Service temporarily unavailable.", "data": []}, RetryableError, "50001"),
        ("okx", 400, {"code": "51000", "msg": "Parameter bar error", "data": []}, CannotServe, "bar error"),
        ("coinbaseexchange", 404, {"message": "NotFound"}, UnknownSymbol, "NotFound"),
        ("coinbaseexchange", 400, {"message": "Unsupported granularity"}, CannotServe, "Unsupported granularity"),
        ("bitstamp", 404, {"status": "error", "reason": "Invalid currency pair"}, UnknownSymbol, "currency pair"),
        ("bitstamp", 403, {"status": "error", "reason": "Blocked"}, RateLimited, "firewall"),
        ("kraken", 401, {"error": ["EAPI:Invalid key"]}, AuthenticationFailed, "EAPI:Invalid key"),
    ],
)
def test_the_exchange_says_no(
    wire: WireServer,
    make: Callable[..., CcxtAPIClient],
    exchange: str,
    status: int,
    body: object,
    kind: type[SourceError],
    sentence: str,
) -> None:
    """Each in its own words, sorted by what to do next, its record kept."""
    client = make(exchange)
    wire.answer(Reply(status, json.dumps(body).encode()))
    with pytest.raises(kind, match=sentence) as caught:
        client.candles(client.endpoints[0], CandleRequest(ID[exchange], M1, START, START + MINUTE))
    assert type(caught.value) is kind
    assert ClientContract.recorded(caught.value).status == status


def test_candles_under_another_name_are_no_empty_page(wire: WireServer, make: Callable[..., CcxtAPIClient]) -> None:
    """Kraken answers an alias under the pair's real name, where ccxt finds nothing: that is not "no candles"."""
    client = make("kraken")
    wire.answer(Reply(body=kraken_candles(START, 3)))
    with pytest.raises(BadPayload, match="sent no candles but"):
        client.candles(client.endpoints[0], CandleRequest("BTCUSDT", M1, START, START + 3 * MINUTE))


def test_one_bad_row_spoils_itself_only(wire: WireServer, make: Callable[..., CcxtAPIClient]) -> None:
    """The library would drop it in silence; it is kept with its text instead."""
    client = make("kraken")
    body = kraken_candles(START, 3).replace(b'"12.0"', b'"lots"', 1)
    wire.answer(Reply(body=body))
    page = client.candles(client.endpoints[0], CandleRequest("XBTUSDT", M1, START, START + 3 * MINUTE)).value
    assert page.rows["open_time"].tolist() == [START + MINUTE, START + 2 * MINUTE]
    assert [spoiled.open_time for spoiled in page.spoiled] == [START]
    assert "lots" in page.spoiled[0].payload


def test_days_of_another_time_zone_are_refused(wire: WireServer, make: Callable[..., CcxtAPIClient]) -> None:
    """A day from 16:00 UTC is another candle, and must not be taken for one that is a little late."""
    client = make("okx", START + 100 * HOUR)
    wire.answer(Reply(body=okx_candles(START + 16 * HOUR, 1)))
    with pytest.raises(CannotServe, match="opens its 1d candles at other times"):
        client.candles(client.endpoints[0], CandleRequest("BTC-USDT", Timeframe("1d"), START, START + 48 * HOUR))


def test_a_symbol_without_a_list_is_guessed_or_waits(wire: WireServer, make: Callable[..., CcxtAPIClient]) -> None:
    """By the exchange's rule where there is one; else nothing is asked under a made-up name."""
    assert make("kraken").market_id("BTC/USD") == "XXBTZUSD"
    assert make("kraken").market_id("BTC/USDT") == "XBTUSDT"
    assert make("bitstamp").market_id("BTC/USD") == "btcusd"
    assert make("coinbaseexchange").market_id("BTC/USD") == "BTC-USD"
    client = make("bitfinex")
    with pytest.raises(CannotServe, match="has no list of markets now, without which BTC/USD has no id"):
        client.market_id("BTC/USD")
    with pytest.raises(UnknownSymbol, match="does not list BTC/USD"):
        client.resolve("BTC/USD", [Market("tETHUSD", "ETH/USD", trading=True)])
    assert client.resolve("ETH/USD", [Market("tETHUSD", "ETH/USD", trading=True)]) == "tETHUSD"
    assert wire.seen == []


def test_what_ccxt_would_not_ask_is_told(wire: WireServer, make: Callable[..., CcxtAPIClient]) -> None:
    """Luno's candles need a key: no request leaves, and the next source is asked."""
    client = make("luno")
    with pytest.raises(CannotServe, match="ccxt would not ask luno for candles: AuthenticationError"):
        client.candles(client.endpoints[0], CandleRequest("XBTZAR", M1, START, START + MINUTE))
    assert wire.seen == []


def test_the_oldest_candle_is_asked_for_where_it_can_be(wire: WireServer, make: Callable[..., CcxtAPIClient]) -> None:
    """Bitfinex serves forward from any time on: the listing takes one request."""
    client = make("bitfinex")
    wire.answer(Reply(body=json.dumps([[START, 10.0, 11.0, 12.0, 9.5, 3.25]]).encode()))
    page = client.candles(client.endpoints[0], CandleRequest("tBTCUSD", M1, 0, None, 1)).value
    assert page.rows["open_time"].tolist() == [START]
    assert asked(wire)[1] == {"limit": "1", "start": "0", "sort": "1"}


@pytest.mark.parametrize(
    ("exchange", "names", "rows", "per_minute", "clock", "omits"),
    [
        ("kraken", "1m 5m 15m 30m 1h 4h 1d", 718, 30, 1, False),
        ("okx", "1m 3m 5m 15m 30m 1h 2h 4h 6h 12h 1d 1w 1M", 298, 272, 1, True),
        ("coinbaseexchange", "1m 5m 15m 1h 6h 1d", 298, 300, 1, True),
        ("bitstamp", "1m 3m 5m 15m 30m 1h 2h 4h 6h 12h 1d", 998, 400, 0, False),
        ("mexc", "1m 5m 15m 30m 1h 4h 8h 1d", 498, 600, 1, True),
    ],
)
def test_what_it_can_do_is_declared(
    make: Callable[..., CcxtAPIClient],
    exchange: str,
    names: str,
    rows: int,
    per_minute: int,
    clock: int,
    *,
    omits: bool,
) -> None:
    """Timeframes on our grid only, pages as they really are, half of a minute's requests by ccxt's rate."""
    can = make(exchange).capabilities
    assert can.timeframes == set(names.split())
    assert (can.rows_per_request, can.weight_per_minute) == (rows, per_minute)
    assert (can.time_cost, can.omits_empty, can.has_volume) == (clock, omits, True)
    assert can.look_back == (
        {name: 720 * Timeframe(name).ms for name in can.timeframes} if exchange == "kraken" else {}
    )


def test_the_budget_can_be_configured() -> None:
    """A limit of one's own wins over ccxt's rate."""
    client = CcxtAPIClient("okx", "okx", Clock(), weight_per_minute=30)
    assert client.capabilities.weight_per_minute == 30


def test_unknown_exchanges_are_named_with_their_neighbours() -> None:
    """A slip in the configuration is one sentence, before anything runs."""
    with pytest.raises(ConfigError, match=r"^ccxt knows no exchange 'krakn'; did you mean kraken"):
        CcxtAPIClient("mine", "krakn", Clock())
    with pytest.raises(ConfigError, match="no spot candles of krakenfutures"):
        _ = CcxtAPIClient("mine", "krakenfutures", Clock()).capabilities


def test_a_proxy_is_asked_instead_of_the_host(wire: WireServer) -> None:
    """Requests go through it whatever ccxt would do, and its password is in no message."""
    proxy = wire.url.replace("http://", "http://user:hush@")
    client = CcxtAPIClient("okx", "okx", Clock(START), PATIENT, [proxy], "http://www.okx.example")
    wire.answer(Reply(body=okx_candles(START, 1)), Reply(fault="reset"))
    request = CandleRequest("BTC-USDT", M1, START, START + MINUTE)
    assert len(client.candles(client.endpoints[0], request).value) == 1
    assert wire.seen[0].startswith("http://www.okx.example/api/v5/market/candles?")
    with pytest.raises(RetryableError, match="through the proxy 127") as caught:
        client.candles(client.endpoints[0], request)
    assert "hush" not in str(caught.value)
    client.close()
