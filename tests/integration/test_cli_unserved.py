"""What cannot be served, told where a person looks: doctor, config check, the end of a run, sources and jobs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from fetcher.sandbox.control import SandboxControl, spawn_sandbox
from tests.contract.wire import unused_url
from tests.integration.commands import NOW, CommandLine, Said

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEMO = "plan: demo, api_key_env: NO_SUCH_KEY"
MONTHS = "2026-05-01/2026-07-01"


class Sources(CommandLine):
    """A command line whose sources are written as they are needed."""

    def name(self, *markets: str, **sources: str) -> None:
        """Write a configuration of these sources (what stands between their braces) and markets."""
        lines = "".join(f"  {name}: {{{settings}}}\n" for name, settings in sources.items())
        entries = "".join(f"  - {{{market}}}\n" for market in markets)
        self.config_path.write_text(
            f"database_url: sqlite:///market.db\nsources:\n{lines}markets:\n{entries}run: {{time_budget: 8s}}\n",
            encoding="utf-8",
        )

    def binance(self) -> str:
        """Binance's settings."""
        return f"client: binance, base_urls: ['{self.sandbox.url}'], archive_url: null"

    def other(self, client: str, more: str = "") -> str:
        """Another client's settings."""
        path = "/coingecko/api/v3" if client == "coingecko" else f"/{client}"
        return f"client: {client}, base_url: '{self.sandbox.url}{path}'{more}"


def wanted(symbols: str, timeframe: str, *names: str) -> str:
    """One entry of markets."""
    return f"symbols: [{symbols}], timeframes: [{timeframe}], start: 2026-05-31, sources: [{', '.join(names)}]"


def bad(said: Said) -> list[str]:
    """The lines of what is wrong."""
    return [words for words in said.out.splitlines() if words.startswith("BAD")]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxControl]:
    """All venues of one market."""
    with spawn_sandbox("--clock", NOW) as control:
        yield control


@pytest.fixture
def line(sandbox: SandboxControl, tmp_path: Path) -> Sources:
    """An empty folder, and a sandbox that has forgotten what it was asked."""
    sandbox.clear_log()
    return Sources(sandbox, tmp_path)


def test_a_wrong_address_knows_no_market(line: Sources) -> None:
    """Where there is no Yahoo at all, doctor does not call its markets known."""
    line.name(wanted("BTC/USDT", "1h", "yahoo"), yahoo=f"client: yahoo, base_url: '{line.sandbox.url}/nobody'")
    said = line.command("doctor")
    assert said.code == 1
    [_, markets] = bad(said)
    assert re.match(r"BAD  yahoo markets: it has no BTC/USDT: yahoo answered 404.*check base_url", markets)


def test_doctor_names_the_symbols_that_are_not_known(line: Sources) -> None:
    """With the name that the source was asked by, as the configuration has it or by the source's own rule."""
    line.name(
        wanted("BTC/USDT, BTC/EUR", "1h", "yahoo"),
        wanted("GRT/USDT, ETH/USDT", "4h", "coingecko"),
        yahoo=line.other("yahoo", ", symbols: {BTC/USDT: ETH-EUR}"),
        coingecko=line.other("coingecko", ", symbols: {GRT/USDT: the-grap}, weight_per_minute: 60"),
    )
    told = "\n".join(bad(line.command("doctor")))
    assert "yahoo markets: it has no BTC/USDT (ETH-EUR), BTC/EUR (BTC-EUR): yahoo answered 404" in told
    assert "coingecko markets: it does not list GRT/USDT (the-grap)" in told
    assert "coingecko markets: coingecko" not in told


def test_a_timeframe_that_nobody_has_is_no_ones_to_leave(line: Sources) -> None:
    """`config check` notes it where it is known without a library; doctor calls it BAD, and knows of every source."""
    line.name(
        wanted("BTC/USDT", "3m, 1h", "yahoo"), wanted("ETH/USDT", "3m", "yahoo", "okx"),
        yahoo=line.other("yahoo"), okx=f"client: ccxt, exchange: okx, base_url: '{line.sandbox.url}/okx'",
    )  # fmt: skip
    said = line.command("config", "check")
    assert said.code == 0
    assert "Note: BTC/USDT cannot be fetched from yahoo: no 3m candles there." in said.out
    assert "ETH/USDT cannot" not in said.out
    assert line.answer("config", "check")["warnings"] == ["BTC/USDT cannot be fetched from yahoo: no 3m candles there."]
    said = line.command("doctor")
    assert said.code == 1
    assert [words.partition(": ")[2] for words in bad(said)] == [
        "it knows all 2 that it was asked for; no source of BTC/USDT has 3m candles"
    ]


def test_a_source_is_named_once(line: Sources) -> None:
    """What ccxt lacks is found out by asking it."""
    line.name(wanted("BTC/USDT", "1h", "binance", "mex"), binance=line.binance(), mex="client: ccxt, exchange: blofin")
    [told] = bad(line.command("doctor"))
    assert told.startswith("BAD  mex: ccxt has no spot candles of blofin")


