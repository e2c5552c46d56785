"""`alerts` and `alerts test` as people have them, signs of life, a daemon, and two processes at the same moment."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from db.engine import open_engine, writing
from db.state import lock_acquire
from fetcher.sandbox.control import SandboxControl, spawn_sandbox
from tests.integration.alerting import AlertWorld
from tests.integration.commands import NOW, CommandLine, ended, until
from tests.integration.webhooks import TOKEN, Webhooks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.databases import Databases

FULL = "disk_free: 1000000TB"
_LOOK = """
import sys
from threading import Event
from db.engine import open_engine
from fetcher.clock import Clock
from fetcher.observe.alerts.book import AlertBook
from fetcher.observe.alerts.findings import Finding
from fetcher.observe.alerts.sending import send_all
from fetcher.targets import read_targets
from fetcher.observe.alerts.telling import Manners
from fetcher.sections import Alerts
book = AlertBook(open_engine(sys.argv[1]), Clock(), read_targets(Alerts())[0])
print("ready", flush=True)
sys.stdin.readline()
book.note([Finding("stale x", "stale", "x is late")], Manners("box", 86_400_000, 600_000))
book.deliver(lambda messages: send_all(messages, Clock(), Event()))
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxControl]:
    """An exchange."""
    with spawn_sandbox("--clock", NOW) as control:
        yield control


@pytest.fixture
def world(
    sandbox: SandboxControl, hooks: Webhooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str], own_log: None,
) -> Iterator[AlertWorld]:  # fmt: skip
    """A folder with a configuration; nothing that was ever said there holds a secret."""
    del own_log
    made = AlertWorld(sandbox, hooks, tmp_path, monkeypatch, capfd)
    made.configure(FULL, timeframe="1h")
    yield made
    assert not any(TOKEN in said for said in made.said)


def test_alerts_lists_what_is_wrong_and_who_was_told(world: AlertWorld) -> None:
    """Nothing before a run; then since when, when somebody was told, and who would be. No address shows."""
    assert world.at("12:00", "alerts") == 0
    assert world.said[-1].splitlines() == ["Nothing is wrong.", "Told are FETCHER_ALERTS 1 (json)."]
    world.monkeypatch.setenv("FETCHER_ALERTS", f"{world.hooks.target} {TOKEN}")
    assert world.at("12:00") == 0
    assert world.at("12:05", "alerts") == 0
    head, row, bad, who = world.said[-1].splitlines()
    assert head.split() == ["alert", "since", "for", "last", "told", "what"]
    assert row.startswith("disk")
    assert "nearly full" in row
    assert bad == "BAD  entry 2 of FETCHER_ALERTS is no address; write them like mailto://user:password@host"
    assert who == "Told are FETCHER_ALERTS 1 (json)."
    assert world.at("12:05", "--json", "alerts") == 0
    told = json.loads(world.said[-1])
    [alert] = told["alerts"]
    assert (alert["kind"], alert["urgent"], alert["gone_ms"], alert["held"]) == ("disk", True, None, False)
    assert alert["told_ms"] == alert["since_ms"]
    assert (told["targets"], told["undelivered"], len(told["problems"])) == (["FETCHER_ALERTS 1 (json)"], 0, 1)


def test_alerts_says_what_waits_and_what_seems_to_be_over(world: AlertWorld) -> None:
    """A message that did not arrive is counted; what is gone for a moment is not over yet."""
    world.hooks.status = 500
    assert world.at("12:00") == 0
    world.configure(timeframe="1h")
    assert world.at("12:01") == 0
    assert world.at("12:02", "alerts") == 0
    assert "(seems to be over)" in world.said[-1]
    assert "1 message could not be delivered yet; the next run tries again." in world.said[-1]
    assert world.at("2026-06-04T12:01:00Z", "alerts") == 0
    assert "delivered" not in world.said[-1]  # after three days nobody tries any more


def test_alerts_test_says_which_target_works(world: AlertWorld) -> None:
    """0 where all took it, 1 where one did not, 2 where there is none; never an address."""
    assert world.at("12:00", "alerts", "test") == 0
    assert world.said[-1] == "ok   FETCHER_ALERTS 1 (json)\n"
    assert world.hooks.titles() == ["a test"]
    dead = f"json://127.0.0.1:1/{TOKEN}"
    world.monkeypatch.setenv("FETCHER_ALERTS", f"{dead} {world.hooks.target} nosuch://{TOKEN} {TOKEN}")
    assert world.at("12:00", "alerts", "test") == 1
    assert world.said[-1].splitlines() == [
        "BAD  FETCHER_ALERTS 1 (json): A Connection error occurred sending JSON notification to 127.0.0.1.",
        "ok   FETCHER_ALERTS 2 (json)",
        "BAD  FETCHER_ALERTS 3 (nosuch): apprise cannot read its address; see its documentation",
        "BAD  entry 4 of FETCHER_ALERTS is no address; write them like mailto://user:password@host",
    ]
    world.monkeypatch.setenv("FETCHER_ALERTS", dead)
    assert world.at("12:00", "--json", "alerts", "test") == 1
    [target] = json.loads(world.said[-1])["targets"]
    assert (target["target"], target["ok"]) == ("FETCHER_ALERTS 1 (json)", False)


