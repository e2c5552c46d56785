"""Several base URLs of one source: a host that fails or turns us away is passed over, what rests is everybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.model import Timeframe
from fetcher.outcome import Outcome
from fetcher.sandbox.control import spawn_sandbox
from fetcher.sandbox.generated import GeneratedMarket
from tests.integration.world import market, open_world, same_candles, window

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")

NOW = parse_utc("2024-03-10T00:00:30Z")


@pytest.mark.parametrize("fault", ["status:500", "status:403", "status:451", "reset", "html"])
def test_a_host_that_fails_is_passed_over(tmp_path: Path, fault: str) -> None:
    """With the first host failing every time, the second serves everything; the first is asked a few times only."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world, spawn_sandbox("--clock", format_utc(NOW)) as bad:
        bad.configure(faults={fault: 1.0}, paths=["/api/v3/klines", "/api/v3/time", "/api/v3/exchangeInfo"])
        world.configure(market("BTC/USDT", "1h", "2024-01-01"), url=f"{bad.url}', '{world.sandbox.url}")
        assert world.run(clock=Clock(NOW)).outcome is Outcome.OK
        true = GeneratedMarket().oracle("BTCUSDT", Timeframe("1h"), window("2024-01-01", "2024-03-12"), NOW)
        assert same_candles(world.rows("BTC/USDT", "1h"), true)
        assert 1 <= len(bad.log()) <= 20


def test_a_ban_rests_all_hosts_behind_one_address(tmp_path: Path) -> None:
    """A 418 of whichever host is asked first holds for the address of this machine: no other is tried after it.

    Time and markets are asked together, so that two questions may be on their way.
    """
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world, spawn_sandbox("--clock", format_utc(NOW)) as banned:
        for host in (world.sandbox, banned):
            host.configure(faults={"status:418": 1.0}, paths=["*"], retry_after=100)
        world.configure(market("BTC/USDT", "1h", "2024-01-01"), url=f"{banned.url}', '{world.sandbox.url}")
        assert world.run(clock=Clock(NOW)).exit_code == 1
        assert 1 <= len(world.sandbox.log() + banned.log()) <= 2
