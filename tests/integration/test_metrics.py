"""Metrics of real runs: scraped over HTTP, written to a file; whatever fails there, the program goes on."""

from __future__ import annotations

import socket
import urllib.request
from contextlib import closing, contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families  # noqa: TID253 (a test may wait)

from db.engine import open_engine
from fetcher.clock import parse_utc
from fetcher.config import load
from fetcher.errors import ConfigError
from fetcher.observe.exporter import Endpoint
from fetcher.sandbox.control import spawn_sandbox
from fetcher.sections import Goals
from fetcher.vitals import Vitals, vitals_or_none
from tests.databases import chosen
from tests.integration.commands import NOW, CommandLine
from tests.integration.world import market

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.databases import Databases

ANYWHERE = ("127.0.0.1", 0)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[CommandLine]:
    """A folder where one run has fetched a week, and written its metrics into a file."""
    with spawn_sandbox("--clock", NOW) as sandbox, chosen(databases):
        made = CommandLine(sandbox, tmp_path_factory.mktemp("metrics"))
        made.configure(market("BTC/USDT ETH/USDT", "1h", "2026-05-25"))
        add(made, "metrics: {textfile: candles.prom}")
        first = made.command()
        assert first.code == 0, first
        yield made


def add(line: CommandLine, section: str) -> None:
    """Write a section into the configuration, in the place of the one before."""
    kept = [each for each in line.config_path.read_text().splitlines() if not each.startswith("metrics:")]
    line.config_path.write_text("\n".join([*kept, section, ""]))