def test_doctor_names_addresses_that_no_message_could_go_to(world: AlertWorld) -> None:
    """It sends nothing; where nobody is to be told, that is no fault."""
    assert world.at("12:00", "doctor") == 0
    assert "ok   alerts: told are FETCHER_ALERTS 1 (json); `alerts test` sends each a message\n" in world.said[-1]
    world.monkeypatch.setenv("FETCHER_ALERTS", f"{world.hooks.target} nosuch://{TOKEN} {TOKEN}")
    assert world.at("12:00", "doctor") == 1
    assert [line for line in world.said[-1].splitlines() if " alerts: " in line] == [
        "BAD  alerts: entry 3 of FETCHER_ALERTS is no address; write them like mailto://user:password@host",
        "BAD  alerts: FETCHER_ALERTS 2 (nosuch): apprise cannot read its address; see its documentation",
    ]
    assert world.hooks.titles() == []
    world.monkeypatch.delenv("FETCHER_ALERTS")
    assert world.at("12:00", "doctor") == 0
    assert " alerts: " not in world.said[-1]


def test_alerts_test_without_anybody_to_tell(world: AlertWorld) -> None:
    """Exit code 2, and where to name somebody, or what is wrong with what stands there."""
    world.monkeypatch.delenv("FETCHER_ALERTS")
    assert world.at("12:00", "alerts", "test") == 2
    assert world.said[-1] == "fetcher: nobody is told: put addresses into FETCHER_ALERTS\n"
    world.monkeypatch.setenv("FETCHER_ALERTS", TOKEN)
    assert world.at("12:00", "alerts", "test") == 2
    assert "entry 1 of FETCHER_ALERTS is no address" in world.said[-1]
    world.configure("to_env: null, to_file: who")
    assert world.at("12:00", "alerts", "test") == 2
    assert world.said[-1] == "fetcher: alerts.to_file who cannot be read: No such file or directory\n"


def test_two_processes_at_once_tell_once(databases: Databases, tmp_path: Path, hooks: Webhooks) -> None:
    """Two that look at the same moment, on either database."""
    from db.manager import DatabaseManager  # noqa: PLC0415 (for this test)

    url = databases.url(tmp_path)
    engine = open_engine(url)
    DatabaseManager(engine, url).prepare()
    engine.dispose()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _LOOK, url], env=CommandLine.environment(FETCHER_ALERTS=hooks.target), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    assert [ended(child).code for child in children] == [0, 0]
    assert hooks.titles() == ["1 problem"]


def test_a_run_gives_signs_of_life(world: AlertWorld) -> None:
    """Start and success; fail where it breaks off, or where a person has to mend something."""
    world.monkeypatch.setenv("FETCHER_PING_URL", world.hooks.ping_url)
    assert world.at("12:00") == 0
    assert world.hooks.pings == ["/start", ""]
    world.hooks.pings.clear()
    world.configure(source="coingecko", timeframe="4h", start="2026-05-28")
    world.monkeypatch.delenv("GECKO_KEY")
    assert world.at("12:10") == 2
    assert world.hooks.pings[-1] == "/fail"
    world.hooks.pings.clear()
    (world.folder / "market.db").unlink()
    (world.folder / "market.db").mkdir()
    assert world.at("12:20") in {1, 2}
    assert world.hooks.pings == ["/fail"]


def test_a_run_beside_another_one_gives_no_sign_of_life(world: AlertWorld) -> None:
    """The other one does; this one has done nothing."""
    world.monkeypatch.setenv("FETCHER_PING_URL", world.hooks.ping_url)
    assert world.at("12:00", "status") == 0
    engine = open_engine(f"sqlite:///{world.folder}/market.db")
    with writing(engine) as connection:
        assert lock_acquire(connection, "run", "elsewhere 1 1", 0, 2**53)
    engine.dispose()
    assert world.at("12:00") == 75
    assert world.hooks.pings == []
    assert world.told() == []


def test_an_address_that_is_none_or_answers_badly_is_a_line_in_the_log(world: AlertWorld) -> None:
    """The run goes on as if nothing were."""
    world.monkeypatch.setenv("FETCHER_PING_URL", TOKEN)
    assert world.at("12:00") == 0
    assert "FETCHER_PING_URL holds no address" in world.said[-1]
    world.hooks.status = 404
    world.monkeypatch.setenv("FETCHER_PING_URL", world.hooks.ping_url)
    assert world.at("12:01") == 0
    assert "the sign of life (success) did not arrive: it answered 404" in world.said[-1]
    world.monkeypatch.setenv("FETCHER_PING_URL", f"http://127.0.0.1:1/{TOKEN}")
    assert world.at("12:02") == 0
    assert "the sign of life (start) did not arrive: it cannot be reached (ConnectionError)" in world.said[-1]


def test_a_sign_of_life_is_not_waited_for_long(world: AlertWorld) -> None:
    """A server that never answers holds no run up."""
    world.monkeypatch.setattr("fetcher.observe.alerts.ping.LIMIT_SECONDS", 0.3)
    world.hooks.hangs = True
    world.monkeypatch.setenv("FETCHER_PING_URL", world.hooks.ping_url)
    world.monkeypatch.delenv("FETCHER_ALERTS")
    assert world.at("12:00") == 0
    assert "the sign of life (success) did not arrive: no answer in time" in world.said[-1]


def test_the_daemon_tells_and_gives_signs_of_life_and_leaves_in_order(
    sandbox: SandboxControl, hooks: Webhooks, world: AlertWorld
) -> None:
    """Its webhook hangs when it is asked to leave; the end is in order, which one that has to be forced is not."""
    hooks.hangs = True
    line = CommandLine(sandbox, world.folder)
    sandbox.configure(clock=NOW)
    child = line.start("--daemon", FETCHER_ALERTS=hooks.target, FETCHER_PING_URL=hooks.ping_url)
    until(lambda: bool(hooks.pings) and bool(hooks.messages))
    child.send_signal(signal.SIGTERM)
    said = ended(child)
    assert said.code == 0, said
    assert hooks.pings == [""]
    assert hooks.titles() == ["1 problem"]
    assert TOKEN not in said.out + said.err
