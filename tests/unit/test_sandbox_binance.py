"""Binance's answers: shapes, codes, weights, and what may be kept rendered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.clock import parse_utc
from fetcher.model import HOUR, MINUTE
from fetcher.sandbox.binance import KLINES, BinanceExchange
from fetcher.sandbox.generated import GeneratedMarket, History
from fetcher.sandbox.limits import WeightLimit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.sandbox.answer import Answer

NOW = parse_utc("2024-03-05T10:20:30.500")
DAY_1 = parse_utc("2024-03-04")


@pytest.fixture
def exchange() -> BinanceExchange:
    """A generated market with one symbol that is gone."""
    return BinanceExchange(GeneratedMarket(History(delisted={"OLDUSDT": DAY_1})), WeightLimit())


def ask(
    exchange: BinanceExchange, path: str, query: Mapping[str, object] | None = None, now_ms: int = NOW, unit: str = ""
) -> Answer:
    """One GET."""
    texts = {name: str(value) for name, value in (query or {}).items()}
    return exchange.answer(path, texts, {"X-MBX-TIME-UNIT": unit}, now_ms)


def klines(exchange: BinanceExchange, now_ms: int = NOW, **query: object) -> list[Any]:
    """A decoded page of BTCUSDT hours unless told otherwise."""
    answer = ask(exchange, KLINES, {"symbol": "BTCUSDT", "interval": "1h", **query}, now_ms)
    assert answer.status == 200, answer.body
    page: list[Any] = json.loads(answer.body)
    assert answer.rows == len(page)
    return page


HOURS = {"symbol": "BTCUSDT", "interval": "1h"}


@pytest.mark.parametrize(
    ("path", "query", "code", "says"),
    [
        (KLINES, {}, -1102, "'symbol' was not sent"),
        (KLINES, {"symbol": "BTCUSDT"}, -1102, "'interval' was not sent"),
        (KLINES, {**HOURS, "symbol": ""}, -1102, "'symbol'"),
        (KLINES, {**HOURS, "symbol": "btcusdt"}, -1100, "'symbol'"),
        (KLINES, {**HOURS, "symbol": "BTC/USDT"}, -1100, "'symbol'"),
        (KLINES, {**HOURS, "symbol": "NOSUCH"}, -1121, "Invalid symbol."),
        (KLINES, {**HOURS, "interval": "1H"}, -1120, "Invalid interval."),
        (KLINES, {**HOURS, "interval": "7m"}, -1120, "Invalid interval."),
        (KLINES, {**HOURS, "startTime": "yesterday"}, -1100, "'startTime'"),
        (KLINES, {**HOURS, "endTime": "-1"}, -1100, "'endTime'"),
        (KLINES, {**HOURS, "limit": "ten"}, -1100, "'limit'"),
        (KLINES, {**HOURS, "limit": "0"}, -1130, "'limit'"),
        (KLINES, {**HOURS, "from": "1"}, -1104, "read '2' parameter(s) but was sent '3'"),
        (KLINES, {**HOURS, "timeZone": "8"}, -1130, "timeZone"),
        ("/api/v3/time", {"a": "1"}, -1101, "Too many parameters"),
        ("/api/v3/exchangeInfo", {"symbol": "NOSUCH"}, -1121, "Invalid symbol."),
        ("/api/v3/exchangeInfo", {"symbols": '["BTCUSDT","NOSUCH"]'}, -1121, "Invalid symbol."),
        ("/api/v3/exchangeInfo", {"symbols": '["BTCUSDT","BTCUSDT"]'}, -1151, "multiple times"),
        ("/api/v3/exchangeInfo", {"symbols": "BTCUSDT"}, -1100, "'symbols'"),
        ("/api/v3/exchangeInfo", {"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'}, -1128, "Combination"),
    ],
)
def test_bad_requests_get_the_exchanges_code(
    exchange: BinanceExchange, path: str, query: dict[str, str], code: int, says: str
) -> None:
    """Status 400 and `{"code":…,"msg":…}`, weight counted all the same."""
    answer = exchange.answer(path, query, {}, NOW)
    told = json.loads(answer.body)
    assert (answer.status, told["code"]) == (400, code)
    assert says in told["msg"]
    assert answer.headers["x-mbx-used-weight-1m"] != "0"


def test_weights_are_those_of_the_documentation(exchange: BinanceExchange) -> None:
    """1 for ping and time, 20 for exchangeInfo, 2 for klines whatever the limit; unknown paths cost nothing."""
    used = []
    for path, query in (
        ("/api/v3/ping", {}),
        ("/api/v3/time", {}),
        ("/api/v3/exchangeInfo", {}),
        (KLINES, HOURS),
        ("/api/v3/nope", {}),
    ):
        answer = exchange.answer(path, query, {}, NOW)
        used.append(exchange.used_weight)
        if answer.status == 200:
            assert answer.headers["x-mbx-used-weight"] == answer.headers["x-mbx-used-weight-1m"] == str(used[-1])
    assert used == [1, 2, 22, 24, 24]
    assert answer.status == 404


def test_ping_and_time_are_what_the_documentation_shows(exchange: BinanceExchange) -> None:
    """Compact JSON; microseconds where the header asks for them."""
    assert ask(exchange, "/api/v3/ping").body == b"{}"
    assert ask(exchange, "/api/v3/time").body == b'{"serverTime":1709634030500}'
    micros = ask(exchange, "/api/v3/time", unit="MICROSECOND")
    assert micros.body == b'{"serverTime":1709634030500000}'


def test_exchange_info_names_symbols_as_the_exchange_does(exchange: BinanceExchange) -> None:
    """All, one or some; delisted ones as BREAK; permission sets only where wanted."""
    every = json.loads(ask(exchange, "/api/v3/exchangeInfo", {"showPermissionSets": "false"}).body)
    status = {symbol["symbol"]: symbol["status"] for symbol in every["symbols"]}
    assert len(status) >= 30
    assert (status["BTCUSDT"], status["OLDUSDT"]) == ("TRADING", "BREAK")
    assert every["serverTime"] == NOW
    assert every["rateLimits"][0]["limit"] == 6000
    assert every["symbols"][0]["permissionSets"] == []
    (one,) = json.loads(ask(exchange, "/api/v3/exchangeInfo", {"symbol": "ANYUSDC"}).body)["symbols"]
    assert (one["baseAsset"], one["quoteAsset"], one["permissionSets"]) == ("ANY", "USDC", [["SPOT", "MARGIN"]])
    some = json.loads(ask(exchange, "/api/v3/exchangeInfo", {"symbols": '["ETHBTC","BTCUSDT"]'}).body)["symbols"]
    assert [symbol["symbol"] for symbol in some] == ["ETHBTC", "BTCUSDT"]
    gone = json.loads(ask(exchange, "/api/v3/exchangeInfo", {"symbolStatus": "BREAK"}).body)["symbols"]
    assert [symbol["symbol"] for symbol in gone] == ["OLDUSDT"]


def test_a_row_has_the_exchanges_twelve_cells(exchange: BinanceExchange) -> None:
    """Times and the count are numbers, everything else text with eight decimals."""
    (row,) = klines(exchange, limit=1, startTime=DAY_1)
    assert [type(cell) for cell in row] == [int, *[str] * 5, int, str, int, str, str, str]
    assert (row[0], row[6], row[11]) == (DAY_1, DAY_1 + HOUR - 1, "0")
    assert all(len(row[n].rpartition(".")[2]) == 8 for n in (1, 2, 3, 4, 5, 7, 9, 10))


def test_limits_default_to_500_and_are_clamped_to_1000(exchange: BinanceExchange) -> None:
    """Asking for more is no error and gets no more."""
    assert len(klines(exchange)) == 500
    assert len(klines(exchange, limit=5000, startTime=DAY_1 - 5000 * HOUR)) == 1000


def test_without_a_start_the_newest_rows_come_with_the_live_one_last(exchange: BinanceExchange) -> None:
    """Nothing lies beyond the clock."""
    rows = klines(exchange, limit=3, interval="1m")
    live = NOW - NOW % MINUTE
    assert [row[0] for row in rows] == [live - 2 * MINUTE, live - MINUTE, live]
    assert rows[-1][6] > NOW


def test_times_may_come_in_us_and_seconds_mean_1970(exchange: BinanceExchange) -> None:
    """As the exchange reads them: us start rounds up, us end rounds down."""
    assert len(klines(exchange, startTime=DAY_1 * 1000, endTime=(DAY_1 + 2 * HOUR) * 1000)) == 3
    assert len(klines(exchange, startTime=DAY_1 * 1000 + 1, endTime=(DAY_1 + 2 * HOUR) * 1000 - 1)) == 1
    assert klines(exchange, startTime=DAY_1 // 1000, endTime=DAY_1 // 1000 + 3600) == []
    answer = ask(exchange, KLINES, {**HOURS, "startTime": DAY_1, "limit": 1}, unit="microsecond")
    assert json.loads(answer.body)[0][0] == DAY_1 * 1000


def test_only_pages_that_cannot_change_are_kept(exchange: BinanceExchange) -> None:
    """A page with the live candle moves with the clock, however often it was asked for."""
    first = klines(exchange, NOW, startTime=DAY_1, limit=1000)
    later = klines(exchange, NOW + 2 * HOUR, startTime=DAY_1, limit=1000)
    assert len(later) == len(first) + 2
    assert later[len(first) - 1] != first[-1]
    bounded = {"startTime": DAY_1, "endTime": NOW - 1}
    assert klines(exchange, NOW, **bounded)[-1] != klines(exchange, NOW + 2 * HOUR, **bounded)[-1]
    settled = {"startTime": DAY_1, "limit": 10}
    assert klines(exchange, NOW, **settled) == klines(exchange, NOW + HOUR, **settled)


def test_kept_pages_are_bounded_and_the_latest_used() -> None:
    """The memory of a sandbox does not grow with what was asked of it."""
    exchange = BinanceExchange(GeneratedMarket(), WeightLimit(), kept_pages=2)
    for hour in (0, 1, 0, 2):
        klines(exchange, startTime=DAY_1 + hour * HOUR, limit=1)
    kept = [asked.span.start for asked, _ in exchange._pages]  # type: ignore[attr-defined]  # the kind that keeps pages
    assert kept == [DAY_1, DAY_1 + 2 * HOUR]


def test_too_much_weight_is_refused_in_the_exchanges_words() -> None:
    """429 with Retry-After, then 418 that names the end of the ban."""
    exchange = BinanceExchange(GeneratedMarket(), WeightLimit(per_minute=2, ban_after=2, ban_seconds=60))
    answers = [ask(exchange, KLINES, HOURS) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 429, 429, 418]
    assert json.loads(answers[1].body) == {
        "code": -1003,
        "msg": "Too much request weight used; current limit is 2 request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API.",
    }
    assert answers[1].headers["Retry-After"] == "30"
    assert f"IP banned until {NOW + 60_000}." in json.loads(answers[3].body)["msg"]
    assert answers[3].headers["Retry-After"] == "60"
