"""Each of the sandbox's venues has faults, spells of being down, a clock and restatements of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

from fetcher.sandbox.control import SandboxControl, spawn_sandbox
from fetcher.sandbox.registry import VENUES

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOCK = "2026-04-30T04:07:30Z"
ROUTES = {
    "kraken": "/kraken/0/public/Time",
    "okx": "/okx/api/v5/public/time",
    "coinbase": "/coinbase/time",
    "coingecko": "/coingecko/api/v3/ping",
    "yahoo": "/yahoo/v1/test/getcrumb",
}


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


@pytest.mark.parametrize("name", VENUES)
def test_a_venue_that_is_down_leaves_the_others_alone(sandbox: SandboxControl, name: str) -> None:
    """Its time endpoint too; the log says so; its clock may be wrong on its own."""
    sandbox.configure(venues={name: {"down": ["2026-04-30T04:00/2026-04-30T05:00"]}})
    with pytest.raises(requests.ConnectionError):
        requests.get(sandbox.url + ROUTES[name], timeout=10)
    assert sandbox.log(venue=name)[0]["fault"] == "down"
    for other in ROUTES.keys() - {name}:
        assert requests.get(sandbox.url + ROUTES[other], timeout=10).ok
    assert requests.get(sandbox.url + "/api/v3/ping", timeout=10).ok
    sandbox.configure(venues={name: {"down": [], "ahead_ms": 3_600_000}})
    assert requests.get(sandbox.url + ROUTES[name], timeout=10).headers["Date"] == "Thu, 30 Apr 2026 05:07:30 GMT"
    assert requests.get(sandbox.url + "/api/v3/ping", timeout=10).headers["Date"] == "Thu, 30 Apr 2026 04:07:30 GMT"


def test_scripts_and_restatements_name_a_venue(sandbox: SandboxControl) -> None:
    """OKX's second kind of candle request is one too; Binance is left as it is."""
    query = "?instId=BTC-USDT&bar=1H&limit=3"
    history = f"{sandbox.url}/okx/api/v5/market/history-candles{query}"
    before = requests.get(history, timeout=10).json()["data"]
    sandbox.script("status:429", venue="okx", symbol="BTC-USDT")
    refused = requests.get(history, timeout=10)
    assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (429, "50011", "1")
    opened = int(before[0][0])
    sandbox.restate("BTCUSDT", "1h", opened, "12345.5", venue="okx")
    after = requests.get(history, timeout=10).json()["data"]
    assert float(after[0][4]) == pytest.approx(12345.5, rel=6e-4)
    assert after[1:] == before[1:]
    klines = f"{sandbox.url}/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime={opened}&limit=1"
    assert float(requests.get(klines, timeout=10).json()[0][4]) == pytest.approx(float(before[0][4]), rel=6e-4)
