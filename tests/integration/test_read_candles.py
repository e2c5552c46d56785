"""`from fetcher import read_candles`: what people get who have never heard of our tables, and what it never touches."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, date, datetime
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pandas as pd  # noqa: TID253 (what readers have)
import pytest
from sqlalchemy.exc import DBAPIError

from db.engine import open_engine, open_reader, reading, writing
from db.errors import DatabaseProblem, DatabaseUnusable
from db.manager import DatabaseManager
from fetcher import MissingCandles, read_candles
from fetcher.clock import parse_utc
from fetcher.errors import ConfigError, Stopped
from fetcher.model import HOUR, MINUTE
from fetcher.sandbox.control import spawn_sandbox
from tests.databases import ON_POSTGRESQL, ON_SQLITE, chosen
from tests.integration.commands import NOW, CommandLine
from tests.integration.world import ROOT, market

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.databases import Databases
    from tests.postgresql import Server

FROM, TO = parse_utc("2026-05-29"), parse_utc("2026-06-01")
OUTAGE = "2026-05-30T02:00/2026-05-30T04:30"


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[CommandLine]:
    """A folder where one run has fetched three days of minutes, with an outage in them."""
    with spawn_sandbox("--clock", NOW, "--outage", OUTAGE) as sandbox, chosen(databases):
        made = CommandLine(sandbox, tmp_path_factory.mktemp("frames"))
        made.configure(market("BTC/USDT", "1m", "2026-05-29"))
        first = made.command("-q")
        assert first.code == 0, first
        yield made


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox's time, and nothing of ours in the environment."""
    monkeypatch.setenv("FETCHER_CLOCK", NOW)
    for name in ("FETCHER_CONFIG", "FETCHER_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def times(frame: Any) -> list[int]:
    """Its open times, ms UTC."""
    found: list[int] = frame.index.as_unit("ms").astype("int64").tolist()
    return found


def test_a_frame_is_what_is_stored(line: CommandLine) -> None:
    """Every column, the same doubles, indexed by UTC time; attrs tell what it is and that nothing is missing."""
    frame, rows = read_candles("BTC/USDT", "1m", database_url=line.database_url), line.rows("BTC/USDT", "1m")
    assert times(frame) == rows["open_time"].tolist()
    assert str(frame.index.dtype) == "datetime64[ms, UTC]"
    for name in ("open", "high", "low", "close", "volume", "quote_volume", "taker_base", "taker_quote"):
        assert frame[name].to_numpy().tobytes() == rows[name].tobytes(), name
    assert frame["trades"].tolist() == rows["trades"].tolist()
    assert set(frame["source"]) == {"binance"}
    assert frame.attrs == {"symbol": "BTC/USDT", "timeframe": "1m", "missing": 0}


@pytest.mark.parametrize(
    "start",
    [
        "2026-05-30", "2026-05-30T02:00:00+02:00", date(2026, 5, 30), datetime(2026, 5, 30, tzinfo=UTC),
        datetime(2026, 5, 30), pd.Timestamp("2026-05-30"), pd.Timestamp("2026-05-30", tz="UTC"),  # noqa: DTZ001 - as people have them
        parse_utc("2026-05-30"),
    ],
)  # fmt: skip
@ON_SQLITE  # what they mean is told before the database is asked
def test_moments_as_people_have_them(line: CommandLine, start: Any) -> None:
    """Texts, dates, moments of Python and pandas, ms: the same; the end is exclusive."""
    frame = read_candles("btc/usdt", "1m", start=start, end="2026-05-30T00:10", config=line.config_path)
    assert times(frame) == list(range(parse_utc("2026-05-30"), parse_utc("2026-05-30T00:10"), MINUTE))


def test_coarser_candles_and_filled_slots(line: CommandLine) -> None:
    """As `export` has them: the empty quarters of the outage are flat, flagged and made of no candle."""
    frame = read_candles("BTC/USDT", "1m", config=line.config_path, resample="15m", fill=True)
    assert times(frame) == list(range(FROM, TO, HOUR // 4))
    assert (frame["filled"].sum(), frame["candles"].sum()) == (10, 3 * 1440 - 150)
    assert (frame["candles"] == 0).equals(frame["filled"])
    assert frame[frame["filled"]]["source"].isna().all()


def test_the_first_slots_go_on_from_the_candle_before(line: CommandLine) -> None:
    """A range that begins inside the outage begins with the close before it; rows are not needed for that."""
    frame = read_candles(
        "BTC/USDT", "1m", start="2026-05-30T03:00", end="2026-05-30T04:00", database_url=line.database_url, fill=True
    )
    before = read_candles("BTC/USDT", "1m", end="2026-05-30T02:00", database_url=line.database_url)
    assert (len(frame), frame["filled"].all()) == (60, True)
    assert set(frame["close"]) == {before["close"].iloc[-1]}


def test_what_is_missing_is_warned_of(line: CommandLine) -> None:
    """Slots that nobody has proven empty are counted and named, and never filled."""
    with pytest.warns(
        MissingCandles, match="60 candles of BTC/USDT 1m are missing: 2026-05-28T23:00:00Z to 2026-05-29"
    ):
        frame = read_candles("BTC/USDT", "1m", start="2026-05-28T23:00", database_url=line.database_url, fill=True)
    assert (times(frame)[0], frame.attrs["missing"]) == (FROM, 60)


def test_reading_goes_on_while_somebody_writes(line: CommandLine) -> None:
    """A writer in the middle of its transaction keeps no reader waiting, and is not seen."""
    engine = open_engine(line.database_url)
    with suppress(Stopped), writing(engine) as conn:
        conn.exec_driver_sql("DELETE FROM candles")
        assert len(read_candles("BTC/USDT", "1m", database_url=line.database_url)) == 3 * 1440 - 150
        raise Stopped("and nothing of it is kept")
    engine.dispose()


def test_a_reader_cannot_write(line: CommandLine) -> None:
    """Neither by mistake: the database itself refuses."""
    engine = open_reader(line.database_url)
    with pytest.raises((DBAPIError, DatabaseProblem)), reading(engine) as conn:
        conn.exec_driver_sql("DELETE FROM candles")
    engine.dispose()


@ON_SQLITE
def test_a_copy_is_read_as_it_is(line: CommandLine, tmp_path: Path) -> None:
    """A backup is no WAL: reading it leaves no byte of it changed, and makes no file beside it."""
    copy = tmp_path / "copy # of 100 %.db"
    engine = open_engine(line.database_url)
    DatabaseManager(engine, line.database_url).backup(copy)
    engine.dispose()
    before = copy.read_bytes()
    assert len(read_candles("BTC/USDT", "1m", database_url=f"sqlite:///{copy}")) == 3 * 1440 - 150
    assert copy.read_bytes() == before
    assert list(tmp_path.iterdir()) == [copy]


def test_no_database_is_made(tmp_path: Path) -> None:
    """What is not there, empty, or another program's is told in one sentence and left as it is."""
    with pytest.raises(DatabaseProblem, match=r"^database \S+absent.db does not exist; a run makes it$"):
        read_candles("BTC/USDT", "1m", database_url=f"sqlite:///{tmp_path}/absent.db")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    with pytest.raises(DatabaseUnusable, match=r"^database \S+empty.db is empty; a run fills it$"):
        read_candles("BTC/USDT", "1m", database_url=f"sqlite:///{tmp_path}/empty.db")
    assert (tmp_path / "empty.db").stat().st_size == 0
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at" * 20, encoding="utf-8")
    with pytest.raises(DatabaseUnusable, match="is not an SQLite database"):
        read_candles("BTC/USDT", "1m", database_url=f"sqlite:///{tmp_path}/text.db")


def test_an_older_database_is_not_upgraded(line: CommandLine) -> None:
    """A reader may not be the one who decides that: it says who does."""
    line.change("UPDATE alembic_version SET version_num = '0003'")
    try:
        with pytest.raises(DatabaseProblem, match=r"is of an older version \(revision 0003, .* a run or `db upgrade`"):
            read_candles("BTC/USDT", "1m", database_url=line.database_url)
    finally:
        line.change("UPDATE alembic_version SET version_num = '0004'")


@ON_SQLITE  # which takes any value in any column
@pytest.mark.parametrize("column", ["trades", "close", "flags"])
def test_a_row_that_no_candle_can_be_is_one_sentence(line: CommandLine, column: str) -> None:
    """Another hand wrote it."""
    [(before,)] = line.query(f"SELECT {column} FROM candles WHERE open_time = {FROM}")  # noqa: S608 (a fixed list)
    change = f"UPDATE candles SET {column} = :value WHERE open_time = :ms"  # noqa: S608 (the same)
    line.change(change, ms=FROM, value="dear" if column == "close" else 2**53 + 2)
    try:
        with pytest.raises(DatabaseProblem, match="a row of `candles` holds a number that no candle can have"):
            read_candles("BTC/USDT", "1m", database_url=line.database_url)
    finally:
        line.change(change, ms=FROM, value=before)


@ON_POSTGRESQL
def test_the_reading_role_is_enough(line: CommandLine, postgresql: Server) -> None:
    """Who was granted candle_readers reads, and could change nothing."""
    assert line.command("db", "roles").code == 0
    postgresql.do("CREATE ROLE reader LOGIN IN ROLE candle_readers")
    try:
        url = line.database_url.replace("postgres@", "reader@")
        assert len(read_candles("BTC/USDT", "1m", database_url=url)) == 3 * 1440 - 150
    finally:
        line.change("DROP OWNED BY candle_readers")
        for role in ("reader", "candle_readers"):
            postgresql.do(f"DROP ROLE {role}")


@ON_SQLITE
def test_bad_arguments_get_one_sentence(line: CommandLine, tmp_path: Path) -> None:
    """What and where, and what there is."""
    told: tuple[tuple[dict[str, Any], str], ...] = (
        ({"symbol": None}, "the database has no series NONE 1m; there are BTC/USDT 1m"),
        ({"symbol": "XRP/USDT"}, "the database has no series XRP/USDT 1m; there are BTC/USDT 1m"),
        ({"timeframe": "1 minute"}, "timeframe '1 minute' is none; one of 1m"),
        ({"start": "soon"}, "start 'soon' is no date; write it like '2024-01-01'"),
        ({"end": object()}, "is no date"),
        ({"start": pd.Timestamp("2026-05-30").as_unit("ns").value}, "start 1780099200000000000 is no date; write it"),
        ({"end": 10**20}, "end 100000000000000000000 is no date"),
        ({"start": "9999-12-31", "resample": "1M"}, "nothing of BTC/USDT 1m can have closed since 2200-01-01"),
        ({"resample": "1w"}, "no 1w candle of BTC/USDT 1m begins and ends between"),
    )
    plain: dict[str, Any] = {"symbol": "BTC/USDT", "timeframe": "1m", "config": line.config_path}
    for words, sentence in told:
        with pytest.raises(ConfigError, match=r"^[^\n]+$") as raised:
            read_candles(**plain | words)
        assert sentence in str(raised.value)
    with pytest.raises(ConfigError, match="no such file"):
        read_candles("BTC/USDT", "1m", config=tmp_path / "none.yaml")


@ON_SQLITE
def test_the_command_lines_configuration_is_found(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """FETCHER_CONFIG, else config.yaml here; FETCHER_DATABASE_URL wins over what it says."""
    monkeypatch.chdir(line.folder)
    assert len(read_candles("BTC/USDT", "1m", end="2026-05-30")) == 1440
    monkeypatch.setenv("FETCHER_DATABASE_URL", "sqlite:///other.db")
    with pytest.raises(DatabaseProblem, match=r"other\.db does not exist"):
        read_candles("BTC/USDT", "1m")
    monkeypatch.setenv("FETCHER_CONFIG", "elsewhere.yaml")
    with pytest.raises(ConfigError, match=r"elsewhere\.yaml: no such file"):
        read_candles("BTC/USDT", "1m")


@ON_SQLITE
def test_the_readmes_example_runs(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it reads is drawn by a library that we do not have; all before that works as it is shown."""
    monkeypatch.chdir(line.folder)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"^    from fetcher import read_candles\n\n(?:    .+\n)+", text, re.MULTILINE)
    assert shown is not None
    found: dict[str, Any] = {}
    with pytest.warns(MissingCandles):  # it begins before this world does
        exec(dedent(shown[0]).partition("axes")[0], found)  # noqa: S102 (our own README)
    assert times(found["hours"]) == list(range(FROM, TO, HOUR))


def test_a_run_pays_nothing_for_it() -> None:
    """Importing the program, and its command line with `export` in it, loads neither pandas nor pyarrow nor numpy."""
    code = (
        "import sys, fetcher, fetcher.cli, fetcher.__main__\n"
        "print(sorted({'pandas', 'pyarrow', 'numpy', 'sqlalchemy'} & set(sys.modules)))\n"
        "fetcher.nonsense"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin"}
    )
    assert child.stdout == "[]\n"
    assert child.stderr.endswith("AttributeError: module 'fetcher' has no attribute 'nonsense'\n")
