"""Prometheus itself reads our metrics, rules and dashboard: its checker has nothing to say, its alerts ring and end."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from fetcher.sandbox.control import spawn_sandbox
from tests.acceptance.promtool import SCENARIOS, ask, programs
from tests.integration.commands import NOW, CommandLine, until
from tests.integration.test_daemon_metrics import address, configure, daemon, scrape
from tests.integration.world import market

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).resolve().parents[2] / "cron" / "prometheus"
RULES = FOLDER / "rules.yml"
ALERTS = [
    rule["alert"] for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Prometheus' programs are."""
    return programs(tmp_path_factory.mktemp("prometheus"))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CommandLine, str]]:
    """A daemon at work, with the address of its metrics."""
    with spawn_sandbox("--clock", NOW) as sandbox:
        line = CommandLine(sandbox, tmp_path_factory.mktemp("watched"))
        line.configure(market("BTC/USDT ETH/USDT", "1h 1d", "2026-05-01"))
        configure(line, "{listen: '127.0.0.1:0', textfile: candles.prom}")
        with daemon(line) as child:
            url = address(child)
            until(lambda: 'fetcher_run_outcome{kind="daemon",outcome="ok"} 1.0' in scrape(url))
            yield line, url


def test_the_checker_accepts_a_scrape(bin_folder: Path, watched: tuple[CommandLine, str]) -> None:
    """Names, types and help texts as Prometheus wants them, by HTTP and in the file."""
    line, url = watched
    assert ask(bin_folder / "promtool", "check", "metrics", given=scrape(url)) == (0, "")
    until((line.folder / "candles.prom").exists)
    text = (line.folder / "candles.prom").read_text()
    assert ask(bin_folder / "promtool", "check", "metrics", given=text) == (0, "")


def test_the_checker_sees_what_is_wrong(bin_folder: Path) -> None:
    """The check itself can fail."""
    code, said = ask(bin_folder / "promtool", "check", "metrics", given="# TYPE x_total gauge\nx_total 1\n")
    assert code != 0
    assert "x_total" in said


def test_the_checker_accepts_the_rules(bin_folder: Path) -> None:
    """Every rule is understood."""
    code, said = ask(bin_folder / "promtool", "check", "rules", str(RULES))
    assert (code, f"SUCCESS: {len(ALERTS)} rules found" in said) == (0, True), said


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_rings_and_ends(bin_folder: Path, tmp_path: Path, alert: str) -> None:
    """Not before its time, then for once, and no longer when all is well again."""
    plan = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [SCENARIOS[alert].as_test(alert)]}
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(plan), encoding="utf-8")
    code, said = ask(bin_folder / "promtool", "test", "rules", str(file))
    assert code == 0, said


def test_every_query_of_the_dashboard_is_understood(bin_folder: Path, tmp_path: Path) -> None:
    """As rules, which the checker reads with the same grammar."""
    panels = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    rules = [
        {"record": f"panel:query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(queries)
    ]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    code, said = ask(bin_folder / "promtool", "check", "rules", str(file))
    assert (code, f"SUCCESS: {len(queries)} rules found" in said) == (0, True), said


@contextmanager
def prometheus(bin_folder: Path, folder: Path, target: str) -> Iterator[str]:
    """The real Prometheus, which scrapes a target each second and has our rules; its address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as reserved:
        own = f"127.0.0.1:{reserved.getsockname()[1]}"
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "fetcher", "static_configs": [{"targets": [target]}]}],
    }
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    with (folder / "log").open("w") as log:
        child = subprocess.Popen(
            [bin_folder / "prometheus", f"--config.file={file}", f"--web.listen-address={own}",
             f"--storage.tsdb.path={folder / 'data'}"],
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        until(lambda: is_ready(f"http://{own}/-/ready"))
        yield f"http://{own}/api/v1"
    finally:
        child.terminate()
        child.wait(30)


def is_ready(url: str) -> bool:
    """Whether it answers."""
    try:
        with urllib.request.urlopen(url, timeout=10):  # noqa: S310 (our own address)
            return True
    except OSError:
        return False


def answer(url: str) -> Any:
    """What Prometheus says."""
    with urllib.request.urlopen(url, timeout=10) as said:  # noqa: S310 (our own address)
        return json.load(said)["data"]


def test_prometheus_scrapes_a_daemon(bin_folder: Path, watched: tuple[CommandLine, str], tmp_path: Path) -> None:
    """The numbers arrive with their labels, the rules are loaded and healthy."""
    _, url = watched
    with prometheus(bin_folder, tmp_path, urllib.parse.urlsplit(url).netloc) as api:

        def found(query: str) -> list[Any]:
            result: list[Any] = answer(f"{api}/query?query={urllib.parse.quote(query)}")["result"]
            return result

        until(lambda: bool(found("fetcher_database_up == 1")))
        complete = found("fetcher_series_completeness_ratio == 1")
        assert {each["metric"]["symbol"] for each in complete} == {"BTC/USDT", "ETH/USDT"}
        until(lambda: all(rule["health"] == "ok" for rule in loaded(api)))
        assert [rule["name"] for rule in loaded(api)] == ALERTS


def loaded(api: str) -> list[Any]:
    """The rules as Prometheus has them."""
    return [rule for group in answer(f"{api}/rules")["groups"] for rule in group["rules"]]
