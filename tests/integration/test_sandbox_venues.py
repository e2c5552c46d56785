"""The sandbox's other venues, asked by the real libraries on a real socket: what they return is the venue's oracle."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from requests.adapters import HTTPAdapter

from fetcher.clock import parse_utc
from fetcher.model import DAY, HOUR, MINUTE, Rows, Timeframe, Window
from fetcher.sandbox.control import SandboxControl, spawn_sandbox
from fetcher.sandbox.generated import GeneratedMarket
from fetcher.sandbox.registry import VENUES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fetcher.sandbox.venue import VenueExchange

CLOCK = "2026-04-30T04:07:30Z"
NOW = parse_utc(CLOCK)
PRICES = ("open", "high", "low", "close")


@pytest.fixture(scope="module")
def process() -> Iterator[SandboxControl]:
    """One sandbox whose clock stands still, its limits out of the way."""
    told = [f"--venue-limit={name}=100000/60s" for name in VENUES]
    with spawn_sandbox("--clock", CLOCK, *told) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(process: SandboxControl) -> SandboxControl:
    """The same sandbox as new."""
    calm = {"faults": {}, "down": [], "outages": [], "limit": "100000/60s", "ahead_ms": 0, "latency_seconds": 0}
    process.configure(clock=CLOCK, venues=dict.fromkeys(VENUES, calm))
    process.clear_log()
    return process


def truth(name: str) -> VenueExchange:
    """The same venue in this process, for its oracle."""
    return VENUES[name](GeneratedMarket())


def ccxt_exchange(sandbox: SandboxControl, name: str, exchange_id: str) -> Any:
    """The library's own exchange, its hosts replaced, its clock the sandbox's."""
    import ccxt

    settings = {"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}}
    exchange = getattr(ccxt, exchange_id)(settings)
    hosts = {key: f"{sandbox.url}/{name}{urlsplit(host).path}" for key, host in exchange.urls["api"].items()}
    exchange.urls["api"] = hosts
    exchange.milliseconds = lambda: NOW
    return exchange


def columns(rows: Rows, *names: str) -> list[list[float]]:
    """The rows as a library lists them: open time, then the columns."""
    return [[int(row["open_time"]), *(float(row[name]) for name in names)] for row in rows]


@pytest.mark.parametrize(
    ("name", "exchange_id", "market_id", "symbol", "timeframes"),
    [
        ("kraken", "kraken", "XXBTZUSD", "BTC/USD", ("1m", "1h", "1d")),
        ("kraken", "kraken", "XBTUSDT", "BTC/USDT", ("5m",)),
        ("okx", "okx", "BTC-USDT", "BTC/USDT", ("1m", "1h", "6h", "1d", "1w", "1M")),
        ("coinbase", "coinbaseexchange", "ETH-USD", "ETH/USD", ("1m", "1h", "6h", "1d")),
    ],
)
def test_ccxt_reads_what_the_venue_has(
    sandbox: SandboxControl, name: str, exchange_id: str, market_id: str, symbol: str, timeframes: tuple[str, ...]
) -> None:
    """Newest rows, each closed one as the oracle has it, the live one last; the clock; the market list."""
    exchange = ccxt_exchange(sandbox, name, exchange_id)
    assert symbol in exchange.load_markets()
    assert exchange.market(symbol)["id"] == market_id
    assert abs(exchange.fetch_time() - NOW) < 1000
    for text in timeframes:
        timeframe = Timeframe(text)
        start = timeframe.grid().floor(NOW - 100 * timeframe.ms)
        rows = exchange.fetch_ohlcv(symbol, text, since=start, limit=150)
        oracle = truth(name).oracle(market_id, timeframe, Window(start, NOW), NOW)
        assert len(oracle) > 80, text
        assert rows[: len(oracle)] == columns(oracle, *PRICES, "volume"), text
        assert [row[0] for row in rows[len(oracle) :]] in ([timeframe.grid().floor(NOW)], []), text
    assert not [entry for entry in sandbox.log() if entry["venue"] != name]


def test_kraken_reaches_back_720_rows_and_okx_to_the_listing(sandbox: SandboxControl) -> None:
    """Asked for January 2020, one answers with its newest rows, the other with January 2020."""
    start = parse_utc("2020-01-01")
    kraken = ccxt_exchange(sandbox, "kraken", "kraken").fetch_ohlcv("BTC/USD", "1m", since=start)
    assert (len(kraken), kraken[-1][0]) == (720, NOW // MINUTE * MINUTE)
    rows = ccxt_exchange(sandbox, "okx", "okx").fetch_ohlcv("BTC/USDT", "1m", since=start, limit=300)
    oracle = truth("okx").oracle("BTC-USDT", Timeframe("1m"), Window(start, start + 300 * MINUTE), NOW)
    assert rows == columns(oracle, *PRICES, "volume")


def test_coinbase_leaves_out_minutes_without_trades_and_others_do_not(sandbox: SandboxControl) -> None:
    """What OKX shows flat is missing at Coinbase, nothing else."""
    start = parse_utc("2026-04-29")
    omitted = ccxt_exchange(sandbox, "coinbase", "coinbaseexchange").fetch_ohlcv("BTC/USDT", "1m", start, 300)
    flat = ccxt_exchange(sandbox, "okx", "okx").fetch_ohlcv("BTC/USDT", "1m", start, 300)
    assert len(flat) == 300
    assert [row[0] for row in omitted] == [row[0] for row in flat if row[5]]
    assert 0 < len(flat) - len(omitted) < 60


def test_all_venues_see_the_same_market(sandbox: SandboxControl) -> None:
    """Closes of one hour differ from venue to venue, and by less than 11 basis points."""
    start = NOW // HOUR * HOUR - 4 * HOUR
    ids = {"kraken": "XBTUSDT", "okx": "BTC-USDT", "coinbase": "BTC-USDT", "coingecko": "bitcoin", "yahoo": "BTC-USD"}
    window = Window(start, start + 3 * HOUR)
    found = [truth(name).oracle(market, Timeframe("1h"), window, NOW)["close"] for name, market in ids.items()]
    binance = requests.get(
        f"{sandbox.url}/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime={start}&limit=3", timeout=10
    )
    found.append(np.array([float(row[4]) for row in binance.json()]))
    for hour in np.stack(found, axis=1):
        assert len(set(hour.tolist())) == len(found)
        assert hour.max() / hour.min() < 1.0011


@pytest.fixture
def gecko(sandbox: SandboxControl) -> Any:
    """The library, its address replaced."""
    from pycoingecko import CoinGeckoAPI

    api = CoinGeckoAPI(retries=0)
    api.api_base_url = f"{sandbox.url}/coingecko/api/v3/"
    api.session.trust_env = False
    yield api
    api.session.close()


@pytest.mark.parametrize(("days", "step"), [(1, HOUR // 2), (7, 4 * HOUR), (30, 4 * HOUR), (90, 4 * DAY)])
def test_coingecko_stamps_candles_with_their_close(gecko: Any, days: int, step: int) -> None:
    """The size follows the days; what is closed is the oracle's; the last is live, stamped when the answer was made."""
    rows = gecko.get_coin_ohlc_by_id("bitcoin", "usd", days)
    answered = parse_utc("2026-04-30T04:05")  # cached for up to 15 minutes
    assert rows[-1][0] == answered
    assert [row[0] % step for row in rows[:-1]] == [0] * (len(rows) - 1)
    assert rows[0][0] > answered - days * DAY
    if step < DAY:
        timeframe = Timeframe("30m" if days == 1 else "4h")
        window = Window(rows[0][0] - step, rows[-2][0])
        oracle = truth("coingecko").oracle("bitcoin", timeframe, window, NOW)
        assert [[row[0] - step, *row[1:]] for row in rows[:-1]] == columns(oracle, *PRICES)
        assert len(oracle) == days * DAY // step


