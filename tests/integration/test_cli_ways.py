"""Several proxies and keys on the command line: doctor asks each way in, others name it, and nobody tells a secret."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fetcher.sandbox.control import SandboxControl, spawn_sandbox
from tests.contract.wire import unused_url
from tests.integration.commands import NOW, CommandLine
from tests.integration.forward_proxy import ForwardProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEYS = {"FIRST_KEY": "CG-first-secret", "SECOND_KEY": "CG-second-secret"}
CONFIG = """\
database_url: sqlite:///market.db
sources:
  binance: {{client: binance, base_urls: ['{url}'], archive_url: null, proxy: [direct, '{proxy}', '{dead}']}}
  okx: {{client: ccxt, exchange: okx, base_url: '{url}/okx', weight_per_minute: 600}}
  gecko: {{client: coingecko, base_url: '{url}/coingecko/api/v3', plan: demo, api_key_env: [FIRST_KEY, SECOND_KEY]}}
markets:
  - {{symbols: [BTC/USDT], timeframes: [4h], start: 2026-05-28, sources: [binance, okx, gecko]}}
"""
_PLAN = """
import sys
from fetcher.cli import main
code = main(["backfill", "--plan"])
print(*({"ccxt", "pandas", "pycoingecko", "yfinance"} & set(sys.modules)), "and no more")
sys.exit(code)
"""


@pytest.fixture
def sandbox() -> Iterator[SandboxControl]:
    """All venues of one market."""
    with spawn_sandbox("--clock", NOW) as control:
        yield control


@pytest.fixture
def proxy(sandbox: SandboxControl) -> Iterator[ForwardProxy]:
    """A proxy that works."""
    with ForwardProxy(sandbox.url) as made:
        yield made


@pytest.fixture
def line(sandbox: SandboxControl, proxy: ForwardProxy, tmp_path: Path) -> CommandLine:
    """A command line with three ways to Binance, of which one is dead, and two keys of CoinGecko."""
    made = CommandLine(sandbox, tmp_path)
    dead = unused_url().replace("//", "//someone:hush@")
    made.config_path.write_text(CONFIG.format(url=sandbox.url, proxy=proxy.url, dead=dead), encoding="utf-8")
    return made


def test_doctor_and_sources_tell_of_each_way_in(line: CommandLine, proxy: ForwardProxy) -> None:
    """Each way is asked by itself, the dead one is BAD, each key is accepted; budgets are told by their pools."""
    said = line.command("doctor", **KEYS)
    assert said.code == 1
    lines = [words for words in said.out.splitlines() if words[5:].startswith(("binance http", "gecko http"))]
    assert [words[:4] for words in lines] == ["ok  ", "ok  ", "BAD ", "ok  ", "ok  "]
    assert f" via {proxy.host}: answers in" in lines[1]
    assert len(proxy.seen) >= 1
    assert "the key from FIRST_KEY is accepted" in lines[3]
    assert "the key from SECOND_KEY is accepted" in lines[4]
    states = {each["endpoint"]: each for each in line.answer("sources")["sources"]}
    url = line.sandbox.url
    by_proxy, direct = states[f"binance {url} via {proxy.host}"], states[f"binance {url}"]
    assert (by_proxy["pool"], direct["pool"]) == (f"binance via {proxy.host}", "binance")
    assert by_proxy["used"] > 0 < direct["used"]
    assert {each["pool"] for each in states.values() if each["source"] == "gecko"} == {
        "gecko key FIRST_KEY", "gecko key SECOND_KEY",
    }  # fmt: skip
    assert line.command(**KEYS).code == 0
    checked = line.command("config", "check", **KEYS)
    assert f"through no proxy and {proxy.host} and 127.0.0.1:" in checked.out
    told = said.out + said.err + checked.out + line.command("-v", **KEYS).err + line.command("sources").out
    assert "hush" not in told
    assert not any(key in told for key in KEYS.values())


def test_a_reset_reaches_every_way_in(line: CommandLine, proxy: ForwardProxy) -> None:
    """The rest of one proxy ends by the source's name."""
    assert line.command(**KEYS).code == 0
    line.change("UPDATE endpoint_state SET stop_until = 9999999999999, stop_reason = '429' WHERE endpoint LIKE '%via%'")
    states = {each["endpoint"]: each for each in line.answer("sources")["sources"]}
    assert states[f"binance {line.sandbox.url} via {proxy.host}"]["state"] == "resting"
    assert line.command("sources", "reset", "binance").code == 0
    assert {each["state"] for each in line.answer("sources")["sources"]} & {"resting"} == set()


def test_a_plan_asks_only_the_source_that_will_serve(line: CommandLine) -> None:
    """What the fallbacks can do is not looked up: that would load their libraries."""
    child = subprocess.run(
        [sys.executable, "-c", _PLAN], cwd=line.folder, env=line.environment(**KEYS), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "BTC/USDT 4h" in child.stdout
    assert child.stdout.splitlines()[-1] == "and no more"
