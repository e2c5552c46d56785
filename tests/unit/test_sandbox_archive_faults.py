"""Each fault of archive files shows its defect, keeps to the files named, and lasts as long as told."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import TYPE_CHECKING

import pytest

from fetcher.errors import ConfigError
from fetcher.sandbox import options as read
from fetcher.sandbox.__main__ import main
from fetcher.sandbox.archive_faults import FILE_FAULTS, IN_ROWS, IN_TEXT
from fetcher.sandbox.options import SandboxOptions
from fetcher.sandbox.state import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from fetcher.sandbox.answer import Answer

CLOCK = "2026-04-30T04:07:30Z"
FOLDER = "/data/spot/monthly/klines/BTCUSDT/1h/"
STEM = "BTCUSDT-1h-2024-01"
ZIP, CHECKSUM = f"{FOLDER}{STEM}.zip", f"{FOLDER}{STEM}.zip.CHECKSUM"
OTHER = f"{FOLDER}BTCUSDT-1h-2024-02.zip"


def sandbox_with(fault: str, *patterns: str, seed: int = 0) -> Sandbox:
    """A sandbox whose archive has that fault from the start."""
    archive = read.read_archive([f"{fault}={pattern}" for pattern in patterns])
    return Sandbox(SandboxOptions(clock=CLOCK, archive=archive, fault_seed=seed))


def ask(sandbox: Sandbox, where: str = ZIP) -> Answer:
    """The answer to a GET of that path."""
    return sandbox.answer(where, {}, "", {})


def text(answer: Answer) -> str:
    """The CSV in a zip."""
    with zipfile.ZipFile(io.BytesIO(answer.body)) as packed:
        return packed.read(f"{STEM}.csv").decode()


def lines(answer: Answer) -> list[str]:
    """The lines of the CSV in a zip."""
    return text(answer).splitlines()


def sha256(answer: Answer) -> str:
    """The hash of the bytes that came."""
    return hashlib.sha256(answer.body).hexdigest()


RIGHT = Sandbox(SandboxOptions(clock=CLOCK))
GOOD, TOLD = ask(RIGHT), ask(RIGHT, CHECKSUM)
TRUE = lines(GOOD)


def _differing(answer: Answer) -> list[tuple[list[str], list[str]]]:
    pairs = zip(lines(answer), TRUE, strict=True)
    return [(now.split(","), was.split(",")) for now, was in pairs if now != was]


def _cut(zipped: Answer, _told: Answer) -> bool:
    *whole, last = lines(zipped)
    return whole == TRUE[:-1] and TRUE[-1].startswith(last) and 1 < len(last.split(",")) < 12


def _other_closes(zipped: Answer, _told: Answer) -> bool:
    found = _differing(zipped)
    plausible = all(float(now[3]) <= float(now[4]) <= float(now[2]) for now, _ in found)
    return plausible and len(found) == 8 and all(now[:2] + now[5:] == was[:2] + was[5:] for now, was in found)


SHOWS: dict[str, Callable[[Answer, Answer], bool]] = {
    "missing": lambda zipped, told: zipped.status == told.status == 404,
    "wrong_checksum": lambda zipped, told: zipped.body == GOOD.body and not told.body.startswith(TOLD.body[:64]),
    "no_checksum": lambda zipped, told: zipped.body == GOOD.body and told.status == 404,
    "truncated": lambda zipped, _: 0 < len(lines(zipped)) < len(TRUE) and lines(zipped) == TRUE[: len(lines(zipped))],
    "duplicated": lambda zipped, _: lines(zipped) != TRUE and sorted(set(lines(zipped))) == TRUE,
    "other_values": _other_closes,
    "cut_line": _cut,
    "header": lambda zipped, _: lines(zipped)[1:] == TRUE and lines(zipped)[0].startswith("open_time,open,high,low,"),
    "broken_zip": lambda zipped, told: zipped.body == GOOD.body[: len(GOOD.body) // 2] and told.body == TOLD.body,
    "not_zip": lambda zipped, told: zipped.body.startswith(b"<html>") and told.body == TOLD.body,
}


def test_every_fault_has_a_case() -> None:
    """A fault nobody looks at would be a fault nobody survives."""
    assert tuple(SHOWS) == FILE_FAULTS


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FILE_FAULTS)
def test_the_fault_shows_its_defect(name: str, seed: int) -> None:
    """The same one each time, whichever of the two is asked for first; the other files are as they should be."""
    sandbox = sandbox_with(name, "*-1h-2024-01.zip", seed=seed)
    told, zipped = ask(sandbox, CHECKSUM), ask(sandbox)
    assert SHOWS[name](zipped, told)
    again = sandbox_with(name, f"{STEM}.zip", seed=seed)
    assert (ask(again), ask(again, CHECKSUM)) == (zipped, told)
    assert ask(sandbox, OTHER).body == ask(RIGHT, OTHER).body
    assert name in {entry["fault"] for entry in sandbox.log()}


@pytest.mark.parametrize("name", [*IN_ROWS, *IN_TEXT])
def test_a_fault_of_the_contents_has_the_right_checksum(name: str) -> None:
    """Only reading the file shows it; the log tells how many candles are in it."""
    sandbox = sandbox_with(name, "*")
    zipped, told = ask(sandbox), ask(sandbox, CHECKSUM)
    assert told.body.decode() == f"{sha256(zipped)}  {STEM}.zip\n"
    assert sha256(zipped) != sha256(GOOD)
    rows = len(lines(zipped)) - (name in {"cut_line", "header"})
    assert [(entry["rows"], entry["fault"]) for entry in sandbox.log()] == [(rows, name), (None, name)]


@pytest.mark.parametrize(
    ("name", "faults"),
    [("broken_zip", ["broken_zip", None]), ("wrong_checksum", [None, "wrong_checksum"]),
     ("no_checksum", [None, "no_checksum"]), ("missing", ["missing"] * 2)],
)  # fmt: skip
def test_the_log_names_a_fault_only_where_it_shows(name: str, faults: list[str | None]) -> None:
    """Of the zip and its CHECKSUM."""
    sandbox = sandbox_with(name, "*")
    ask(sandbox)
    ask(sandbox, CHECKSUM)
    assert [entry["fault"] for entry in sandbox.log()] == faults


def test_a_broken_file_says_of_itself_what_it_is() -> None:
    """An HTML page has no object's headers; torn bytes are an object of their own."""
    page, torn = ask(sandbox_with("not_zip", "*")), ask(sandbox_with("broken_zip", "*"))
    assert (page.status, page.content_type, set(page.headers)) == (200, "text/html", {"Date"})
    assert torn.headers["ETag"] not in {GOOD.headers["ETag"], ""}
    with pytest.raises(zipfile.BadZipFile):
        text(torn)


