"""`export` over a database that a real run has filled: what is in the files, what is told, what is refused."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd  # noqa: TID253 (what readers have)
import pytest

from fetcher.cli import main
from fetcher.clock import parse_utc
from fetcher.model import MINUTE, VALUE_COLUMNS
from fetcher.sandbox.control import spawn_sandbox
from tests.databases import ON_SQLITE, chosen
from tests.integration.commands import NOW, CommandLine, Said
from tests.integration.world import market

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.databases import Databases

OUTAGE = "2026-05-30T02:00/2026-05-30T04:30"
FROM, TO = parse_utc("2026-05-29"), parse_utc("2026-06-01")
EMPTY = 150  # minutes of the outage
PRICES = ["open", "high", "low", "close"]
READERS = {"csv": pd.read_csv, "parquet": pd.read_parquet, "feather": pd.read_feather}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[CommandLine]:
    """A folder where one run has fetched three days, with an outage in them."""
    with spawn_sandbox("--clock", NOW, "--outage", OUTAGE) as sandbox, chosen(databases):
        made = CommandLine(sandbox, tmp_path_factory.mktemp("export"))
        made.configure(market("BTC/USDT", "1m 1h", "2026-05-29"), market("ETH/USDT", "1h", "2026-05-29"))
        first = made.command("-q")
        assert first.code == 0, first
        yield made


@pytest.fixture
def export(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """The command in this process, since pandas would be loaded anew for each; minutes of BTC/USDT if not told."""
    monkeypatch.chdir(line.folder)
    monkeypatch.setenv("FETCHER_CLOCK", NOW)
    for name in ("FETCHER_CONFIG", "FETCHER_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> Said:
        named = () if "--timeframe" in words else ("--symbol", "BTC/USDT", "--timeframe", "1m")
        code = main(["-q", "export", *named, *words] if "--json" not in words else ["export", *named, *words])
        return Said(code, *capsys.readouterr())

    return run


def read(line: CommandLine, name: str) -> Any:
    """A file as its readers have it, by its ending, with open times as a column of ms."""
    frame = READERS[name.rpartition(".")[2]](line.folder / name).reset_index()
    frame["ms"] = pd.to_datetime(frame["open_time"], utc=True).dt.as_unit("ms").astype("int64")
    return frame


@pytest.mark.parametrize("ending", list(READERS))
def test_a_file_holds_what_is_stored(line: CommandLine, export: Callable[..., Said], ending: str) -> None:
    """Every candle with every column, the same doubles."""
    said = export("--out", f"btc.{ending}", "--format", ending)
    assert (said.code, said.out, said.err) == (0, "", ""), said
    frame, rows = read(line, f"btc.{ending}"), line.rows("BTC/USDT", "1m")
    assert len(rows) == 3 * 1440 - EMPTY
    assert frame["ms"].tolist() == rows["open_time"].tolist()
    for name in (*VALUE_COLUMNS, "flags"):
        assert frame[name].astype("float64").tolist() == rows[name].astype("float64").tolist(), name
    assert set(frame["source"]) == {"binance"}
    assert list(line.folder.glob("btc*.part")) == []
    (line.folder / f"btc.{ending}").unlink()


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_frames_come_back_as_pandas_users_expect(line: CommandLine, export: Callable[..., Said], ending: str) -> None:
    """The index is the open time in UTC; counts can be unknown; the source is a category."""
    assert export("--out", f"typed.{ending}", "--fill", "--resample", "5m").code == 0
    frame = READERS[ending](line.folder / f"typed.{ending}")
    assert (frame.index.name, str(frame.index.dtype)) == ("open_time", "datetime64[ms, UTC]")
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == dict.fromkeys(
        [*PRICES, "volume", "quote_volume", "taker_base", "taker_quote"], "float64"
    ) | {"trades": "Int64", "source": "category", "flags": "int16", "candles": "int32", "filled": "bool"}


def test_minutes_add_up_to_the_exchanges_own_hours(line: CommandLine, export: Callable[..., Said]) -> None:
    """What the exchange itself made of the same trades is the oracle: an hour that the outage cut short too."""
    assert export("--out", "hours.parquet", "--resample", "1h").code == 0
    made, own = read(line, "hours.parquet"), line.rows("BTC/USDT", "1h")
    assert made["ms"].tolist() == own["open_time"].tolist()
    for name in (*PRICES, "trades"):
        assert made[name].tolist() == own[name].tolist(), name
    for name in ("volume", "quote_volume", "taker_base", "taker_quote"):
        assert np.allclose(made[name], own[name], rtol=1e-12, atol=0), name
    assert sorted(set(made["candles"])) == [30, 60]
    assert export("--out", "three.csv", "--resample", "3d").code == 0
    assert read(line, "three.csv")["ms"].tolist() == [FROM]  # counted from the day of its listing, 2017-08-17


def test_empty_slots_are_filled_and_flagged(line: CommandLine, export: Callable[..., Said]) -> None:
    """The outage is flat at its last close, without volume and without a source; nothing else is touched."""
    said = export("--out", "filled.csv", "--fill", "--json")
    [told] = json.loads(said.out)["files"]
    assert (said.code, told["rows"], told["filled"], told["missing"]) == (0, 3 * 1440, EMPTY, 0)
    frame = read(line, "filled.csv")
    assert frame["ms"].tolist() == list(range(FROM, TO, MINUTE))
    made = frame[frame["filled"]]
    assert made["ms"].iloc[[0, -1]].tolist() == [parse_utc("2026-05-30T02:00Z"), parse_utc("2026-05-30T04:29Z")]
    assert set(made[PRICES].to_numpy().ravel()) == {frame["close"][made.index[0] - 1]}
    assert made[["volume", "trades", "flags"]].to_numpy().sum() == 0
    assert made["source"].isna().all()
    assert not frame[~frame["filled"]]["source"].isna().any()


def test_several_series_make_a_folder_that_freqtrade_reads(line: CommandLine, export: Callable[..., Said]) -> None:
    """A file each, named as freqtrade looks for them, with its six columns; a second time needs --force."""
    words = ("--out", "data/binance", "--format", "feather", "--layout", "freqtrade", "--timeframe", "1h")
    assert export(*words).code == 0
    folder = line.folder / "data/binance"
    assert sorted(each.name for each in folder.iterdir()) == ["BTC_USDT-1h.feather", "ETH_USDT-1h.feather"]
    frame, rows = pd.read_feather(folder / "BTC_USDT-1h.feather"), line.rows("BTC/USDT", "1h")
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {"date": "datetime64[ms, UTC]"} | dict.fromkeys(
        [*PRICES, "volume"], "float64"
    )
    assert frame["date"].astype("int64").tolist() == rows["open_time"].tolist()
    assert frame["volume"].tolist() == rows["volume"].tolist()
    refused = export(*words)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "data/binance/BTC_USDT-1h.feather, data/binance/ETH_USDT-1h.feather exists already; --force" in refused.err
    assert export(*words, "--force", "--from", "2026-05-31").code == 0
    assert len(pd.read_feather(folder / "BTC_USDT-1h.feather")) == 24


@pytest.fixture
def damaged(line: CommandLine) -> Iterator[tuple[int, int]]:
    """Minutes are gone until the test ends: one that coverage says is there, and one that it does not."""
    kept = line.databases.keep(line.folder)
    hole, lost = parse_utc("2026-05-29T00:30Z"), parse_utc("2026-05-31T10:00Z")
    of = f"series_id = {line.series('BTC/USDT', '1m').id}"
    line.change(f"DELETE FROM candles WHERE {of} AND open_time IN (:hole, :lost)", hole=hole, lost=lost)  # noqa: S608 - our own words
    cut = f"UPDATE coverage SET start_ms = :next, rows = rows - 31 WHERE {of} AND start_ms = :start"  # noqa: S608 - the same
    line.change(cut, next=hole + MINUTE, start=FROM)
    yield hole, lost
    written = line.config_path.read_text(encoding="utf-8").replace(line.database_url, "{}")
    line.databases.put_back(kept, line.folder)
    line.config_path.write_text(written.replace("{}", line.database_url), encoding="utf-8")


def test_what_is_missing_is_told_and_never_filled(
    line: CommandLine, export: Callable[..., Said], damaged: tuple[int, int]
) -> None:
    """Before the configured start, forgotten, or gone behind the program's back: exit code 1, the file is there."""
    hole, lost = damaged
    said = export("--out", "holes.csv", "--fill", "--from", "2026-05-28T23:00Z", "--json")
    answer = json.loads(said.out)
    assert (said.code, answer["files"][0]["missing"], answer["files"][0]["rows"]) == (1, 62, 3 * 1440 - 2)
    assert [(gap["start_ms"], gap["missing"], gap["why"][0]["status"]) for gap in answer["gaps"]] == [
        (FROM - 60 * MINUTE, 60, "unwanted"), (hole, 1, "unplanned"), (lost, 1, "lost"),
    ]  # fmt: skip
    assert not {hole, lost} & set(read(line, "holes.csv")["ms"])
    hours = export("--out", "fewer.csv", "--resample", "1h", "--from", "2026-05-29")
    assert hours.code == 1
    assert "not planned yet: the next run will" in hours.out
    assert "stored once, and gone since: `audit --repair`" in hours.out
    assert len(read(line, "fewer.csv")) == 3 * 24 - 2 - 2  # two hours of the outage, two with a minute missing


