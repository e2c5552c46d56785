"""Who changed what by hand: each command that changes something says so, in the transaction of the change."""

from __future__ import annotations

import getpass
import socket
from typing import TYPE_CHECKING

import pytest

from fetcher.sandbox.control import spawn_sandbox
from tests.integration.commands import NOW, CommandLine
from tests.integration.world import market

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    """A market with a day of hours, whose exchange gave one row that cannot be."""
    with spawn_sandbox("--clock", NOW) as sandbox:
        made = CommandLine(sandbox, tmp_path)
        made.configure(market("BTC/USDT", "1h", "2026-05-31"))
        sandbox.script("bad_ohlc", 1)
        made.command()
        yield made


def test_what_is_done_by_hand_is_kept(line: CommandLine) -> None:
    """Commands that change nothing leave nothing; the others who, when, which, and to what."""
    assert "Nobody has changed anything by hand." in line.command("db", "log").out
    line.command("jobs", "retry")
    line.command("quarantine", "release", "1")
    assert line.answer("db", "log") == {"log": []}
    line.change("UPDATE jobs SET status = 'queued', not_before = :later", later=2**50)
    line.command("jobs", "retry")
    line.change("DELETE FROM candles WHERE open_time = (SELECT max(open_time) FROM candles)")
    line.command("audit")
    line.command("audit", "--repair")
    line.command("sources", "reset", "binance")
    line.command("jobs", "cancel")
    line.command("jobs", "cancel")
    told = line.answer("db", "log")["log"]
    assert [each["action"] for each in told] == ["jobs cancel", "sources reset", "audit --repair", "jobs retry"]
    assert {each["who"] for each in told} == {f"{getpass.getuser()}@{socket.gethostname()}"}
    assert "BTC/USDT 1h" in told[0]["detail"]["jobs"][0]
    assert told[1]["detail"]["endpoints"][0].startswith("binance")
    assert "candles that were stored are gone" in told[2]["detail"]["findings"][0]
    assert line.command("db", "log", "--limit", "1").out.splitlines()[1].split()[-1]