def test_a_run_goes_on_without_one_sources_key(line: Sources) -> None:
    """The other sources serve, the closing list names the variable; check and doctor say BAD."""
    line.name(
        wanted("BTC/USDT", "4h", "coingecko", "binance"), wanted("BTC/USDT", "1h", "binance"),
        coingecko=line.other("coingecko", f", {DEMO}"), binance=line.binance(),
    )  # fmt: skip
    words = "the environment variable NO_SUCH_KEY holds no key; set it where the program starts"
    check = line.command("config", "check")
    assert (check.code, bad(check)) == (1, [f"BAD  sources.coingecko: {words}"])
    assert json.loads(line.command("--json", "config", "check").out)["problems"] == [f"sources.coingecko: {words}"]
    doctor = line.command("doctor")
    assert doctor.code == 1
    assert all(words in told for told in bad(doctor))
    assert {told.split()[1] for told in bad(doctor)} == {"coingecko"}
    said = line.command()
    assert said.code == 0, said
    assert f"coingecko did not serve: {words}" in said.out.splitlines()
    assert line.query("SELECT count(DISTINCT series_id) FROM candles") == [(2,)]
    assert line.sandbox.log(venue="coingecko") == []
    assert line.query("SELECT sum(used) FROM endpoint_state WHERE source = 'coingecko'") == [(0,)], "nobody was asked"


def test_a_series_that_only_a_key_could_serve_is_bad_input(line: Sources) -> None:
    """Everything else is fetched all the same; a plan without the name of its key is refused at once."""
    line.name(
        wanted("BTC/USDT", "4h", "coingecko"), wanted("BTC/USDT", "1h", "binance"),
        coingecko=line.other("coingecko", f", {DEMO}"), binance=line.binance(),
    )  # fmt: skip
    said = line.command()
    assert said.code == 2, said
    assert "NO_SUCH_KEY holds no key" in said.out
    assert len(line.rows("BTC/USDT", "1h")) == 24
    line.name(wanted("BTC/USDT", "4h", "coingecko"), coingecko=line.other("coingecko", ", plan: demo"))
    for words in (["config", "check"], []):
        said = line.command(*words)
        assert said.code == 2
        assert "sources.coingecko: plan demo needs a key" in said.err


def test_what_was_not_spent_is_not_shown_as_spent(line: Sources) -> None:
    """After a run of three requests three of five are spent, and the next run has the others at once."""
    line.name(
        wanted("BTC/USDT", "4h", "coingecko"), coingecko=line.other("coingecko", ", symbols: {BTC/USDT: bitcoin}")
    )
    line.command()
    sent = len(line.sandbox.log(venue="coingecko"))
    assert 0 < sent < 5
    [state] = line.answer("sources")["sources"]
    assert (state["used"], state["weight_limit"]) == (sent, 5)


def test_the_closing_list_names_whoever_failed(line: Sources) -> None:
    """Also a first source that knows without asking that it cannot tell the listing, or whose turn did not come."""
    away = unused_url()
    line.name(
        wanted("BTC/USDT", "4h", "coingecko", "okx"), wanted("BTC/USDT", "30m", "coingecko"),
        coingecko=f"client: coingecko, base_url: '{away}', symbols: {{BTC/USDT: bitcoin}}, timeout: 2s",
        okx=f"client: ccxt, exchange: okx, base_url: '{away}', timeout: 2s",
    )  # fmt: skip
    for _ in range(2):
        told = {words.split()[0] for words in line.command().out.splitlines() if "BTC/USDT" not in words}
        assert {"coingecko", "okx"} <= told
    for each in line.answer("status")["series"]:
        assert each["last_error"] or each["jobs_waiting"]
    jobs = [words for words in line.command("jobs").out.splitlines() if "queued" in words]
    assert jobs
    assert all("refused the connection" in words or "reaches back" in words for words in jobs)


def test_what_is_missing_has_a_reason(line: Sources) -> None:
    """OKX rests and CoinGecko, which stands in, is a quarter of an hour behind: the line of the series says so."""
    line.name(
        wanted("BTC/USDT", "4h", "okx", "coingecko"),
        okx=f"client: ccxt, exchange: okx, base_url: '{line.sandbox.url}/okx'",
        coingecko=line.other("coingecko", ", symbols: {BTC/USDT: bitcoin}, weight_per_minute: 60"),
    )  # fmt: skip
    line.sandbox.configure(venues={"okx": {"retry_after": 600}})
    line.sandbox.script("status:429", 100, venue="okx")
    said = line.command()
    [told] = [words for words in said.out.splitlines() if words.startswith("BTC/USDT 4h")]
    assert "missing" in told
    assert ": " in told or "waiting" in told, said