def test_coingecko_lists_namesakes_and_charts_the_last_90_days(gecko: Any) -> None:
    """Several ids share a ticker; points of a chart lie off the grid and end now."""
    assert gecko.ping() == {"gecko_says": "(V3) To the Moon!"}
    ids = [coin["id"] for coin in gecko.get_coins_list() if coin["symbol"] == "eth"]
    assert ids == ["ethereum", "ethereum-wormhole", "the-infinite-garden"]
    chart = gecko.get_coin_market_chart_by_id("ethereum", "usd", 30)
    assert chart.keys() == {"prices", "market_caps", "total_volumes"}
    times = [point[0] for point in chart["prices"]]
    assert (len(times), times[-1]) == (721, parse_utc("2026-04-30T04:05"))
    assert sum(time % HOUR == 0 for time in times) < 5
    assert all(volume > 0 for _, volume in chart["total_volumes"])


def test_coingecko_refuses_in_its_three_ways(gecko: Any, sandbox: SandboxControl) -> None:
    """Unknown coin, too far back, too often: the plan is told by the key's header."""
    refused: list[tuple[Callable[[], Any], str]] = [
        (lambda: gecko.get_coin_ohlc_by_id("the-infinite-garden", "usd", 1), "coin not found"),
        (lambda: gecko.get_coin_ohlc_by_id("bitcoin", "usd", "max"), "10012"),
        (lambda: gecko.get_coin_ohlc_by_id_range("bitcoin", "usd", NOW // 1000 - 9000, NOW // 1000, "hourly"), "10005"),
    ]
    for call, says in refused:
        with pytest.raises(ValueError, match=says):
            call()
    gecko.session.headers["x-cg-pro-api-key"] = "any"
    rows = gecko.get_coin_ohlc_by_id_range("bitcoin", "usd", NOW // 1000 - 86400, NOW // 1000, "hourly")
    oracle = truth("coingecko").oracle("bitcoin", Timeframe("1h"), Window(NOW - DAY - HOUR, NOW), NOW)
    assert [[row[0] - HOUR, *row[1:]] for row in rows] == columns(oracle[-len(rows) :], *PRICES)
    sandbox.configure(venues={"coingecko": {"limit": "1/60s"}})
    answers = [requests.get(f"{sandbox.url}/coingecko/api/v3/ping", timeout=10) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].headers["Retry-After"] == "30"
    assert answers[1].json()["status"]["error_code"] == 429


class Redirected(HTTPAdapter):
    """Sends what is meant for any of Yahoo's hosts to the sandbox."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base

    def send(self, request: requests.PreparedRequest, *told: Any, **more: Any) -> requests.Response:
        """The answer, which looks as if it came from where it was meant to."""
        meant = request.url or ""
        parts = urlsplit(meant)
        request.url = f"{self.base}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")
        response = super().send(request, *told, **more)
        request.url = response.url = meant
        return response


@pytest.fixture
def history(sandbox: SandboxControl, tmp_path: Path) -> Any:
    """`Ticker.history` of a fresh session and cache."""
    import yfinance as yf

    yf.set_tz_cache_location(str(tmp_path))
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", Redirected(f"{sandbox.url}/yahoo"))

    def ask(ticker: str, **window: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own use of pandas
            asked = yf.Ticker(ticker, session=session)
            asked._data.cache_get.cache_clear()
            return asked.history(auto_adjust=False, actions=False, **window)

    yield ask
    session.close()


@pytest.mark.parametrize(
    ("interval", "name", "days"), [("1m", "1m", 2), ("5m", "5m", 3), ("1h", "1h", 20), ("1d", "1d", 400)]
)
def test_yfinance_reads_what_yahoo_has(history: Any, interval: str, name: str, days: int) -> None:
    """Closed rows are the oracle's, null ones missing, volume in dollars; the live one comes last."""
    start = NOW // DAY * DAY - days * DAY
    frame = history("BTC-USD", start=start // 1000, end=NOW // 1000 + 1, interval=interval)
    values = (frame[column].tolist() for column in ("Open", "High", "Low", "Close", "Volume"))
    rows = [list(row) for row in zip(frame.index.as_unit("ms").asi8.tolist(), *values, strict=True)]
    timeframe = Timeframe(name)
    oracle = truth("yahoo").oracle("BTC-USD", timeframe, Window(start, NOW), NOW)
    expected = columns(oracle, *PRICES, "quote_volume")
    assert rows[: len(expected)] == expected
    assert len(rows) - len(expected) in {1, 2}
    assert all(row[0] + timeframe.ms > NOW for row in rows[len(expected) :])
    slots = timeframe.grid().count(Window(start, timeframe.grid().floor(NOW)))
    assert (len(expected) < slots) == (timeframe.ms < DAY)


def test_yahoo_refuses_as_yahoo_does(history: Any, sandbox: SandboxControl) -> None:
    """Unknown ticker, too far back, too long, nothing there; a number tells namesakes apart."""
    chart = f"{sandbox.url}/yahoo/v8/finance/chart/"

    def ask(ticker: str, interval: str, first: int, last: int) -> requests.Response:
        query = {"interval": interval, "period1": str(first // 1000), "period2": str(last // 1000)}
        return requests.get(chart + ticker, params=query, timeout=10)

    unknown = ask("UNI-USD", "1d", NOW - DAY, NOW)
    assert (unknown.status_code, unknown.json()["chart"]["error"]["code"]) == (404, "Not Found")
    assert ask("UNI7083-USD", "1d", NOW - DAY, NOW).status_code == 200
    far = ask("BTC-USD", "5m", NOW - 90 * DAY, NOW)
    assert far.status_code == 422
    assert "must be within the last 60 days" in far.json()["chart"]["error"]["description"]
    assert ask("BTC-USD", "1m", NOW - 9 * DAY, NOW).status_code == 422
    empty = ask("BTC-USD", "1d", parse_utc("2015-01-01"), parse_utc("2015-02-01")).json()["chart"]["result"][0]
    assert "timestamp" not in empty
    assert empty["indicators"]["quote"] == [{}]
    cookie = requests.get(f"{sandbox.url}/yahoo/", timeout=10)
    assert cookie.headers["Set-Cookie"].startswith("A3=")
    assert len(history("BTC-USD", period="5d", interval="1d")) in {5, 6}