@ON_SQLITE  # nothing is read
def test_a_folder_is_no_file(line: CommandLine, export: Callable[..., Said]) -> None:
    """Whatever is forced."""
    (line.folder / "there/BTC_USDT-1h.csv").mkdir(parents=True)
    said = export("--out", "there", "--timeframe", "1h", "--symbol", "BTC/USDT", "--format", "csv", "--force")
    shutil.rmtree(line.folder / "there")
    assert (said.code, "--out there/BTC_USDT-1h.csv is a folder" in said.err) == (2, True), said


@ON_SQLITE  # nothing is read
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_pipe_stays_a_pipe(line: CommandLine, export: Callable[..., Said], force: list[str]) -> None:
    """Also one behind a link: whoever reads at its other end would wait for ever."""
    pipe, link = line.folder / "pipe.csv", line.folder / "link.csv"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    try:
        for name in ("pipe.csv", "link.csv"):
            said = export("--out", name, *force)
            assert (said.code, said.err.count("\n")) == (2, 1), said
            assert f"--out {name} is no plain file, and would be replaced by one" in said.err
        assert pipe.is_fifo()
        assert link.is_symlink()
    finally:
        pipe.unlink()
        link.unlink()


@ON_SQLITE  # nothing is read
def test_a_link_that_leads_nowhere_is_there(line: CommandLine, export: Callable[..., Said]) -> None:
    """Somebody made it: without --force it stays."""
    link = line.folder / "link.csv"
    link.symlink_to("nowhere/x.csv")
    said = export("--out", "link.csv")
    assert link.is_symlink()
    link.unlink()
    assert (said.code, "link.csv exists already; --force replaces it" in said.err) == (2, True), said


