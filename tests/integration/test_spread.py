"""Load over a source's endpoints: mirrors share work and one budget, proxies and keys have budgets of their own."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import requests

from db.schema import metadata
from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.model import MINUTE, Timeframe
from fetcher.sandbox.control import SandboxControl, spawn_sandbox
from fetcher.sandbox.generated import GeneratedMarket
from tests.contract.wire import Reply, WireServer, unused_url
from tests.integration.forward_proxy import ForwardProxy
from tests.integration.world import World, market, open_world, same_candles, window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")

NOW = parse_utc("2026-03-01T12:00:20Z")
WEIGHTS = {"/api/v3/klines": 2, "/api/v3/time": 1, "/api/v3/exchangeInfo": 20}
DAYS = window("2026-01-01", "2026-02-01")  # 45 requests a symbol
GECKO = "http://gecko.example/coingecko/api/v3"


@pytest.fixture
def mirror() -> Iterator[SandboxControl]:
    """A second host of the same exchange, or the exchange as another address sees it."""
    with spawn_sandbox("--clock", format_utc(NOW)) as control:
        yield control


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world whose exchange has a mirror."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as opened:
        yield opened


def by_proxies(world: World, *proxies: ForwardProxy, weight: int = 6000, symbols: str = "BTC/USDT") -> None:
    """Configure one exchange that can only be reached by these proxies."""
    world.configure(market(symbols, "1m", "2026-01-01"), weight=weight, url="http://exchange.example")
    written = world.config_path.read_text(encoding="utf-8")
    listed = ", ".join(f"'{proxy.url}'" for proxy in proxies)
    world.config_path.write_text(written.replace("timeout:", f"proxy: [{listed}], timeout:", 1), encoding="utf-8")


def pools(world: World) -> dict[str, tuple[int, int | None]]:
    """Weight used in its newest window, and the end of a rest, of each pool."""
    found = world.query("SELECT endpoint, used, stop_until FROM endpoint_state WHERE window_ms IS NOT NULL")
    return {name: (used, stop) for name, used, stop in found}


def assert_all_there(world: World, *symbols: str) -> None:
    """Every candle of DAYS is stored, bit for bit."""
    for symbol in symbols:
        true = GeneratedMarket().oracle(symbol.replace("/", ""), Timeframe("1m"), DAYS, DAYS.end + MINUTE)
        assert same_candles(world.rows(symbol, "1m"), true)


def shares(world: World, mirror: SandboxControl) -> tuple[int, int]:
    """Candle requests of the two hosts after a backfill, which has to end well whatever the mirror does."""
    both = f"{mirror.url}', '{world.sandbox.url}"
    world.configure(market("BTC/USDT ETH/USDT", "1m", "2026-01-01"), workers=4, url=both)
    assert world.backfill(DAYS, Clock(NOW)).exit_code == 0
    assert_all_there(world, "BTC/USDT", "ETH/USDT")
    return len(world.klines()), len(mirror.log("/api/v3/klines"))


def test_mirrors_that_are_well_share_the_work(world: World, mirror: SandboxControl) -> None:
    """About half of the requests each, all of them on one budget."""
    mine, theirs = shares(world, mirror)
    assert 0.7 < mine / theirs < 1.4
    spent = sum(WEIGHTS[entry["path"]] for host in (world.sandbox, mirror) for entry in host.log())
    assert pools(world).keys() == {"binance"}
    assert spent <= pools(world)["binance"][0] < spent + 440  # with blocks that were reserved and not used up


@pytest.mark.parametrize(
    ("trouble", "most"),
    [({"faults": {"status:500": 0.3}}, 0.7), ({"latency_seconds": 0.5}, 0.5), ({"faults": {"status:500": 1.0}}, 0.15)],
    ids=["fails 30 %", "slow", "broken"],
)
def test_a_mirror_that_is_not_well_gets_less(
    world: World, mirror: SandboxControl, trouble: dict[str, object], most: float
) -> None:
    """Clearly less than the good one; everything comes all the same."""
    mirror.configure(**trouble)
    mine, theirs = shares(world, mirror)
    assert 0 < theirs <= most * mine


def test_a_dead_mirror_gets_next_to_nothing(world: World) -> None:
    """Nobody listens there: a few tries until that is known, no run fails, and the next process hardly tries."""
    dead = unused_url()
    world.configure(market("BTC/USDT ETH/USDT", "1m", "2026-01-01"), workers=4, url=f"{dead}', '{world.sandbox.url}")
    assert world.backfill(DAYS, Clock(NOW)).exit_code == 0
    assert_all_there(world, "BTC/USDT", "ETH/USDT")
    tried = Counter(fact.endpoint.partition(" ")[2] for fact in world.attempts())
    assert 0 < tried[dead] <= 12 < tried[world.sandbox.url]
    world.facts.clear()
    assert world.backfill(window("2026-02-01", "2026-02-20"), Clock(NOW)).exit_code == 0
    tried = Counter(fact.endpoint.partition(" ")[2] for fact in world.attempts())
    assert tried[dead] <= 3 < tried[world.sandbox.url]


def test_a_mirror_that_wants_a_long_pause_holds_nobody_up(world: World) -> None:
    """Its Retry-After is its own: what it turned away is asked of the other at once, not queued for later."""
    with WireServer() as tired:
        tired.answer(*[Reply(503, b"", {"Retry-After": "600"})] * 1000)
        world.configure(market("BTC/USDT", "1m", "2026-01-01"), workers=4, url=f"{tired.url}', '{world.sandbox.url}")
        assert world.backfill(DAYS, Clock(NOW)).exit_code == 0
        assert 0 < len(tired.seen) <= 12
    assert_all_there(world, "BTC/USDT")
    assert world.query("SELECT count(*) FROM jobs WHERE attempts > 1") == [(0,)]


def test_four_processes_on_two_mirrors_keep_one_limit(tmp_path: Path) -> None:
    """Together never more than the weight of a minute, with two mirrors, four processes and a used-up minute."""
    speed, limit = 4, 300
    symbols = ("BTC", "ETH", "BNB", "ADA", "XRP", "SOL")
    clock = format_utc(NOW)  # each process's begins when it is up: still in the same minute on a busy machine
    with open_world(tmp_path, "--latency", "20ms") as world, spawn_sandbox("--latency", "20ms") as mirror:
        listed = " ".join(f"{base}/USDT" for base in symbols)
        world.configure(market(listed, "1m", "2026-01-01"), weight=limit, url=f"{mirror.url}', '{world.sandbox.url}")
        for host in (world.sandbox, mirror):
            host.configure(clock=f"{clock} x{speed}")
        children = [world.child(window("2026-01-01", "2026-01-21"), f"{clock} x{speed}") for _ in range(4)]
        assert [child.wait(90.0) for child in children].count(0) >= 1
        spent, hosts = Counter[int](), Counter[str]()
        for host in (world.sandbox, mirror):
            for entry in host.log():
                assert entry["status"] == 200
                spent[entry["at_ms"] // MINUTE] += WEIGHTS[entry["path"]]
                hosts[host.url] += 1
        assert len(spent) >= 2
        assert limit * 0.7 < max(spent.values()) <= limit
        assert min(hosts.values()) > 0.7 * max(hosts.values())
        assert world.jobs().keys() == {"done"}


def test_each_proxy_is_an_address_with_a_budget_of_its_own(world: World, mirror: SandboxControl) -> None:
    """Two addresses get twice the weight of one in the same minute, and what each answer tells counts for its own."""
    world.sandbox.configure(clock=f"{format_utc(NOW)} x0.001")
    with ForwardProxy(world.sandbox.url) as one, ForwardProxy(mirror.url) as two:
        by_proxies(world, one, two, weight=70)
        assert world.backfill(DAYS, Clock(NOW, 0.001)).exit_code == 0
        for host in (world.sandbox, mirror):
            assert {entry["status"] for entry in host.log()} == {200}
            assert 40 <= host.log()[-1]["weight_used"] <= 70
        told = pools(world)
        assert told.keys() == {f"binance via {one.host}", f"binance via {two.host}"}
        assert_all_there(world, "BTC/USDT")
        assert not world.query("SELECT endpoint FROM endpoint_state WHERE endpoint LIKE '%hush%'")


def test_a_429_of_one_proxy_lets_the_other_go_on(world: World, mirror: SandboxControl) -> None:
    """The address that is refused rests for every endpoint behind it; all candles come by the other one."""
    world.sandbox.configure(retry_after=600)
    world.sandbox.script("none", 8)
    world.sandbox.script("status:429")
    with ForwardProxy(world.sandbox.url) as one, ForwardProxy(mirror.url) as two:
        by_proxies(world, one, two)
        assert world.backfill(DAYS, Clock(NOW)).exit_code == 0
        assert_all_there(world, "BTC/USDT")
        statuses = [entry["status"] for entry in world.sandbox.log("/api/v3/klines")]
        assert statuses.count(429) == 1
        assert len(statuses) <= 9 + 8  # what was in flight when it was refused
        assert {entry["status"] for entry in mirror.log()} == {200}
        told = pools(world)
        assert (told[f"binance via {one.host}"][1] or 0) >= NOW + 590_000
        assert told[f"binance via {two.host}"][1] is None


def test_the_weight_told_by_an_answer_counts_for_its_proxy(world: World, mirror: SandboxControl) -> None:
    """Another program at one address uses its weight up: only that address is spared, and not until it is refused."""
    mirror.configure(clock=format_utc(NOW), weight_limit=200)
    with ForwardProxy(world.sandbox.url) as one, ForwardProxy(mirror.url) as two:
        for _ in range(8):  # 160 of 200
            ask(two, "/api/v3/exchangeInfo")
        by_proxies(world, one, two, weight=200)
        assert world.backfill(DAYS, Clock(NOW, 0.001)).exit_code == 0
        assert {entry["status"] for entry in mirror.log()} == {200}
        assert mirror.log()[-1]["weight_used"] <= 200
        assert_all_there(world, "BTC/USDT")


def ask(proxy: ForwardProxy, path: str) -> None:
    """One request of somebody else by a proxy."""
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(f"http://exchange.example{path}", proxies={"http": proxy.url}, timeout=10).ok


def gecko(world: World, proxy: ForwardProxy, weight: int) -> None:
    """Configure CoinGecko with two keys, reached by a proxy that sees them."""
    world.config_path.write_text(
        f"database_url: {world.database_url}\n"
        "sources: {gecko: {client: coingecko, plan: demo, api_key_env: [FIRST_KEY, SECOND_KEY], "
        f"base_url: '{GECKO}', proxy: '{proxy.url}', weight_per_minute: {weight}, "
        "symbols: {BTC/USDT: bitcoin, ETH/USDT: ethereum}}}\n"
        "markets: [{symbols: [BTC/USDT, ETH/USDT], timeframes: [30m, 4h], start: '2026-02-28T20:00Z', "
        "sources: [gecko]}]\n"
        "run: {workers: 1}\n",
        encoding="utf-8",
    )


def test_each_key_of_coingecko_is_counted_by_itself(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Two calls a minute with each key bring four series within one minute; keys show nowhere but in their header."""
    keys = {"FIRST_KEY": "CG-first", "SECOND_KEY": "CG-second"}
    for name, key in keys.items():
        monkeypatch.setenv(name, key)
    with ForwardProxy(world.sandbox.url) as proxy:
        gecko(world, proxy, 2)
        assert world.run(clock=Clock(NOW, 0.001)).exit_code == 0
        asked = Counter(headers.get("x-cg-demo-api-key") for headers in proxy.seen)
        assert asked == dict.fromkeys(keys.values(), 2)
        assert pools(world) == {"gecko key FIRST_KEY": (2, None), "gecko key SECOND_KEY": (2, None)}
    held = repr([world.query(f"SELECT * FROM {table}") for table in metadata.tables])  # noqa: S608 - names of ours
    assert not any(key in held for key in keys.values())


def test_a_key_that_is_used_up_or_refused_lets_the_other_serve(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """One key throttled, then one that is wrong: the run ends well with the other."""
    monkeypatch.setenv("SECOND_KEY", "CG-second")
    for number, key in enumerate(("CG-first", "wrong-key")):
        monkeypatch.setenv("FIRST_KEY", key)
        with ForwardProxy(world.sandbox.url) as proxy:
            proxy.refused["CG-first"] = 600
            gecko(world, proxy, 30)
            now = NOW + number * 12 * 3_600_000
            world.sandbox.configure(clock=format_utc(now))
            assert world.run(20.0, Clock(now, 10)).exit_code == 0
            asked = Counter(headers.get("x-cg-demo-api-key") for headers in proxy.seen)
            assert asked[key] >= 1
            assert asked["CG-second"] >= 2
        if number == 0:
            assert asked["CG-first"] == 1
            assert [name for name, (_, stop) in pools(world).items() if stop] == ["gecko key FIRST_KEY"]