def numbers(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Prometheus' format read by Prometheus' own reader: name → values of the labels → number."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[key] = sample.value
    return found


def scraped(url: str) -> dict[str, dict[tuple[str, ...], float]]:
    """One scrape."""
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 (our own address)
        assert answer.headers["Content-Type"].startswith("text/plain")
        return numbers(answer.read().decode())


@contextmanager
def serving(read: Callable[[], Vitals | None]) -> Iterator[str]:
    """The address of metrics that are read so."""
    endpoint = Endpoint(ANYWHERE, read, Goals)
    try:
        yield endpoint.url
    finally:
        endpoint.close()


def test_a_scrape_tells_what_status_tells(line: CommandLine) -> None:
    """Slots, requests, jobs and goals are the same numbers, for machines either way."""
    status = line.answer("status")
    engine, config = open_engine(line.database_url), load(line.config_path, {})
    with serving(lambda: vitals_or_none(engine, config, parse_utc(NOW))) as url:
        found = scraped(url)
    engine.dispose()
    assert found["fetcher_database_up"] == {(): 1}
    for series in status["series"]:
        name = (series["symbol"], series["timeframe"])
        assert found["fetcher_series_lag_seconds"][name] == series["lag_ms"] / 1000
        assert found["fetcher_series_slots"]["stored", *name] == series["stored"] > 0
        assert found["fetcher_series_completeness_ratio"][name] == series["complete"] == 1
    [source] = status["sources"]
    assert found["fetcher_requests_total"][source["endpoint"], source["source"]] == source["requests"] > 0
    assert {name: {1.0: True, 0.0: False}[met] for (name,), met in found["fetcher_goal_met"].items()} == {
        goal["name"]: goal["met"] for goal in status["goals"] if goal["met"] is not None
    }
    assert found["process_resident_memory_bytes"][()] > 1e6


def test_a_run_writes_its_metrics_into_a_file(line: CommandLine) -> None:
    """Beside the configuration, all at once, and anew by the next run; nothing else is left lying there."""
    path = line.folder / "candles.prom"
    first = numbers(path.read_text())
    assert first["fetcher_run_outcome"]["run", "ok"] == 1
    assert first["fetcher_vitals_timestamp_seconds"][()] >= parse_utc(NOW) / 1000
    assert "fetcher_uptime_seconds" not in first
    said = line.command(FETCHER_CLOCK="2026-06-01T00:10:00Z")
    assert said.code == 0, said
    assert numbers(path.read_text())["fetcher_vitals_timestamp_seconds"][()] >= parse_utc("2026-06-01T00:10Z") / 1000
    assert [each.name for each in line.folder.glob("*.prom*")] == ["candles.prom"]


def test_a_file_that_cannot_be_written_is_a_warning(line: CommandLine) -> None:
    """The run has stored its candles, and says so."""
    add(line, "metrics: {textfile: gone/candles.prom}")
    said = line.command()
    add(line, "metrics: {textfile: candles.prom}")
    assert said.code == 0, said
    [warning] = [each for each in said.err.splitlines() if "warning" in each]
    assert f"metrics.textfile: {line.folder}/gone/candles.prom cannot be written: No such file or directory" in warning


def test_metrics_that_nobody_wants_cost_nothing(line: CommandLine) -> None:
    """Without the section no file appears."""
    (line.folder / "candles.prom").unlink()
    add(line, "metrics: {textfile: null, listen: null}")
    assert line.command().code == 0
    add(line, "metrics: {textfile: candles.prom}")
    assert not list(line.folder.glob("*.prom*"))


def test_a_run_that_failed_writes_its_metrics_too(line: CommandLine) -> None:
    """That is when somebody wants them."""
    line.change("DELETE FROM coverage WHERE series_id = 1")
    line.sandbox.configure(faults={"status:500": 1.0})
    try:
        said = line.command(FETCHER_CLOCK=f"{NOW} x20")
    finally:
        line.sandbox.configure(faults={})
    assert said.code == 1, said
    found = numbers((line.folder / "candles.prom").read_text())
    assert found["fetcher_run_outcome"]["run", "ok"] == 0
    assert found["fetcher_series_completeness_ratio"]["BTC/USDT", "1h"] == 0
    assert found["fetcher_goal_met"]["completeness",] == 0


def test_a_scrape_says_that_the_database_is_away() -> None:
    """And answers all the same; the next one reads again."""
    answers: list[Vitals | None] = [Vitals(1000, (), (), {}, None, 0, 0, {}, ()), None]
    with serving(answers.pop) as url:
        assert scraped(url)["fetcher_database_up"] == {(): 0}
        found = scraped(url)
    assert found["fetcher_database_up"] == {(): 1}
    assert found["fetcher_vitals_timestamp_seconds"] == {(): 1}


def test_whatever_goes_wrong_a_scrape_is_answered(capfd: pytest.CaptureFixture[str]) -> None:
    """An error that nobody has thought of is no page of traceback in somebody's log."""

    def broken() -> Vitals | None:
        raise RuntimeError("nobody thought of this")

    with serving(broken) as url:
        assert scraped(url)["fetcher_database_up"] == {(): 0}
    assert "nobody thought of this" not in capfd.readouterr().err


def test_a_database_that_hangs_holds_up_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scrapes wait for a while and say that it does not answer; it is not asked again before it has answered."""
    monkeypatch.setattr("fetcher.observe.exporter._PATIENCE", 0.05)
    asked, goes_on = [], Event()

    def hanging() -> Vitals | None:
        asked.append(1)
        goes_on.wait(30)
        return Vitals(1000, (), (), {}, None, 0, 0, {}, ())

    with serving(hanging) as url:
        scrapers = [Thread(target=scraped, args=(url,)) for _ in range(3)]
        for each in scrapers:
            each.start()
        for each in scrapers:
            each.join()
        assert scraped(url)["fetcher_database_up"] == {(): 0}
        assert len(asked) == 1
        goes_on.set()
        monkeypatch.setattr("fetcher.observe.exporter._PATIENCE", 20.0)
        assert scraped(url)["fetcher_database_up"] == {(): 1}


def test_an_address_that_is_taken_is_told_in_a_sentence() -> None:
    """With the key and the reason."""
    with closing(socket.create_server(ANYWHERE)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"^metrics\.listen: 127\.0\.0\.1:{port} cannot be listened on: Address"):
            Endpoint(("127.0.0.1", port), lambda: None, Goals)
    with pytest.raises(ConfigError, match=r"^metrics\.listen: no\.such\.host\.invalid:9464 cannot be listened on: "):
        Endpoint(("no.such.host.invalid", 9464), lambda: None, Goals)


def test_who_sends_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that stay open for nothing would be threads for ever."""
    monkeypatch.setattr("fetcher.observe.serving._Handler.timeout", 0.05)
    with serving(lambda: None) as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
        with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as mute:
            assert mute.recv(100) == b""
        assert scraped(url)["fetcher_database_up"] == {(): 0}


def test_an_address_of_the_new_kind_can_be_listened_on() -> None:
    """`[::1]:9464` in the configuration."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        endpoint = Endpoint(("::1", 0), lambda: None, Goals)
    except ConfigError:
        pytest.skip("no IPv6 here")
    assert scraped(endpoint.url)["fetcher_database_up"] == {(): 0}
    endpoint.close()