@ON_SQLITE  # nothing is read
def test_a_folder_of_somebody_else(
    line: CommandLine, export: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found before anything is read."""
    monkeypatch.setattr("fetcher.cli.export.os.access", lambda *_: False)  # root may write everywhere
    said = export("--out", "x.csv")
    assert (said.code, said.err.count("\n")) == (2, 1), said
    assert f"--out x.csv cannot be written: there is no right to write in {line.folder}" in said.err


@ON_SQLITE  # nothing is read
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "x.csv", "--symbol", "LTC/USDT"], "--symbol 'LTC/USDT' is not stored; stored: BTC/USDT, ETH"),
        (["--out", "x.csv", "--symbol", "ETH/USDT", "--timeframe", "1m"], "ETH/USDT at 1m is not stored; stored: BTC"),
        (["--out", "x.csv", "--timeframe", "2m"], "--timeframe '2m' is none; one of 1m"),
        (["--out", "x.csv", "--from", "2026-07-01"], "nothing of BTC/USDT 1m can have closed since 2026-07-01"),
        (["--out", "x.csv", "--to", "2026-05-29"], "no 1m candle of BTC/USDT 1m begins and ends between"),
        (["--out", "x.csv", "--from", "tomorrow"], "--from 'tomorrow' is no date"),
        (["--out", "x.csv", "--resample", "1M"], "no 1M candle of BTC/USDT 1m begins and ends between"),
        (["--out", "x.csv", "--resample", "7m"], "resample '7m' is none; one of 1m"),
        (["--out", "x.csv", "--resample", "1m", "--timeframe", "1h"], "1h candles cannot be added up to 1m ones"),
        (["--out", "x"], "--format is needed: one of csv parquet feather, or end --out with it"),
        (["--out", "x.xlsx"], "--format is needed: one of csv parquet feather, or end --out with it"),
        (["--out", "x.csv", "--format", "xlsx"], "--format 'xlsx' is none; one of csv parquet feather"),
        (["--out", "x.csv", "--format", "feather"], "--out x.csv does not end with .feather, as --format says"),
        (["--out", "x.csv", "--layout", "freqtrade"], "--format csv is none of --layout freqtrade; one of parquet"),
        (["--out", "x.csv", "--layout", "polars"], "--layout 'polars' is none; one of pandas freqtrade"),
        (["--out", "x.feather", "--layout", "freqtrade", "--fill"], "--fill goes with --layout pandas"),
        (["--out", "config.yaml/x.csv"], "--out config.yaml/x.csv cannot be written: config.yaml is no folder"),
        (["--out", ".", "--timeframe", "1h", "--timeframe", "1m", "--format", "csv", "--resample", "3d"], "written"),
        (["--timeframe", "1h", "--out", "config.yaml", "--format", "csv"], "config.yaml is no folder"),
        ([], "Missing option '--out'"),
    ],
)  # fmt: skip
def test_bad_words_are_refused_in_one_sentence(
    line: CommandLine, export: Callable[..., Said], words: list[str], sentence: str
) -> None:
    """Exit code 2, what and where, and no file."""

    def files() -> list[Path]:
        return sorted(each for each in line.folder.iterdir() if not each.name.startswith("market.db-"))  # SQLite's own

    before = files()
    said = export(*words)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1), said
    assert sentence in said.err
    assert files() == before


def test_a_line_says_what_was_written(line: CommandLine) -> None:
    """As users have it: the file, its range and how many rows on stdout, progress on stderr."""
    said = line.command("export", "--symbol", "btc/usdt", "--timeframe", "1m", "--out", "told.csv")
    words = " ".join(said.out.splitlines()[1].split())
    assert words.startswith("told.csv 2026-05-29T00:00Z 2026-06-01T00:00Z 4,170 0 0 "), said
    assert "info: 4,170 candles in " in said.err


@ON_SQLITE  # it is about files alone
def test_a_disk_that_is_full_leaves_nothing_half(line: CommandLine) -> None:
    """What cannot be written whole is not there at all, and what was there stays."""
    target = line.folder / "full.csv"
    target.write_text("before", encoding="utf-8")
    child = subprocess.run(
        [sys.executable, "-m", "fetcher", "export", "--timeframe", "1m", "--out", "full.csv", "--force"],
        cwd=line.folder, env=line.environment(), capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )  # fmt: skip
    assert (child.returncode, child.stderr.count("\n")) == (1, 1), child
    assert "full.csv cannot be written: File too large" in child.stderr
    assert target.read_text(encoding="utf-8") == "before"
    assert list(line.folder.glob("full*.part")) == []


_STRUCK = """
import os, sys
from fetcher import export
from fetcher.__main__ import main

make, number = export.frame_of, int(sys.argv.pop())

def struck(*words):
    frame = make(*words)
    os.kill(os.getpid(), number)
    return frame

export.frame_of = struck
sys.exit(main())
"""


@ON_SQLITE  # it is about files alone
@pytest.mark.parametrize(
    ("number", "ending"), [(signal.SIGTERM, "csv"), (signal.SIGTERM, "parquet"), (signal.SIGKILL, "csv")]
)
def test_who_is_ended_leaves_no_half_file(
    line: CommandLine, export: Callable[..., Said], number: signal.Signals, ending: str
) -> None:
    """A signal in the middle: nothing under the file's name; what a kill leaves, the next export clears away."""
    name = f"struck.{ending}"
    words = ["export", "--timeframe", "1m", "--out", name]
    child = subprocess.run(
        [sys.executable, "-c", _STRUCK, *words, str(int(number))],
        cwd=line.folder, env=line.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not (line.folder / name).exists()
    left = list(line.folder.glob("struck*.part"))
    if number == signal.SIGKILL:
        assert (child.returncode, len(left)) == (-signal.SIGKILL, 1)
    else:
        assert (child.returncode, left) == (130, []), child
        assert child.stderr.endswith("fetcher: interrupted\n"), child
    assert export("--out", name).code == 0
    assert [each.name for each in line.folder.glob("struck*")] == [name]
    (line.folder / name).unlink()
