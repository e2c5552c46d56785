"""The other venues without a socket: one truth seen five ways, every fault in every format, limits, and options."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fetcher.clock import parse_utc
from fetcher.model import DAY, HOUR, MINUTE, Timeframe, Window
from fetcher.sandbox.faults import FAULT, FAULTS, Scene, Severity
from fetcher.sandbox.generated import GeneratedMarket
from fetcher.sandbox.limits import WindowLimit
from fetcher.sandbox.registry import VENUES
from fetcher.sandbox.view import Pair, VenueView

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fetcher.sandbox.answer import Answer

CLOCK = "2026-04-30T04:07:30Z"
NOW = parse_utc(CLOCK)
S = NOW // 1000
IDS = {"kraken": "XXBTZUSD", "okx": "BTC-USDT", "coinbase": "BTC-USD", "coingecko": "bitcoin", "yahoo": "BTC-USD"}
PAGES: dict[str, tuple[str, dict[str, str]]] = {
    "kraken": ("/0/public/OHLC", {"pair": "XXBTZUSD", "interval": "60", "since": str(S - 90_000)}),
    "okx": ("/api/v5/market/candles", {"instId": "BTC-USDT", "bar": "1H", "before": str(NOW - DAY)}),
    "coinbase": (
        "/products/BTC-USD/candles",
        {"granularity": "3600", "start": "2026-04-29T00:00:00Z", "end": "2026-04-30T04:00:00Z"},
    ),
    "coingecko": ("/api/v3/coins/bitcoin/ohlc", {"vs_currency": "usd", "days": "1"}),
    "yahoo": ("/v8/finance/chart/BTC-USD", {"interval": "1h", "period1": str(S - 90_000), "period2": str(S)}),
}
ROWLESS = ("reset", "hang", "truncate", "latency")


def ask(name: str, path: str, query: Mapping[str, str], now_ms: int = NOW, **headers: str) -> Answer:
    """One request to a fresh venue."""
    return VENUES[name](GeneratedMarket()).answer(path, query, headers, now_ms)


def body(answer: Answer) -> Any:
    """What the answer says."""
    return json.loads(answer.body)


def spoiled(name: str, fault: str) -> tuple[Answer, Answer]:
    """A venue's good page, and the same after a fault."""
    venue = VENUES[name](GeneratedMarket())
    good = venue.answer(*PAGES[name], {}, NOW)
    scene = Scene(Random(3), Severity(retry_after=3), NOW, venue.layout, venue.complain)
    return good, FAULT[fault](good, scene)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", VENUES)
def test_every_fault_spoils_every_format(name: str, fault: str) -> None:
    """In the vendor's own format: JSON stays JSON where the fault is in the rows."""
    good, bad = spoiled(name, fault)
    if fault == "negative_volume" and name == "coingecko":
        assert bad is good  # there is no volume
        return
    assert bad != good
    if fault.startswith("status:"):
        assert bad.status == int(fault.removeprefix("status:"))
    elif fault in {"cut_json", "html", "empty_body"}:
        with pytest.raises(json.JSONDecodeError):
            body(bad)
    elif fault not in ROWLESS:
        rows = VENUES[name].layout.rows(body(bad)) if bad.rows else []
        assert (bad.status, len(rows)) == (200, bad.rows)
        assert rows != VENUES[name].layout.rows(body(good))


