"""Every command once for success, over a database that a real run has filled from the sandbox."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fetcher.clock import parse_utc
from fetcher.sandbox.control import spawn_sandbox
from tests.databases import ON_SQLITE, chosen
from tests.integration.commands import NOW, CommandLine, Said
from tests.integration.world import market

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.databases import Databases

OUTAGE = "2026-05-30T02:00/2026-05-30T04:30"
HOURS_SINCE_MAY = 31 * 24


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[CommandLine]:
    """A folder where one run has fetched May 2026, with an outage in it."""
    with spawn_sandbox("--clock", NOW, "--outage", OUTAGE) as sandbox, chosen(databases):
        made = CommandLine(sandbox, tmp_path_factory.mktemp("reading"))
        made.configure(market("BTC/USDT ETH/USDT", "1h 1d", "2026-05-01"))
        first = made.command()
        assert first.code == 0, first
        assert "BTC/USDT 1h  complete until 2026-06-01T00:00Z" in first.out
        assert "candles, 4 proven absent" in first.err
        assert "\x1b" not in first.out + first.err
        yield made


def test_status_shows_what_is_there(line: CommandLine) -> None:
    """The table has a line per series with stored rows, their source, absent slots and completeness."""
    said = line.command("status")
    assert said.code == 0, said
    words = " ".join(said.out.splitlines()[3].split())
    assert words == "ETH/USDT 1h 2026-05-01T00:00Z 2026-06-01T00:00Z 742 binance 742 0 0 2 0 100 % 30 s"
    assert "is reachable" in said.out
    assert said.err == ""


def test_status_as_json_holds_the_same_numbers(line: CommandLine) -> None:
    """Machines get rows by source, absent and missing slots, lag and totals."""
    answer = line.answer("status")
    first = answer["series"][2]
    assert (first["stored"], first["by_source"], first["absent"], first["missing"]) == (742, {"binance": 742}, 2, 0)
    assert first["expected"] == HOURS_SINCE_MAY
    assert answer["total"]["stored"] == sum(each["stored"] for each in answer["series"])
    assert answer["last_run"]["exit_code"] == 0


def test_options_may_stand_after_the_command(line: CommandLine) -> None:
    """`status --json` is what people type."""
    said = line.command("status", "--json")
    assert len(json.loads(said.out)["series"]) == 4


def test_gaps_says_that_there_are_none_and_what_is_absent(line: CommandLine) -> None:
    """With --absent the outage is shown with its evidence."""
    said = line.command("gaps", "--absent", "--symbol", "eth/usdt")
    assert said.code == 0
    assert "No gaps" in said.out
    assert "2026-05-30T02:00Z  2026-05-30T04:00Z       2" in said.out
    assert "agreeing answers of binance" in said.out


def test_gaps_tells_why_a_hole_is_there(line: CommandLine) -> None:
    """A hole is not planned at first; the run that fills it leaves none."""
    hole = parse_utc("2026-05-20T00:00Z")
    line.change("DELETE FROM coverage WHERE series_id = 2")
    gap = next(gap for gap in line.answer("gaps")["gaps"] if gap["timeframe"] == "1d")
    assert gap["why"] == [{"status": "unplanned", "jobs": 0, "reason": None}]
    assert gap["start_ms"] < hole < gap["end_ms"]
    assert line.command("-q").code == 0
    assert line.answer("gaps")["gaps"] == []


def test_gaps_and_status_go_by_the_configuration_of_now(line: CommandLine) -> None:
    """A start that was moved back makes a gap at once; one moved on counts only what lies behind it."""
    whole = line.config_path.read_text(encoding="utf-8")
    try:
        line.config_path.write_text(whole.replace("2026-05-01", "2026-04-30"), encoding="utf-8")
        gaps = line.answer("gaps", "--timeframe", "1h")["gaps"]
        assert [(gap["missing"], gap["why"][0]["status"]) for gap in gaps] == [(24, "unplanned")] * 2
        assert line.answer("status")["total"]["missing"] == 2 * 25
        line.config_path.write_text(whole.replace("2026-05-01", "2026-05-31"), encoding="utf-8")
        assert [each["stored"] for each in line.answer("status")["series"]] == [24, 1, 24, 1]
        assert line.answer("gaps")["gaps"] == []
    finally:
        line.config_path.write_text(whole, encoding="utf-8")


def test_what_was_never_fetched_is_not_complete(line: CommandLine) -> None:
    """A series that was just configured is 0 % complete, all together unknown, and gaps says what it waits for."""
    whole = line.config_path.read_text(encoding="utf-8")
    try:
        line.config_path.write_text(whole.replace("1h, 1d", "1h, 1d, 15m"), encoding="utf-8")
        answer = line.answer("status")
        assert (answer["series"][2]["missing"], answer["series"][2]["complete"]) == (None, 0)
        assert (answer["total"]["unfetched"], answer["total"]["complete"]) == (2, None)
        assert "2 series never fetched" in line.command("status").out
        said = line.command("gaps").out
        assert said.startswith("No gaps in the others: every slot up to the last close is stored or proven absent.\n")
        assert "Nothing is known yet of BTC/USDT 15m, ETH/USDT 15m: the next run will ask for it." in said
    finally:
        line.config_path.write_text(whole, encoding="utf-8")


def test_jobs_lists_the_queue_and_changes_it(line: CommandLine) -> None:
    """A delayed job is listed with its error, retried and cancelled by its id."""
    line.change(
        "INSERT INTO jobs (series_id, kind, start_ms, end_ms, priority, status, attempts, not_before, last_error, "
        "created_ms, updated_ms) VALUES (1, 'gap', 0, 3600000, 20, 'failed', 3, 0, 'was \x1b[31m refused', 0, 0)"
    )
    [job] = line.answer("jobs", "--status", "failed")["jobs"]
    shown = line.command("jobs", "--symbol", "BTC/USDT", "--kind", "gap")
    assert "was \\x1b[31m refused" in shown.out
    assert "\x1b" not in shown.out
    assert line.answer("jobs", "retry", str(job["id"])) == {"retried": 1}
    assert "1 job cancelled" in line.command("jobs", "cancel", str(job["id"])).out
    assert "No jobs" in line.command("jobs").out


def test_sources_are_shown_and_reset(line: CommandLine) -> None:
    """A resting endpoint says until when and why, until it is reset."""
    until = parse_utc("2026-06-01T01:00Z")
    line.change(
        "UPDATE endpoint_state SET stop_until = :until, stop_reason = '429' WHERE endpoint = 'binance'", until=until
    )
    line.change(
        "INSERT INTO jobs (series_id, kind, start_ms, end_ms, priority, status, attempts, not_before, last_error, "
        "created_ms, updated_ms) VALUES (1, 'gap', 0, 3600000, 20, 'queued', 3, :until, 'it rests', 0, 0)",
        until=until,
    )
    assert "resting until 2026-06-01T01:00Z: 429" in line.command("sources").out
    assert line.command("sources", "reset", "binance").out.startswith("May be asked again: binance http://127.0.0.1")
    [job] = line.answer("jobs", "--kind", "gap")["jobs"]
    assert job["not_before_ms"] < until, "what waits for it is due"
    line.command("jobs", "cancel", str(job["id"]))
    assert line.answer("sources", "reset") == {"reset": 1}
    [source] = line.answer("sources")["sources"]
    assert (source["state"], source["weight_limit"]) == ("reachable", 6000)


def test_quarantine_is_listed_shown_and_released(line: CommandLine) -> None:
    """A refused row is counted by its reason, shown whole and escaped, and can become a candle."""
    at = parse_utc("2026-05-30T03:00Z")
    payload = json.dumps(
        dict.fromkeys(("volume", "quote_volume", "taker_base", "taker_quote", "trades"), 1)
        | {"open_time": at, "open": 1.5, "high": 2.5, "low": 1.0, "close": 2.0}
    )
    line.change(
        "INSERT INTO quarantine (series_id, source_id, route, open_time, reason, payload, digest, received_ms, "
        "last_seen_ms) VALUES (1, 1, 'rest', :at, 'not_closed', :payload, 'a', 0, 0), "
        "(1, 1, 'rest', 9000000000000000000, 'garbled', :hostile, 'b', 0, 0)",
        at=at, payload=payload, hostile="x\x1b[2J",
    )  # fmt: skip
    assert line.answer("quarantine")["reasons"] == {"garbled": 1, "not_closed": 1}
    listed = line.command("quarantine", "--reason", "garbled")
    assert listed.code == 0, listed
    shown = line.command("quarantine", "show", "1", "2")
    assert payload in shown.out
    assert "x\\x1b[2J" in shown.out
    released = line.command("quarantine", "release", "1")
    assert released.code == 0, released
    refused = line.command("quarantine", "release", "2")
    assert refused.code == 1
    assert refused.err == ""


def test_audit_finds_what_was_deleted_and_repairs_it(line: CommandLine) -> None:
    """A deleted row is found, taken back from coverage, and fetched by the next run."""
    assert line.command("audit").code == 0
    line.change("DELETE FROM candles WHERE series_id = 3 AND open_time = :at", at=parse_utc("2026-05-10T05:00Z"))
    found = line.command("audit")
    assert found.code == 1
    assert "2026-05-10T05:00Z  2026-05-10T06:00Z        1  rows_missing" in found.out
    assert line.answer("audit", "--repair", "--deep")["repaired"] == 1
    assert line.command("-q").code == 0
    assert "Sound" in line.command("audit").out


def test_audit_says_what_no_repair_can_mend(line: CommandLine) -> None:
    """Rows without coverage and values that no candle has are told with what to do, and no repair is promised."""
    copied = "series_id, open, high, low, close, flags, source_id"
    line.change(
        f"INSERT INTO candles (open_time, {copied}) SELECT 1000, {copied} FROM candles "  # noqa: S608 (names of ours)
        "WHERE series_id = 3 LIMIT 1"
    )
    said = line.command("audit", "--repair")
    assert said.code == 1
    assert said.out.endswith("Not sound: what is left no repair can mend; the last column says what to do.\n")
    line.change("DELETE FROM candles WHERE open_time = 1000")


@ON_SQLITE  # whose columns take a number of any size
def test_audit_tells_a_number_that_no_candle_can_have(line: CommandLine) -> None:
    """What was written there by hand ends in one sentence, not in a traceback."""
    day = "series_id = 4 AND open_time = :at"
    line.change(f"UPDATE candles SET flags = 99999999 WHERE {day}", at=parse_utc("2026-05-10"))  # noqa: S608 (the same)
    absurd = line.command("audit", "--deep")
    assert (absurd.code, absurd.err.count("\n")) == (1, 1)
    assert "a row of `candles` holds a number that no candle can have" in absurd.err
    line.change(f"UPDATE candles SET flags = 0 WHERE {day}", at=parse_utc("2026-05-10"))  # noqa: S608 (the same)


def test_doctor_finds_all_well(line: CommandLine) -> None:
    """Configuration, database, disk, lock, endpoint and markets are looked at, and all is well."""
    said = line.command("doctor")
    assert said.code == 0, said
    assert [words.split()[0] for words in said.out.splitlines()] == ["ok"] * 7
    assert "our clock agrees with its" in said.out


def test_doctor_asks_what_runs_leave_alone(line: CommandLine) -> None:
    """A resting host is tested live and its rest told; a ban of the whole address is not made longer by asking."""
    until = parse_utc("2026-06-01T01:00Z")
    rest = "UPDATE endpoint_state SET stop_until = :until, stop_reason = 'was refused' WHERE endpoint "
    line.change(rest + "LIKE 'binance http%'", until=until)
    said = line.command("doctor")
    assert said.code == 0, said
    assert "runs leave it alone until 2026-06-01T01:00Z (`sources reset` ends that)" in said.out
    line.change(rest + "= 'binance'", until=until)
    line.sandbox.clear_log()
    banned = line.command("doctor")
    assert banned.code == 1
    assert "rests until 2026-06-01T01:00Z: was refused" in banned.out
    assert line.sandbox.log() == []
    assert line.command("sources", "reset").code == 0


def test_doctor_tells_a_wrong_clock(line: CommandLine) -> None:
    """A local clock that is ahead is told, and is no fault: the source's clock decides."""
    said = line.command("doctor", FETCHER_CLOCK="2026-06-01T00:10:30Z")
    assert said.code == 0
    assert re.search("our clock is 10 min( [1-9] s)? ahead of its", said.out), said.out


