"""The cron wrapper works from a bare environment, in any folder, with any log, and tells what people should know."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
STAND_IN = """\
#!/bin/sh
[ -z "${answer-}" ] || printf "$answer"
[ -n "${answer-}" ] || echo "ran in $PWD: $*"
echo "2026-06-01T00:00:10Z 4ba8f9 info: logged" >&2
exit "$(cat code)"
"""


@pytest.fixture(params=["checkout", "a b%c & 'é|"])
def checkout(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with cron's scripts and a stand-in for Python: says its arguments, ends as the file `code` says."""
    folder = tmp_path / str(request.param)
    shutil.copytree(ROOT / "cron", folder / "cron")
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(STAND_IN, encoding="utf-8")
    python.chmod(0o755)
    (folder / "code").write_text("0", encoding="utf-8")
    return folder


def from_cron(command: str | Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run something as cron would: nothing in the environment but what is given, elsewhere, without a terminal."""
    return subprocess.run(
        [command, *arguments], cwd="/", env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def ran(checkout: Path, *arguments: str) -> str:
    """What the stand-in says when it is started as the wrapper should."""
    return f"ran in {checkout}: {' '.join(['-m', 'fetcher', '--config', f'{checkout}/config.yaml', *arguments])}"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("code", "speaks"), [(0, False), (75, False), (1, False), (2, True), (137, True)])
def test_the_exit_code_is_passed_on_and_only_what_lasts_speaks(
    checkout: Path, shell: str, code: int, *, speaks: bool
) -> None:
    """Cron mails whatever a line prints: what the next run may mend must print nothing, the log has it all."""
    (checkout / "code").write_text(str(code), encoding="utf-8")
    words = [shell, "sh"] if shell == "busybox" else [shell]
    done = from_cron(*words, str(checkout / "cron/fetcher-cron.sh"), PATH="/usr/bin:/bin")
    log = (checkout / "logs/cron.log").read_text(encoding="utf-8")
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == (f"fetcher: exit code {code}; the end of {checkout}/logs/cron.log:\n{log}" if speaks else "")
    assert ran(checkout) in log
    assert "info: logged\n" in log


def told(checkout: Path, code: int, *arguments: str, minutes: int = 0, **environment: str) -> str:
    """What a run that ends so prints, so many minutes after the one before: that one's notes are made older."""
    (checkout / "code").write_text(str(code), encoding="utf-8")
    notes = checkout / "logs/cron.log.failing"
    if notes.exists():
        *times, before = notes.read_text(encoding="utf-8").split()
        aged = [str(max(0, int(each) - 60 * minutes)) for each in times]
        notes.write_text(" ".join([*aged, before]) + "\n", encoding="utf-8")
    return from_cron(checkout / "cron/fetcher-cron.sh", *arguments, **environment).stderr.partition("; ")[0].strip()


def test_failures_that_last_are_told_each_day_until_they_end(checkout: Path) -> None:
    """An hour of exit code 1, a mail; the next after a day; a run that holds the lock changes nothing; then the end."""
    assert not told(checkout, 1)
    assert not told(checkout, 1, minutes=30)
    assert not told(checkout, 75, minutes=30)
    assert told(checkout, 1) == "fetcher: exit code 1 for 60 minutes now"
    assert not told(checkout, 1, minutes=60)
    assert told(checkout, 1, minutes=24 * 60) == "fetcher: exit code 1 for 1560 minutes now"
    assert told(checkout, 0) == "fetcher: well again: runs had failed for 1560 minutes"
    assert not told(checkout, 0)
    assert not (checkout / "logs/cron.log.failing").exists()


def test_what_ended_before_it_was_told_is_not_told(checkout: Path) -> None:
    """A network that was away for half an hour is no news."""
    assert [told(checkout, code, minutes=30) for code in (1, 1, 0, 1, 0)] == [""] * 5


def test_what_no_queue_mends_is_told_at_once_and_once(checkout: Path) -> None:
    """A broken configuration, and when another failure takes its place."""
    assert told(checkout, 2) == "fetcher: exit code 2"
    assert not told(checkout, 2, minutes=5)
    assert told(checkout, 137, minutes=5) == "fetcher: exit code 137 for 10 minutes now"
    assert told(checkout, 0) == "fetcher: well again: runs had failed for 10 minutes"


def test_how_long_is_chosen(checkout: Path) -> None:
    """0 tells each failure that is new; options belong to the bare run, a command's failure is always told."""
    assert told(checkout, 1, FETCHER_MAIL_AFTER="0") == "fetcher: exit code 1"
    assert not told(checkout, 1, "--quiet", FETCHER_MAIL_AFTER="0")
    assert [told(checkout, 1, "audit", "--repair") for _ in range(2)] == ["fetcher: exit code 1"] * 2


@pytest.mark.parametrize("notes", ["", "abc def 1", "99999999999 0 1", "1", "\n"])
def test_notes_that_make_no_sense_are_made_anew(checkout: Path, notes: str) -> None:
    """A clock that was set back, or a file cut short by a full disk."""
    path = checkout / "logs/cron.log.failing"
    path.parent.mkdir()
    path.write_text(notes, encoding="utf-8")
    (checkout / "code").write_text("2", encoding="utf-8")
    said = from_cron(checkout / "cron/fetcher-cron.sh").stderr
    assert said.startswith("fetcher: exit code 2")
    assert re.fullmatch(r"\d+ \d+ 2\n", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("notes", ["", "abc def 1", "1", "\n"])
def test_notes_that_make_no_sense_tell_of_no_end(checkout: Path, notes: str) -> None:
    """A run that did all is no news where nobody knows of a failure."""
    path = checkout / "logs/cron.log.failing"
    path.parent.mkdir()
    path.write_text(notes, encoding="utf-8")
    assert from_cron(checkout / "cron/fetcher-cron.sh").stderr == ""
    assert not path.exists()


def test_another_python_is_taken_where_one_is_named(checkout: Path, tmp_path: Path) -> None:
    """As for a package that is installed in an environment of its own."""
    python = tmp_path / "a python"
    (checkout / ".venv/bin/python").rename(python)
    assert from_cron(checkout / "cron/fetcher-cron.sh", FETCHER_PYTHON=str(python)).returncode == 0
    assert ran(checkout) in (checkout / "logs/cron.log").read_text(encoding="utf-8")


def test_answers_get_a_time_in_the_log(checkout: Path) -> None:
    """Each line of an answer tells when it was given; the program's own log lines keep their own stamp only."""
    script = checkout / "cron/fetcher-cron.sh"
    assert from_cron(script, answer="one\\n\\ntwo\\n").returncode == 0
    log = (checkout / "logs/cron.log").read_text(encoding="utf-8")
    assert re.fullmatch(rf"2026-06-01T00:00:10Z 4ba8f9 info: logged\n{STAMP} one\n{STAMP} \n{STAMP} two\n", log)


def test_json_in_the_log_stays_json(checkout: Path) -> None:
    """A time in front of each line would spoil the object."""
    assert from_cron(checkout / "cron/fetcher-cron.sh", "--json", answer="{\\n}\\n").returncode == 0
    assert (checkout / "logs/cron.log").read_text(encoding="utf-8").endswith("\n{\n}\n")


def test_arguments_reach_the_program(checkout: Path) -> None:
    """Another crontab line may run another command."""
    assert from_cron(checkout / "cron/fetcher-cron.sh", "audit", "--repair").returncode == 0
    assert ran(checkout, "audit", "--repair") in (checkout / "logs/cron.log").read_text(encoding="utf-8")


def test_its_place_is_found_through_a_link(checkout: Path, tmp_path: Path) -> None:
    """A link in a cron folder runs the checkout that it points to, with an odd HOME as without one."""
    link = tmp_path / "fetcher"
    link.symlink_to(checkout / "cron/fetcher-cron.sh")
    assert from_cron(link, HOME="/nonexistent", PATH="").returncode == 0
    assert (checkout / "logs/cron.log").exists()


def test_relative_paths_start_at_the_checkout(checkout: Path) -> None:
    """Cron's own folder is nobody's choice."""
    done = from_cron(checkout / "cron/fetcher-cron.sh", FETCHER_LOG="mine/own.log", FETCHER_CONFIG="other.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--config other.yaml" in (checkout / "mine/own.log").read_text(encoding="utf-8")


def test_a_log_that_grew_is_moved(checkout: Path) -> None:
    """Years of runs do not fill the disk: one old log is kept."""
    log = checkout / "logs/cron.log"
    log.parent.mkdir()
    log.write_text("old\n" * 30, encoding="utf-8")
    assert from_cron(checkout / "cron/fetcher-cron.sh", FETCHER_LOG_MAX="100").returncode == 0
    assert log.with_name("cron.log.1").read_text(encoding="utf-8").startswith("old")
    assert "old" not in log.read_text(encoding="utf-8")


@pytest.mark.parametrize("size", ["abc", "-1", "10M", "9" * 19])
@pytest.mark.parametrize(
    ("name", "what"), [("FETCHER_LOG_MAX", "bytes; 10000000"), ("FETCHER_MAIL_AFTER", "seconds; 3600")]
)
def test_what_is_no_number_is_told_and_the_run_made(checkout: Path, size: str, name: str, what: str) -> None:
    """One sentence, and the default instead."""
    done = from_cron(checkout / "cron/fetcher-cron.sh", **{name: size})
    assert done.returncode == 0
    assert done.stderr == f"fetcher: {name} is {size}, not a number of {what} is used\n"
    assert ran(checkout) in (checkout / "logs/cron.log").read_text(encoding="utf-8")


def unwritable(log: Path, why: str) -> None:
    """Make a log unwritable in a way that holds for root too."""
    if why == "folder is a file":
        log.parent.write_text("", encoding="utf-8")
        return
    log.parent.mkdir()
    if why == "is a folder":
        log.mkdir()
    else:
        log.symlink_to("/nonexistent/cron.log")


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell != "busybox"])
@pytest.mark.parametrize("why", ["is a folder", "leads nowhere", "folder is a file"])
@pytest.mark.parametrize("code", [0, 1])
def test_a_log_that_cannot_be_written_is_told_and_the_run_made(checkout: Path, shell: str, why: str, code: int) -> None:
    """Candles do not wait for a log: what it would hold is told instead, for cron to mail, and the code passed on."""
    log = checkout / "logs/cron.log"
    unwritable(log, why)
    (checkout / "code").write_text(str(code), encoding="utf-8")
    done = from_cron(shell, str(checkout / "cron/fetcher-cron.sh"), PATH="/usr/bin:/bin")
    said = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (code, "")
    assert said[0].startswith(f"fetcher: cannot write the log {log}, so all is told here; ")
    assert any(line.endswith(ran(checkout)) for line in said)
    assert said[3:] == ([f"fetcher: exit code {code}"] if code else [])


def test_a_full_log_that_cannot_be_moved_is_told_and_the_run_made(checkout: Path) -> None:
    """One sentence, not mv's own words; the log goes on growing until a person looks."""
    log = checkout / "logs/cron.log"
    (log.with_name("cron.log.1") / "cron.log").mkdir(parents=True)
    log.write_text("old\n" * 30, encoding="utf-8")
    done = from_cron(checkout / "cron/fetcher-cron.sh", FETCHER_LOG_MAX="100")
    assert done.returncode == 0
    assert done.stderr.startswith(f"fetcher: cannot move the full log to {log}.1; ")
    assert done.stderr.count("\n") == 1
    assert log.read_text(encoding="utf-8").startswith("old")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told_and_the_run_made(checkout: Path) -> None:
    """One sentence, not sed's own words."""
    done = from_cron(checkout / "cron/fetcher-cron.sh", FETCHER_LOG="/dev/full")
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if line.startswith("fetcher: ")] == [
        "fetcher: cannot write to the log /dev/full; is its disk full?"
    ]


def test_what_is_missing_is_named(checkout: Path) -> None:
    """Without .venv it names the command that makes it."""
    shutil.rmtree(checkout / ".venv")
    done = from_cron(checkout / "cron/fetcher-cron.sh")
    assert done.returncode == 2
    assert "make install" in done.stderr