@pytest.mark.parametrize("name", VENUES)
def test_row_faults_do_what_they_are_called(name: str) -> None:
    """High below low, a future open time, a row gone, times a thousand times too large."""
    layout = VENUES[name].layout
    good = layout.rows(body(spoiled(name, "latency")[0]))
    crossed = layout.rows(body(spoiled(name, "bad_ohlc")[1]))
    assert any(row[layout.high] is not None and float(row[layout.high]) < float(row[layout.low]) for row in crossed)
    late = layout.rows(body(spoiled(name, "future")[1]))
    assert late[: len(good)] == good
    assert all(layout.time_ms(row) > NOW for row in late[len(good) :])
    left = layout.rows(body(spoiled(name, "left_out")[1]))
    assert len(left) < len(good)
    assert all(row in good for row in left)
    micros = layout.rows(body(spoiled(name, "micros")[1]))
    assert [int(row[0]) for row in micros] == [int(row[0]) * 1000 for row in good]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("kraken", {"error": ["EAPI:Rate limit exceeded"]}),
        ("okx", {"code": "50011", "data": [], "msg": "Too Many Requests"}),
        ("coinbase", {"message": "Public rate limit exceeded"}),
    ],
)
def test_too_many_requests_are_refused_in_the_vendors_words(name: str, says: object) -> None:
    """Kraken says so with HTTP 200; nobody tells how long to wait; the next window is a new one."""
    path, query = PAGES[name]
    venue = VENUES[name](GeneratedMarket(), WindowLimit(2, 2_000))
    answers = [venue.answer(path, query, {}, NOW) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 200 if name == "kraken" else 429]
    assert body(answers[-1]) == says
    assert "Retry-After" not in answers[-1].headers
    assert venue.used_weight == 3
    assert venue.answer(path, query, {}, NOW + 2_000).rows


def test_coingeckos_limit_is_the_plans() -> None:
    """10 a minute without a key, 30 with a demo key, 250 with a paid one."""
    for header, allowed in (("", 10), ("x-cg-demo-api-key", 30), ("x-cg-pro-api-key", 250)):
        venue = VENUES["coingecko"](GeneratedMarket())
        statuses = [venue.answer("/api/v3/ping", {}, {header: "key"}, NOW).status for _ in range(allowed + 1)]
        assert statuses == [200] * allowed + [429]


@pytest.mark.parametrize(
    ("name", "path", "query", "status", "says"),
    [
        ("kraken", "/0/public/OHLC", {}, 200, "EGeneral:Invalid arguments"),
        ("kraken", "/0/public/OHLC", {"pair": "NOSUCH"}, 200, "EQuery:Unknown asset pair"),
        ("kraken", "/0/public/OHLC", {"pair": "XBTUSD", "interval": "7"}, 200, "EGeneral:Invalid arguments"),
        ("okx", "/api/v5/market/candles", {"instId": "NO-SUCH"}, 200, '"51001"'),
        ("okx", "/api/v5/market/candles", {"instId": "BTC-USDT", "bar": "7m"}, 200, '"51000"'),
        ("okx", "/api/v5/market/candles", {"instId": "BTC-USDT", "before": "x"}, 200, '"51000"'),
        ("okx", "/api/v5/public/instruments", {}, 400, '"50014"'),
        ("coinbase", "/products/NO-SUCH/candles", {"granularity": "60"}, 404, "NotFound"),
        ("coinbase", "/products/BTC-USD/candles", {"granularity": "61"}, 400, "Unsupported granularity"),
        (
            "coinbase",
            "/products/BTC-USD/candles",
            {"granularity": "60", "start": "2026-04-29", "end": "2026-04-30"},
            400,
            "exceeds 300",
        ),
        ("coingecko", "/api/v3/coins/bitcoin/ohlc", {"vs_currency": "usd", "days": "3"}, 400, "days"),
        ("coingecko", "/api/v3/coins/bitcoin/ohlc", {"vs_currency": "xyz", "days": "1"}, 400, "vs_currency"),
        ("coingecko", "/api/v3/coins/btc/ohlc", {"vs_currency": "usd", "days": "1"}, 404, "coin not found"),
        ("coingecko", "/api/v3/coins/bitcoin/market_chart", {"vs_currency": "usd", "days": "366"}, 401, "10012"),
        ("yahoo", "/v8/finance/chart/NOSUCH-EUR", {}, 404, "No data found"),
        ("yahoo", "/v8/finance/chart/BTC-USD", {"interval": "2h"}, 422, "interval=2h is not supported"),
        ("yahoo", "/v10/finance/quoteSummary/BTC-USD", {}, 404, "finance"),
    ],
)
def test_bad_questions_get_the_vendors_answer(
    name: str, path: str, query: dict[str, str], status: int, says: str
) -> None:
    """Status and words."""
    answer = ask(name, path, query)
    assert (answer.status, answer.rows) == (status, None)
    assert says in answer.body.decode()