@ON_SQLITE
def test_db_is_checked_copied_and_up_to_date(line: CommandLine) -> None:
    """The copy is a database of its own, and an existing file is not overwritten."""
    assert line.answer("db", "check") == {"sound": True, "problems": []}
    assert "up to date" in line.command("db", "upgrade").out
    assert line.command("db", "backup", "copy.db").out.startswith("Copied into copy.db")
    again = line.command("db", "backup", "copy.db")
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "is not overwritten" in again.err
    copied = line.command("status", FETCHER_DATABASE_URL=f"sqlite:///{line.folder / 'copy.db'}")
    assert "742" in copied.out


def test_config_check_prints_what_was_understood(line: CommandLine) -> None:
    """Series, sources and limits are listed; a password in the database's URL is not."""
    said = line.command("config", "check")
    assert said.code == 0
    assert "ETH/USDT  1d  2026-05-01T00:00Z  binance" in said.out
    refused = line.command("config", "check", FETCHER_DATABASE_URL="postgresql+nosuchdriver://me:hush@db/market")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "its driver is not installed" in refused.err
    assert "hush" not in refused.out + refused.err


def test_a_reader_that_leaves_early_is_no_error(line: CommandLine) -> None:
    """`status | head -1` ends without a word on stderr."""
    child = line.start("status", "--json")
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    with child.stderr as complaints:
        assert complaints.read() == ""
    assert child.wait(30) == 1


