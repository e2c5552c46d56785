"""Libraries of sources that are not asked cost nothing: cron starts the program every minute."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fetcher.clock import format_utc, parse_utc
from fetcher.model import DAY, HOUR
from tests.integration.commands import CommandLine
from tests.integration.world_of_sources import SourceWorld, market_of, open_sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")

NOW = parse_utc("2026-06-01T00:00:30Z")
HEAVY = ("alembic", "ccxt", "pandas", "prometheus_client", "pycoingecko", "yfinance")
MASKED = "numpy.ma"  # 11 ms, for the first np.unique
_PROGRAM = f"""
import atexit, sys
atexit.register(lambda: print("IMPORTED", *({set(HEAVY)} & set(sys.modules))))
atexit.register(lambda: print("MASKED", {MASKED!r} in sys.modules))
from fetcher.__main__ import start
start()
"""


class Lazy(SourceWorld, CommandLine):
    """A command line with several sources that tells which libraries a command imported, and if MASKED was."""

    has_masked = False

    def imports(self, *words: str, now: int = NOW) -> tuple[int, set[str]]:
        """The exit code of a command at `now` (ms UTC), and which of HEAVY it imported."""
        said = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *words],
            cwd=self.folder, env=self.environment(FETCHER_CLOCK=format_utc(now)),
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        self.has_masked = "MASKED True" in said.stdout
        [told] = [line for line in said.stdout.splitlines() if line.startswith("IMPORTED")]
        return said.returncode, set(told.split()[1:])


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Lazy]:
    """A command line whose series are Binance's, with every other source to fall back on."""
    with open_sources(tmp_path, "--clock", format_utc(NOW)) as opened:
        made = Lazy(opened.sandbox, tmp_path)
        fallbacks = ("okx", "kraken", "coinbase", "coingecko", "yahoo")
        made.configure_sources(market_of("BTC/USDT ETH/USDT", "1m 4h 1d 3d", "2026-05-30", "binance", *fallbacks))
        yield made


def test_a_run_that_binance_serves_imports_no_other_library(line: Lazy) -> None:
    """The first run, one with nothing to do, and one after an outage that Binance proves to be its own."""
    line.sandbox.configure(outages=["2026-05-30T02:00/2026-05-30T04:30"])
    line.compared(NOW)
    assert line.imports() == (0, set())
    assert line.served("BTC/USDT", "1m").keys() == {"binance"}
    assert line.imports() == (0, set())
    assert line.imports("backfill", "--from", "2026-05-01", "--to", "2026-05-03") == (0, set())
    assert {entry["venue"] for entry in line.sandbox.log()} == {"binance"}


def test_new_candles_import_no_masked_arrays(line: Lazy) -> None:
    """The first run, and one that finds new candles beside those that are there."""
    for now in (NOW, NOW + HOUR):
        line.compared(now)
        assert run_at(line, now) == set()
        assert not line.has_masked


def test_commands_that_only_look_import_no_library(line: Lazy) -> None:
    """What is read from the database or the configuration needs no source."""
    line.configure_sources(market_of("BTC/USDT", "1h", "2026-05-20", "binance", "okx", "coingecko", "yahoo"))
    line.compared(NOW)
    assert line.imports() == (0, set())
    for words in ("status", "gaps", "sources", "jobs", "config check", "audit"):
        assert line.imports(*words.split()) == (0, set()), words


def test_only_the_library_that_is_used_is_imported(line: Lazy) -> None:
    """With Binance away OKX serves, by ccxt; nobody needs pandas for that."""
    line.configure_sources(market_of("BTC/USDT", "1h", "2026-05-20", "binance", "okx", "yahoo"))
    line.compared(NOW)
    line.down("binance")
    code, imported = line.imports()
    assert (code, imported) in [(0, {"ccxt"}), (1, {"ccxt"})]
    assert line.served("BTC/USDT", "1h").keys() == {"okx"}


def run_at(line: Lazy, now: int) -> set[str]:
    """Which libraries a bare run at `now` imported; it ends well."""
    line.sandbox.configure(clock=format_utc(now))
    code, imported = line.imports(now=now)
    assert code == 0
    return imported


def test_a_sample_loads_no_library_of_a_source_that_rests(line: Lazy) -> None:
    """While OKX rests a due comparison does not even load ccxt; the first one after that compares."""
    line.configure_sources(market_of("BTC/USDT", "1h", "2026-05-20", "binance", "okx"))
    line.compared(NOW)
    assert run_at(line, NOW) == set()
    rest = "UPDATE endpoint_state SET stop_until = :until WHERE source = 'okx'"
    assert line.change(rest, until=NOW + 2 * HOUR + HOUR // 2)
    for hours in (1, 2):
        assert run_at(line, NOW + hours * HOUR) == set()
    assert line.sandbox.log(venue="okx") == []
    assert run_at(line, NOW + 4 * HOUR) == {"ccxt"}
    assert line.sandbox.log(venue="okx") != []


def test_a_resting_source_is_not_even_looked_at_for_what_it_served(line: Lazy) -> None:
    """Candles that OKX stood in for are not compared while OKX rests, though Binance could be asked."""
    line.configure_sources(market_of("BTC/USDT", "1h", "2026-05-20", "binance", "okx"))
    line.compared(NOW)
    assert run_at(line, NOW) == set()
    line.change("UPDATE candles SET source_id = (SELECT id FROM sources WHERE name = 'okx')")
    line.change("UPDATE coverage SET source_id = (SELECT id FROM sources WHERE name = 'okx')")
    line.change("UPDATE endpoint_state SET stop_until = :until WHERE source = 'okx'", until=NOW + DAY)
    assert run_at(line, NOW + HOUR) == set()


def test_a_timeframe_that_no_other_source_offers_is_looked_up_once_a_day(line: Lazy) -> None:
    """Kraken has no candles of 8 hours, which ccxt must tell: at the first comparison that is due, then a day later."""
    line.configure_sources(market_of("BTC/USDT", "8h", "2026-05-20", "binance", "kraken"))
    assert run_at(line, NOW) == set(), "nothing was stored yet that could be compared"
    assert run_at(line, NOW + HOUR) == {"ccxt"}
    for hours in (3, 18):
        assert run_at(line, NOW + hours * HOUR) == set(), f"{hours} hours later"
    assert run_at(line, NOW + DAY + 2 * HOUR) == {"ccxt"}
    assert {entry["venue"] for entry in line.sandbox.log()} == {"binance"}
