"""The library costs a quarter of a second: it is imported when something is asked, not before."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
from fetcher.clients.ccxt_exchange import CcxtAPIClient
from fetcher.clock import Clock
client = CcxtAPIClient("okx", "okx", Clock())
assert "ccxt" not in sys.modules
assert client.market_id("BTC/USDT") == "BTC-USDT"
assert client.endpoints[0].key == "okx ccxt:okx"
assert "ccxt" not in sys.modules
assert client.capabilities.candle_cost == 1
assert "ccxt" in sys.modules
"""


def test_the_library_is_imported_when_it_is_used() -> None:
    """Making a client, even for a checked exchange id, imports nothing of ccxt."""
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True, timeout=60)