def test_an_answer_that_cannot_be_written_is_one_sentence(line: CommandLine) -> None:
    """A full disk behind stdout is told once; a closed stdout is nobody's fault, and nobody is told."""
    full = _by_shell(line, "> /dev/full")
    assert (full.code, full.err) == (1, "fetcher: the answer cannot be written: No space left on device\n")
    for closed in (">&-", ">&- 2>&-"):
        quiet = _by_shell(line, closed)
        assert (quiet.code, quiet.err) == (0, "")


def _by_shell(line: CommandLine, redirections: str) -> Said:
    """`status` as a shell starts it with these redirections."""
    child = subprocess.run(
        ["/bin/sh", "-c", f"exec {shlex.quote(sys.executable)} -m fetcher status {redirections}"],
        cwd=line.folder, env=line.environment(), check=False, capture_output=True, text=True,
    )  # fmt: skip
    return Said(child.returncode, child.stdout, child.stderr)


def test_a_narrow_locale_is_no_error(line: CommandLine) -> None:
    """What a terminal's encoding cannot show is escaped."""
    said = line.command("backfill", "--help", PYTHONUTF8="0", PYTHONIOENCODING="latin-1")
    assert said.code == 0, said
    assert "1m\\u20261M" in said.out


def test_help_teaches_each_command(line: CommandLine) -> None:
    """The program's help names the commands, and a command's help holds an example."""
    whole = line.command("--help")
    assert (whole.code, whole.err) == (0, "")
    assert "quarantine" in whole.out
    assert "Example: python -m fetcher backfill --symbol BTC/USDT" in line.command("backfill", "--help").out
