"""Several sources of every kind on the command line: doctor asks each, sources and status import none."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import requests

from fetcher.clock import parse_utc
from fetcher.sandbox.control import SandboxControl, spawn_sandbox
from tests.integration.commands import NOW, CommandLine, ended

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAY_MODULES = "import sys; from fetcher.cli import main; code = main({}); print(*sys.modules); sys.exit(code)"
LIBRARIES = {"ccxt", "pandas", "yfinance", "pycoingecko"}
MONTHS = "2026-05-01/2026-07-01"
KEY = {"GECKO_KEY": "a-key-of-no-worth"}
SOURCES = """\
database_url: sqlite:///market.db
sources:
  binance: {{client: binance, base_urls: ['{url}'], archive_url: null}}
  okx: {{client: ccxt, exchange: okx, base_url: '{url}/okx', weight_per_minute: 600}}
  coingecko: {{client: coingecko, base_url: '{url}/coingecko/api/v3', plan: demo, api_key_env: GECKO_KEY,
               weight_per_minute: 30}}
  yahoo: {{client: yahoo, base_url: '{url}/yahoo', weight_per_minute: 60}}
markets:
  - {{symbols: [{symbols}], timeframes: [{timeframes}], start: 2026-05-28, sources: [{order}]}}
"""


class ManySources(CommandLine):
    """A command line whose configuration names every kind of source."""

    def name(self, symbols: str = "BTC/USDT", timeframes: str = "1h", order: str = "binance, okx, yahoo") -> None:
        """Write the configuration anew."""
        written = SOURCES.format(url=self.sandbox.url, symbols=symbols, timeframes=timeframes, order=order)
        self.config_path.write_text(written, encoding="utf-8")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxControl]:
    """All venues of one market."""
    with spawn_sandbox("--clock", NOW) as control:
        yield control


@pytest.fixture
def line(sandbox: SandboxControl, tmp_path_factory: pytest.TempPathFactory) -> ManySources:
    """An empty folder with a configuration of every kind of source."""
    made = ManySources(sandbox, tmp_path_factory.mktemp("sources"))
    made.name()
    return made


@pytest.fixture(scope="module")
def asked(sandbox: SandboxControl, tmp_path_factory: pytest.TempPathFactory) -> ManySources:
    """The same where each source was asked once."""
    made = ManySources(sandbox, tmp_path_factory.mktemp("asked"))
    made.name()
    assert made.command("doctor", **KEY).code == 0
    return made


def test_doctor_asks_each_source(line: ManySources) -> None:
    """Each endpoint answers a question, our clock is right, the key is accepted, what is wanted is found."""
    line.name(symbols="BTC/USDT, ETH/USDT", timeframes="1h, 4h", order="binance, okx, coingecko, yahoo")
    said = line.command("doctor", **KEY)
    assert said.code == 0, said
    lines = {words[5:].partition(": ")[0]: words for words in said.out.splitlines()}
    for way_in in ("", "/okx", "/coingecko/api/v3", "/yahoo"):
        [found] = [words for name, words in lines.items() if name.endswith(f"{line.sandbox.url}{way_in}")]
        assert re.search(r"answers in \d+ ms.*; our clock agrees with its$", found), found
    [gecko] = [words for name, words in lines.items() if name.startswith("coingecko http")]
    assert "the key from GECKO_KEY is accepted" in gecko
    assert KEY["GECKO_KEY"] not in said.out + said.err
    assert "it lists all 2 that are wanted of it" in lines["okx markets"]
    assert "1h candles are left to other sources" in lines["coingecko markets"]
    assert "it knows all 2 that it was asked for; 4h candles are left to other sources" in lines["yahoo markets"]


def test_doctor_names_what_is_wrong_with_a_source(line: ManySources) -> None:
    """A refused key, a market that is not listed, timeframes that a source lacks: each has its BAD line."""
    line.name(symbols="BTC/USDT, NOPE/USDT", timeframes="6h", order="binance, okx, coingecko, yahoo")
    said = line.command("doctor", GECKO_KEY="wrong-key")
    assert said.code == 1
    bad = [words for words in said.out.splitlines() if words.startswith("BAD")]
    assert any(words.startswith("BAD  coingecko http") for words in bad), said
    assert any("okx markets: it does not list NOPE/USDT" in words for words in bad)
    assert any(
        "yahoo markets: it has none of the timeframes wanted of it; it has 1m 5m 15m 1h 1d" in words for words in bad
    )
    assert "accepted" not in said.out


def test_a_dead_source_does_not_hide_the_others(line: ManySources, sandbox: SandboxControl) -> None:
    """With one venue down its line is BAD, and `sources` tells its last error and success rate afterwards."""
    sandbox.configure(venues={"okx": {"down": [MONTHS]}})
    try:
        said = line.command("doctor", **KEY)
    finally:
        sandbox.configure(venues={"okx": {"down": []}})
    assert said.code == 1
    assert {words.split()[1] for words in said.out.splitlines() if words.startswith("BAD")} == {"okx"}
    states = {each["source"]: each for each in line.answer("sources")["sources"]}
    assert states["binance"]["state"] == "reachable"
    assert states["binance"]["hour"]["success"] == states["binance"]["day"]["success"] == 1.0
    assert states["binance"]["hour"]["p50_ms"] <= states["binance"]["hour"]["p95_ms"]
    assert states["okx"]["state"] == "failing"
    assert "reset the connection" in states["okx"]["last_error"]
    assert states["okx"]["hour"]["success"] == 0.0
    table = line.command("sources").out
    assert re.search(r"failing +closed .* 0\.0 % of \d", table)
    assert re.search(r"reachable +closed +\d+/6,000 in 1 min +100 % of 2, ", table)


@pytest.mark.parametrize("words", [["sources"], ["status"], ["config", "check"], ["gaps", "--fallback"]])
def test_looking_imports_no_library(line: ManySources, asked: ManySources, words: list[str]) -> None:
    """What is only told from the database loads neither ccxt nor pandas, before anybody was asked and after."""
    for place in (line, asked):
        child = subprocess.run(
            [sys.executable, "-c", _SAY_MODULES.format(words)],
            cwd=place.folder, env=place.environment(**KEY), capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert LIBRARIES & set(child.stdout.splitlines()[-1].split()) == set()


def test_rows_of_fallbacks_are_counted_and_listed(line: ManySources) -> None:
    """What another source served is in `status` and in `gaps --fallback`, with the heal job that waits for it."""
    assert line.command("-q", **KEY).code == 0
    assert line.answer("status")["total"]["fallback_rows"] == 0
    assert "No fallbacks" in line.command("gaps", "--fallback").out
    line.change("UPDATE coverage SET source_id = (SELECT id FROM sources WHERE name = 'okx')")
    [window] = line.answer("gaps", "--fallback")["fallback"]
    assert (window["source"], window["preferred"], window["rows"], window["jobs"]) == ("okx", "binance", 96, 0)
    made = parse_utc("2026-05-31T22:00Z")
    line.change(
        "INSERT INTO jobs (series_id, kind, start_ms, end_ms, priority, created_ms, updated_ms) "
        "VALUES (1, 'heal', :start, :end, 30, :made, :made)",
        start=window["start_ms"], end=window["end_ms"], made=made,
    )  # fmt: skip
    [window] = line.answer("gaps", "--fallback")["fallback"]
    assert window["waiting_since_ms"] == made
    assert "okx        binance    2026-05-31T22:00Z  by the next run" in line.command("gaps", "--fallback").out
    status = line.answer("status")
    assert (status["series"][0]["fallback_rows"], status["total"]["fallback_rows"]) == (96, 96)
    header, row = line.command("status").out.splitlines()[:2]
    assert row[: header.index("fallback") + len("fallback")].endswith(" 96")


def test_the_sandbox_command_sets_up_venues(line: ManySources) -> None:
    """`--venue-down`, `--venue-limit` and a venue's `--fault` reach the venue they name, and no other."""
    child = line.start(
        "sandbox", "--port", "0", "--clock", NOW, "--venue-down", f"kraken={MONTHS}", "--venue-limit", "okx=2/60s",
        "--venue-ahead", "coinbase=5s", "--fault", "coinbase:status:500=1",
    )  # fmt: skip
    try:
        assert child.stdout is not None
        control = SandboxControl(child.stdout.readline().strip().removeprefix("sandbox listening on "))
        with requests.Session() as session:
            session.trust_env = False
            with pytest.raises(requests.ConnectionError):
                session.get(f"{control.url}/kraken/0/public/Time", timeout=10)
            asked = f"{control.url}/okx/api/v5/market/history-candles?instId=BTC-USDT&bar=1H"  # weighs 2
            assert [session.get(asked, timeout=10).status_code for _ in range(2)] == [200, 429]
            assert session.get(f"{control.url}/api/v3/time", timeout=10).status_code == 200
        venues = control.config()["venues"]
        assert venues["coinbase"]["faults"] == {"status:500": 1.0}
    finally:
        os.kill(child.pid, signal.SIGTERM)
        ended(child)
