"""Everything that a user can get wrong: one sentence on stderr, exit code 2 (1 for the database), never a traceback."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fetcher.cli import main

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
database_url: sqlite:///market.db
sources: {binance: {client: binance, base_urls: ['http://127.0.0.1:9'], archive_url: null}}
markets: [{symbols: [BTC/USDT], timeframes: [1h], start: 2026-05-01, sources: [binance]}]
"""

MISTAKES = {
    "unknown command": (["stats"], "No such command 'stats'. Did you mean 'status'?"),
    "unknown option": (["status", "--nope"], "No such option: --nope"),
    "option without value": (["backfill", "--symbol"], "Option '--symbol' requires an argument"),
    "too many arguments": (["status", "now"], "unexpected extra argument"),
    "group without command": (["db"], "Missing command"),
    "missing argument": (["db", "backup"], "Missing argument 'FILE'"),
    "no configuration": (["--config", "other.yaml", "status"], "other.yaml: no such file; name one with --config FILE"),
    "symbol not configured": (
        ["backfill", "--symbol", "DOGE/USDT"],
        "'DOGE/USDT' is not configured; configured: BTC/USDT",
    ),
    "symbol of gaps": (["gaps", "--symbol", "BTCUSDT"], "'BTCUSDT' is not configured; configured: BTC/USDT"),
    "symbol of jobs": (["jobs", "--symbol", "X/Y"], "'X/Y' is not configured or stored; configured or stored: BTC"),
    "timeframe not configured": (["backfill", "--timeframe", "1d"], "'1d' is not configured; configured: 1h"),
    "timeframe that is none": (["backfill", "--timeframe", "7m"], "'7m' is none; one of 1m 3m"),
    "bad date": (["backfill", "--from", "yesterday"], "--from 'yesterday' is no date; write it like 2024-01-01"),
    "impossible date": (["backfill", "--to", "2026-02-30"], "--to '2026-02-30' is no date"),
    "empty range": (["backfill", "--from", "2026-05-02", "--to", "2026-05-02"], "--to is exclusive"),
    "job id that is none": (["jobs", "retry", "first"], "'ID': must be a whole number; `python -m fetcher jobs"),
    "unknown job": (["jobs", "cancel", "17"], "there is no job 17"),
    "job that no database can hold": (["jobs", "retry", "9" * 24], f"there is no job {'9' * 24}"),
    "row that no database can hold": (["quarantine", "show", "9" * 24], f"there is no quarantined row {'9' * 24}"),
    "more than can be shown": (["quarantine", "--limit", "9" * 24], "must be at most 1000000000"),
    "more of the log than can be shown": (["db", "log", "--limit", "9" * 24], "must be at most 1000000000"),
    "empty configuration": (["--config", "", "status"], "'FETCHER_CONFIG'): is empty; name a file or folder"),
    "empty target of an export": (["export", "--out", ""], "'--out': is empty; name a file or folder"),
    "empty name of a backup": (["db", "backup", ""], "'FILE': is empty; name a file or folder"),
    "empty log": (["cron", "print", "--log", ""], "'--log': is empty; name a file or folder"),
    "empty folder for units": (["cron", "systemd", "--to", ""], "'--to': is empty; name a file or folder"),
    "empty folder for a dump": (["db", "upgrade", "--dump", ""], "'--dump': is empty; name a file or folder"),
    "daemon each five minutes": (["cron", "systemd", "--daemon", "--every", "5m"], "--every goes without --daemon"),
    "start to come": (["backfill", "--from", "9999-12-31"], "--from 2200-01-01T00:00Z lies in the future"),
    "backup over a file": (["db", "backup", "config.yaml"], "config.yaml exists already and is not overwritten"),
    "unknown status": (["jobs", "--status", "lost"], "'--status': 'lost' is not one of 'queued', 'leased'"),
    "unknown source": (["sources", "reset", "kraken"], "no source is called 'kraken'; known: binance"),
    "unknown quarantined row": (["quarantine", "show", "3"], "there is no quarantined row 3"),
    "unknown reason": (["quarantine", "--reason", "ugly"], "no row was refused for 'ugly'"),
    "fault without chance": (["sandbox", "--fault", "html"], "'html' is no fault with a chance"),
    "fault of no venue": (["sandbox", "--venue-down", "mtgox=always"], "--venue-down 'mtgox=always' names no venue"),
    "bad limit of a venue": (["sandbox", "--venue-limit", "okx=many"], "'many' is no limit"),
    "bad outage": (["sandbox", "--outage", "today"], "'today' is no span of time"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good configuration, as current folder."""
    (tmp_path / "config.yaml").write_text(GOOD, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FETCHER_CONFIG", raising=False)
    monkeypatch.delenv("FETCHER_DATABASE_URL", raising=False)
    return tmp_path


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence on stderr."""
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("fetcher: ")
    assert said.err.count("\n") == 1, said.err
    assert "Traceback" not in said.err
    return said.err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_sentence(mistake: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad arguments end with exit code 2 and say what there is."""
    words, expected = MISTAKES[mistake]
    assert main(words) == 2
    assert expected in complaint(capsys)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("timeframes", "timeframe"), "markets[0].timeframe: unknown key"),
        (("1h", "7m"), "unknown timeframe '7m'"),
        (("sources: [binance]", "sources: [okx]"), "no source is called 'okx'"),
        (("2026-05-01", "soon"), "'soon' is not a date"),
        (("]}]", "]}"), "not valid YAML"),
        (
            ("{client: binance, base_urls: ['http://127.0.0.1:9'], archive_url: null}", "{client: ccxt}"),
            "sources.binance.exchange: is required",
        ),
        (("sqlite:///market.db", "sqlite://"), "database_url names no file"),
        (("sqlite:///market.db", "nonsense"), "database_url is not a database URL"),
        (("sqlite:///market.db", "sqlite:///."), "which is a directory; name a file in it"),
        (("sqlite:///market.db", "sqlite:///market.db?mode=ro"), "has options (mode), which are not supported"),
        (("sqlite:///market.db", "mysql://me:hush@host/market"), "it must be sqlite or postgresql"),
        (("http://127.0.0.1:9", "http://me:hush@127.0.0.1:9"), "a base URL holds no user, password or query"),
        (("http://127.0.0.1:9", "http://127.0.0.1:99999"), "is not a base URL"),
    ],
)
@pytest.mark.parametrize("command", [[], ["config", "check"]], ids=["run", "check"])
def test_a_bad_configuration_gets_one_sentence(
    folder: Path, command: list[str], change: tuple[str, str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is wrong in the file, run and check end with exit code 2 and name it, without any password."""
    (folder / "config.yaml").write_text(GOOD.replace(*change), encoding="utf-8")
    assert main(command) == 2
    said = complaint(capsys)
    assert expected in said
    assert "hush" not in said


def test_a_start_to_come_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The check notes it, gaps says what it waits for, and a backfill that nothing is to be fetched yet."""
    (folder / "config.yaml").write_text(GOOD.replace("2026-05-01", "2199-05-01"), encoding="utf-8")
    assert main(["config", "check"]) == 0
    assert "Note: BTC/USDT 1h starts 2199-05-01T00:00Z, still to come" in capsys.readouterr().out
    assert main(["gaps"]) == 0
    assert capsys.readouterr().out == "Nothing is known yet of BTC/USDT 1h: it starts 2199-05-01T00:00Z.\n"
    assert main(["backfill"]) == 2
    assert "nothing to fetch yet: the configured start 2199-05-01T00:00Z is not before" in complaint(capsys)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Who reports a fault can say of what."""
    assert main(["--version"]) == 0
    assert re.fullmatch(r"candle-fetcher \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_config_check_knows_exchanges(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An exchange id with a slip of the pen is found without asking anybody, and the right one is offered."""
    changed = GOOD.replace(
        "client: binance, base_urls: ['http://127.0.0.1:9'], archive_url: null", "client: ccxt, exchange: krakn"
    )
    (folder / "config.yaml").write_text(changed, encoding="utf-8")
    assert main(["config", "check"]) == 2
    assert "sources.binance.exchange: ccxt knows no exchange 'krakn'; did you mean kraken" in complaint(capsys)


def test_a_bad_clock_gets_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FETCHER_CLOCK is an argument too."""
    assert folder.exists()
    monkeypatch.setenv("FETCHER_CLOCK", "noon")
    assert main(["status"]) == 2
    assert "FETCHER_CLOCK is 'noon'" in complaint(capsys)


def test_a_database_that_is_newer_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What another version of the program upgraded is not touched: exit code 2."""
    assert main(["-q", "status"]) == 0
    capsys.readouterr()
    with closing(sqlite3.connect(folder / "market.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert main(["status"]) == 2
    assert "is newer than this program" in complaint(capsys)


@pytest.mark.parametrize("table", ["endpoint_state", "quarantine"])
def test_a_table_that_was_removed_is_told(folder: Path, capsys: pytest.CaptureFixture[str], table: str) -> None:
    """By whoever needs it in one sentence, which leads to the one that names it; doctor tells it as a check."""
    assert main(["db", "upgrade"]) == 0
    with closing(sqlite3.connect(folder / "market.db", isolation_level=None)) as conn:
        conn.execute(f"DROP TABLE {table}")
    capsys.readouterr()
    assert main([{"endpoint_state": "sources"}.get(table, table)]) == 1
    assert "market.db lacks a table of this program; `db check` names it" in complaint(capsys)
    assert main(["db", "check"]) == 1
    assert f"table {table} is missing; restore the last backup" in capsys.readouterr().out
    assert main(["--json", "doctor"]) == 1
    said = json.loads(capsys.readouterr().out)
    found = [each["message"] for each in said["checks"] if each["name"] == "database" and not each["ok"]]
    assert not said["healthy"]
    assert "`db check` names it" in found[-1]


def test_a_file_that_is_no_database_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence names the file and the key to change: exit code 2."""
    (folder / "market.db").write_bytes(b"price,volume\n" * 1000)
    assert main([]) == 2
    assert "is not an SQLite database; name another file in database_url" in complaint(capsys)


def test_a_folder_that_cannot_be_made_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file where the database's folder should be: the configuration must name another, exit code 2."""
    (folder / "taken").write_text("a file", encoding="utf-8")
    (folder / "config.yaml").write_text(GOOD.replace("market.db", "taken/market.db"), encoding="utf-8")
    assert main(["status"]) == 2
    assert "cannot be created" in complaint(capsys)


def test_db_check_makes_no_database(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Looking at a database that is not there says so and leaves no empty file."""
    assert main(["db", "check"]) == 1
    assert "does not exist yet" in complaint(capsys)
    assert not (folder / "market.db").exists()


def test_the_environment_names_the_configuration(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FETCHER_CONFIG stands in for --config, which wins over it."""
    monkeypatch.setenv("FETCHER_CONFIG", str(folder / "elsewhere.yaml"))
    assert main(["config", "check"]) == 2
    assert "elsewhere.yaml: no such file" in complaint(capsys)
    assert main(["config", "check", "--config", str(folder / "config.yaml")]) == 0
    assert "BTC/USDT" in capsys.readouterr().out