def test_a_file_of_one_candle_can_be_spoiled_too() -> None:
    """Truncated it is empty, its only line can be cut."""
    where, name = FOLDER.replace("1h", "1mo") + "BTCUSDT-1mo-2024-01.zip", "BTCUSDT-1mo-2024-01.csv"

    def contents(fault: str) -> str:
        with zipfile.ZipFile(io.BytesIO(ask(sandbox_with(fault, "*"), where).body)) as packed:
            return packed.read(name).decode()

    whole = contents("wrong_checksum")
    assert contents("truncated") == ""
    assert contents("duplicated") == whole * 2
    assert whole.startswith(cut := contents("cut_line"))
    assert 10 < len(cut) < len(whole) - 10
    assert contents("other_values") != whole


@pytest.mark.parametrize("name", FILE_FAULTS)
@pytest.mark.parametrize("order", [(ZIP, CHECKSUM), (CHECKSUM, ZIP)])
def test_a_fault_once_is_over_when_both_are_fetched_once_more(name: str, order: tuple[str, str]) -> None:
    """Whichever is asked for first; each file has its own once."""
    sandbox = sandbox_with(name, "once:*")
    first = {where: ask(sandbox, where) for where in order}
    assert SHOWS[name](first[ZIP], first[CHECKSUM])
    for _ in range(2):
        again = {where: ask(sandbox, where) for where in order}
        assert (again[ZIP].body, again[CHECKSUM].body) == (GOOD.body, TOLD.body)
    other = {where: ask(sandbox, where.replace("2024-01", "2024-02")) for where in order}
    assert any(answer.fault == name for answer in other.values())