def test_a_wrong_key_is_refused() -> None:
    """401 with CoinGecko's own code."""
    answer = VENUES["coingecko"](GeneratedMarket()).answer("/api/v3/ping", {}, {"x-cg-demo-api-key": "wrong-key"}, NOW)
    assert (answer.status, body(answer)["status"]["error_code"]) == (401, 10002)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "PEPEUSDT", "ETHBTC"])
@pytest.mark.parametrize("name", VENUES)
def test_a_venues_prices_are_nearly_the_truth_and_add_up(name: str, symbol: str) -> None:
    """5 basis points and half a tick at most; its hours are still the sums of its minutes."""
    market = GeneratedMarket()
    truth = market.listing(symbol)
    assert truth
    view, pair = VenueView(market, name, 8), Pair("any", truth.base, truth.quote, truth)
    window = Window(parse_utc("2026-04-28"), parse_utc("2026-04-29"))
    minutes, hours = (view.closed(pair, Timeframe(text), window, NOW) for text in ("1m", "1h"))
    tick = 10 ** (8 - truth.price_places)
    true = market.closed(symbol, Timeframe("1m"), window, NOW)
    off = np.abs(minutes["close"] - true["close"])
    assert np.all(off <= true["close"] * 5e-4 + tick)
    assert (minutes["high"] >= np.maximum(minutes["open"], minutes["close"])).all()
    parts = minutes["slot"] // HOUR
    for hour in hours:
        own = minutes[parts == int(hour["slot"]) // HOUR]
        assert (int(hour["high"]), int(hour["low"])) == (own["high"].max(), own["low"].min())
        assert int(hour["close"]) == int(own["close"][-1])
        units = [int(row["volume"]["whole"]) * 10**8 + int(row["volume"]["part"]) for row in (*own, hour)]
        assert sum(units[:-1]) == units[-1]


def test_yahoos_nulls_are_always_the_same_and_its_live_row_is_off_the_grid() -> None:
    """The unfinished hour at its slot, then the price of the moment with volume 0."""
    first, again = (body(ask("yahoo", *PAGES["yahoo"], now_ms=NOW + later)) for later in (0, 60_000))
    later = {**PAGES["yahoo"][1], "period2": str(S + 1), "interval": "1m"}
    chart = body(ask("yahoo", PAGES["yahoo"][0], later))["chart"]["result"][0]
    stamps, quote = chart["timestamp"], chart["indicators"]["quote"][0]
    nulls = [n for n, price in enumerate(quote["open"]) if price is None]
    assert 3 < len(nulls) < 60
    assert all(quote[name][n] is None for n in nulls for name in quote)
    assert stamps[-2:] == [S // 60 * 60, S]
    assert (quote["volume"][-1], quote["open"][-1]) == (0, quote["close"][-1])
    assert chart["meta"]["tradingPeriods"]
    closes = [chart["chart"]["result"][0]["indicators"]["quote"][0]["close"][:-2] for chart in (first, again)]
    assert closes[0] == closes[1]
    daily = {"interval": "1d", "range": "5d"}
    days = body(ask("yahoo", PAGES["yahoo"][0], daily))["chart"]["result"][0]
    assert days["timestamp"][-1] == days["meta"]["regularMarketTime"] == S
    assert all(stamp % 86_400 == 0 for stamp in days["timestamp"][:-1])
    assert "tradingPeriods" not in days["meta"]


def test_krakens_rows_begin_after_since_and_its_weeks_on_thursdays() -> None:
    """`last` is the newest committed row; other names of a pair are understood, the answer has its id."""
    since = S // 3600 * 3600 - 7200
    found = body(ask("kraken", "/0/public/OHLC", {"pair": "XBT/USD", "interval": "60", "since": str(since)}))["result"]
    assert [row[0] for row in found["XXBTZUSD"]] == [since + 3600, since + 7200]
    assert found["last"] == since + 3600
    weeks = body(ask("kraken", "/0/public/OHLC", {"pair": "XBTUSD", "interval": "10080"}))["result"]["XXBTZUSD"]
    assert {row[0] % (7 * 86_400) for row in weeks} == {0}
    quiet = body(ask("kraken", "/0/public/OHLC", {"pair": "XBTUSDT", "interval": "1"}))["result"]["XBTUSDT"]
    flat = [row for row in quiet if row[7] == 0]
    assert flat
    assert all(row[1] == row[2] == row[3] == row[4] and row[5:7] == ["0.0", "0.00000000"] for row in flat)


def test_okx_bounds_are_exclusive_and_candles_reach_back_1440() -> None:
    """Newest first; history has closed candles only."""
    newest = NOW // MINUTE * MINUTE
    query = {"instId": "BTC-USDT", "bar": "1m", "before": str(newest - 10 * MINUTE), "after": str(newest)}
    rows = body(ask("okx", "/api/v5/market/candles", query))["data"]
    opened = [int(row[0]) for row in rows]
    assert opened == [newest - n * MINUTE for n in range(1, 10)]
    assert {row[8] for row in rows} == {"1"}
    many = {"instId": "BTC-USDT", "limit": "9999"}
    assert [row[8] for row in body(ask("okx", "/api/v5/market/candles", many))["data"]] == ["0"] + ["1"] * 299
    assert {row[8] for row in body(ask("okx", "/api/v5/market/history-candles", many))["data"]} == {"1"}
    old = {"instId": "BTC-USDT", "after": str(NOW - 1441 * MINUTE)}
    assert body(ask("okx", "/api/v5/market/candles", old))["data"] == []
    assert len(body(ask("okx", "/api/v5/market/history-candles", old))["data"]) == 100


def test_the_shapes_are_those_of_the_recorded_answers(shared_data: Path) -> None:
    """Kraken's and Yahoo's, member by member and type by type; CoinGecko's ids are real ones."""
    real = json.loads((shared_data / "responses/kraken/0_public_OHLC-01.json").read_text())["body"]
    real = json.loads(real) if isinstance(real, str) else real
    ours = body(ask("kraken", "/0/public/OHLC", {"pair": "XXBTZUSD", "interval": "60"}))
    assert (real.keys(), real["result"].keys()) == (ours.keys(), ours["result"].keys())
    assert len(real["result"]["XXBTZUSD"]) == len(ours["result"]["XXBTZUSD"])
    assert [type(cell) for cell in real["result"]["XXBTZUSD"][0]] == [
        type(cell) for cell in ours["result"]["XXBTZUSD"][0]
    ]
    assert real["result"]["last"] == real["result"]["XXBTZUSD"][-2][0]
    chart = json.loads((shared_data / "responses/yahoo/v8_finance_chart_BTC_USD-01.json").read_text())["body"]["chart"]
    days = {"interval": "1d", "period1": "1577836800", "period2": "1578009600"}
    mine = body(ask("yahoo", "/v8/finance/chart/BTC-USD", days))["chart"]
    result, own = chart["result"][0], mine["result"][0]
    assert (result.keys(), result["indicators"].keys()) == (own.keys(), own["indicators"].keys())
    assert result["indicators"]["quote"][0].keys() == own["indicators"]["quote"][0].keys()
    assert result["timestamp"][:2] == own["timestamp"][:2]