def test_a_fault_once_is_over_when_one_is_fetched_once_more() -> None:
    """A client that gave up at the CHECKSUM never asked for the zip."""
    sandbox = sandbox_with("missing", "once:*")
    assert [ask(sandbox, where).status for where in (CHECKSUM, CHECKSUM, ZIP)] == [404, 200, 200]


def test_looking_ahead_spends_no_once() -> None:
    """What is made in a thread before the answer is what is then answered with."""
    sandbox = sandbox_with("truncated", "once:*")
    assert sandbox.preparation(ZIP) is not None
    lengthy = sandbox.preparation(ZIP)
    assert lengthy is not None
    lengthy()
    assert sandbox.preparation(ZIP) is None
    assert ask(sandbox).fault == "truncated"
    assert sandbox.preparation(CHECKSUM) is None
    assert ask(sandbox, CHECKSUM).fault == "truncated"
    assert sandbox.preparation(ZIP) is not None
    assert ask(sandbox).fault is None


def test_the_first_fault_that_names_a_file_is_the_one_it_has() -> None:
    """In the order told; a spent one makes way for the next."""
    sandbox = Sandbox(SandboxOptions(clock=CLOCK))
    sandbox.configure({"archive": {"faults": {"header": ["once:*-01.zip"], "missing": ["ETH*", "BTC*"]}}})
    assert [ask(sandbox, where).fault for where in (OTHER, ZIP, ZIP)] == ["missing", "header", "missing"]
    sandbox.configure({"archive": {"faults": {}}})
    assert ask(sandbox).body == GOOD.body


def test_what_the_archive_is_told_is_read_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence each, from the command line and by the remote control."""
    told = read.read_archive(["header=A*", "header=once:B*"], ["daily=90m", "monthly=12d"], ["always"], 7)
    assert told.faults == {"header": ("A*", "once:B*")}
    assert (told.late.daily_ms, told.late.monthly_ms, told.down, told.kept_mb) == (
        5_400_000,
        1_036_800_000,
        (read.ALWAYS,),
        7,
    )
    for option, text, says in (
        ("--archive-fault", "torn=*", "unknown fault of archive files 'torn'"),
        ("--archive-fault", "truncated", "'truncated' is no fault of files"),
        ("--archive-fault", "truncated=", "no list of file names for truncated"),
        ("--archive-late", "weekly=1d", "'weekly=1d' does not tell"),
        ("--archive-late", "daily=soon", "'soon' is no duration"),
        ("--archive-late", "daily=-8h", "at most 7.5h before"),
        ("--archive-down", "soon", "'soon' is no span"),
    ):
        assert main(["--port", "0", f"{option}={text}"]) == 2
        assert says in capsys.readouterr().err
    sandbox = Sandbox(SandboxOptions(clock=CLOCK))
    for settings, says in (
        ({"faults": {"torn": ["*"]}}, "unknown fault"),
        ({"faults": {"header": "*"}}, r"'\*' is no list of file names for header"),
        ({"faults": ["header"]}, "archive's faults"),
        ({"daily_late_ms": "soon"}, "archive's daily_late_ms"),
        ({"monthly_late_ms": -30_000_000}, "at midnight"),
        ({"limit": "1/1s"}, "archive has no setting 'limit'; one of faults, down"),
    ):
        with pytest.raises(ConfigError, match=says):
            sandbox.configure({"archive": settings})
