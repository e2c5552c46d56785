"""The sandbox's archive: names, exact bytes, and the moment each file appears."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zipfile
from typing import TYPE_CHECKING

import pytest

from fetcher.clock import format_utc, parse_utc
from fetcher.model import DAY, HOUR, MINUTE, Timeframe, Window
from fetcher.sandbox.archive_files import ArchiveFiles
from fetcher.sandbox.archive_names import Lateness, read_path
from fetcher.sandbox.generated import GeneratedMarket, History, Shifted
from fetcher.sandbox.options import SandboxOptions
from fetcher.sandbox.recorded import COLUMNS
from fetcher.sandbox.state import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from fetcher.model import Rows
    from fetcher.sandbox.answer import Answer

CLOCK = "2026-04-30T04:07:30Z"
LATE = Lateness()


def path(stem: str, suffix: str = ".zip") -> str:
    """Where a file of that stem lies: its date says whether it is a day's or a month's."""
    symbol, interval, *date = stem.split("-")
    return f"/data/spot/{'daily' if len(date) == 3 else 'monthly'}/klines/{symbol}/{interval}/{stem}{suffix}"


def ask(sandbox: Sandbox, where: str) -> Answer:
    """The answer to a GET of a path without parameters."""
    return sandbox.answer(where, {}, "", {})


def lines(answer: Answer, stem: str) -> list[str]:
    """The lines of the one CSV in a zip, each of them ended."""
    assert (answer.status, answer.content_type) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as packed:
        assert packed.namelist() == [f"{stem}.csv"]
        text = packed.read(f"{stem}.csv").decode()
    assert text.endswith("\n")
    assert "\r" not in text
    return text.splitlines()


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """A market with a halt of six hours within one day and of a whole day, and with a beginning and an end."""
    halts = (Window(parse_utc("2024-01-15T02:00"), parse_utc("2024-01-15T08:00")),
             Window(parse_utc("2024-01-20"), parse_utc("2024-01-21")))  # fmt: skip
    ends = {"OLDUSDT": parse_utc("2024-03-05T12:00")}
    history = History(outages=halts, listed={"NEWUSDT": parse_utc("2024-02-10T06:00")}, delisted=ends)
    return Sandbox(SandboxOptions(clock=CLOCK, history=history))


@pytest.mark.parametrize("interval", ["1m", "5m", "1h", "1d"])
@pytest.mark.parametrize("symbol", ["BTCUSDT", "SHIBUSDT"])
def test_a_days_file_holds_what_rest_serves_digit_for_digit(sandbox: Sandbox, symbol: str, interval: str) -> None:
    """Twelve columns without quotes or header, the last 0; a halt's minutes are in neither."""
    start = parse_utc("2024-01-15")
    query = {"symbol": symbol, "interval": interval, "startTime": str(start), "endTime": str(start + DAY - 1)}
    served = []
    while page := json.loads(sandbox.answer("/api/v3/klines", {**query, "limit": "1000"}, "", {}).body):
        served += [",".join(map(str, row)) for row in page]
        query["startTime"] = str(page[-1][0] + 1)
    stem = f"{symbol}-{interval}-2024-01-15"
    assert lines(ask(sandbox, path(stem)), stem) == served
    assert len(served) in {1080, 216, 18, 1}


@pytest.mark.parametrize(
    ("stem", "first", "last_close"),
    [
        ("BTCUSDT-1h-2024-12", "1733011200000", "1735689599999"),
        ("BTCUSDT-1h-2024-12-31", "1735603200000", "1735689599999"),
        ("BTCUSDT-1h-2025-01", "1735689600000000", "1738367999999999"),
        ("BTCUSDT-1h-2025-01-01", "1735689600000000", "1735775999999999"),
    ],
)
def test_files_of_2025_and_later_tell_microseconds(sandbox: Sandbox, stem: str, first: str, last_close: str) -> None:
    """The file decides, not the candle; closes end one unit before the next open."""
    rows = lines(ask(sandbox, path(stem)), stem)
    assert rows[0].split(",")[0] == first
    assert rows[-1].split(",")[6] == last_close


@pytest.mark.parametrize(
    ("stem", "opens"),
    [
        ("BTCUSDT-1w-2024-12", ["2024-12-02", "2024-12-09", "2024-12-16", "2024-12-23", "2024-12-30"]),
        ("BTCUSDT-1mo-2024-12", ["2024-12-01"]),
        ("NEWUSDT-1mo-2024-02", ["2024-02-01"]),
        ("NEWUSDT-1d-2024-02", [f"2024-02-{day}" for day in range(10, 30)]),
        ("OLDUSDT-1d-2024-03", [f"2024-03-0{day}" for day in range(1, 6)]),
    ],
)
def test_candles_belong_to_the_file_they_open_in(sandbox: Sandbox, stem: str, opens: list[str]) -> None:
    """A week that ends next month too; a month in which trading began or ended is shorter."""
    rows = lines(ask(sandbox, path(stem)), stem)
    assert [format_utc(int(row.split(",")[0]))[:10] for row in rows] == opens


def test_three_day_candles_go_on_over_the_ends_of_months(sandbox: Sandbox) -> None:
    """Each is in just one file, but for one that was not closed when its file was made."""
    opens: list[int] = []
    for month in range(1, 4):
        stem = f"BTCUSDT-3d-2023-0{month}"
        opens += [int(row.split(",")[0]) for row in lines(ask(sandbox, path(stem)), stem)]
    assert opens == list(range(opens[0], opens[-1] + 1, 3 * DAY))
    late = "BTCUSDT-3d-2023-04"  # its last candle opens on the 30th; the first Monday is May 1st
    assert format_utc(int(lines(ask(sandbox, path(late)), late)[-1].split(",")[0])) == "2023-04-27T00:00:00Z"


@pytest.mark.parametrize(
    "where",
    [
        *map(path, ("NEWUSDT-1h-2024-01", "NEWUSDT-1m-2024-02-09", "OLDUSDT-1h-2024-04", "OLDUSDT-1m-2024-03-06")),
        *map(path, ("BTCUSDT-1m-2024-01-20", "BTCUSDT-1h-2017-07", "NOPE-1h-2024-01", "btcusdt-1h-2024-01")),
        *map(path, ("BTCUSDT-3d-2024-01-15", "BTCUSDT-1w-2024-01-15", "BTCUSDT-1mo-2024-01-01", "BTCUSDT-1s-2024-01")),
        *map(path, ("BTCUSDT-1M-2024-01", "BTCUSDT-1h-2024-13", "BTCUSDT-1h-2024-02-30", "BTCUSDT-1h-0024-01")),
        path("BTCUSDT-1h-2024-01").replace("monthly", "daily"),
        path("BTCUSDT-1h-2024-01-15").replace("daily", "monthly"),
        path("BTCUSDT-1h-2024-01").replace("/1h/", "/1m/"),
        path("BTCUSDT-1h-2024-01").replace("/spot/", "/futures/um/"),
        path("BTCUSDT-1h-2024-01", ""),
        path("BTCUSDT-1h-2024-01", ".zip.CHECKSUM.CHECKSUM"),
        "/data/spot/a&<b>",
    ],
)
@pytest.mark.parametrize("suffix", ["", ".CHECKSUM"])
def test_what_is_not_there_is_no_such_key(sandbox: Sandbox, where: str, suffix: str) -> None:
    """S3's XML, with the key: before a listing, after the end, a day of halt, and names that mean nothing."""
    answer = ask(sandbox, where + suffix)
    assert (answer.status, answer.content_type, answer.rows) == (404, "application/xml", None)
    text = answer.body.decode()
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code><Message>')
    key = (where + suffix)[1:].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f"<Key>{key}</Key>" in text


def test_a_checksum_is_sha256sums_line_of_the_zip(sandbox: Sandbox) -> None:
    """Two spaces, the name, one line feed; the zip has the same bytes in every sandbox."""
    stem = "BTCUSDT-1h-2024-01"
    packed, told = ask(sandbox, path(stem)), ask(sandbox, path(stem, ".zip.CHECKSUM"))
    assert told.body.decode() == f"{hashlib.sha256(packed.body).hexdigest()}  {stem}.zip\n"
    assert (told.content_type, told.rows, packed.rows) == ("binary/octet-stream", None, 31 * 24 - 6 - 24)
    market = sandbox.exchange.market
    assert isinstance(market, GeneratedMarket)
    again = ask(Sandbox(SandboxOptions(clock="2024-03-01", history=market.history)), path(stem))
    assert (again.body, again.headers["ETag"]) == (packed.body, packed.headers["ETag"])
    with zipfile.ZipFile(io.BytesIO(packed.body)) as opened:
        (entry,) = opened.infolist()
        assert (entry.date_time[0], entry.compress_type, entry.external_attr >> 16) == (1980, 8, 0o100644)


@pytest.mark.parametrize(
    ("stem", "appears"),
    [
        ("BTCUSDT-1m-2024-01-15", "2024-01-16T07:30:00Z"),
        ("BTCUSDT-1m-2024-12-31", "2025-01-01T07:30:00Z"),
        ("BTCUSDT-1m-2024-01", "2024-02-05T07:30:00Z"),
        ("BTCUSDT-1w-2024-06", "2024-07-01T07:30:00Z"),
        ("BTCUSDT-1mo-2025-12", "2026-01-05T07:30:00Z"),
    ],
)
def test_a_file_appears_by_the_sandboxs_clock_its_checksum_a_second_earlier(stem: str, appears: str) -> None:
    """A day's in the morning after, a month's on the first Monday; dated then, and not dated anew later."""
    sandbox, moment = Sandbox(SandboxOptions()), parse_utc(appears)
    seen = []
    for before in (1001, 1000, 1, 0, -400 * DAY):
        sandbox.configure({"clock": format_utc(moment - before)})
        answers = [ask(sandbox, path(stem, suffix)) for suffix in (".zip.CHECKSUM", ".zip")]
        seen.append([answer.status for answer in answers])
    assert seen == [[404, 404], [200, 404], [200, 404], [200, 200], [200, 200]]
    dates = [answer.headers["Last-Modified"][-12:] for answer in answers]
    assert dates == ["07:29:59 GMT", "07:30:00 GMT"]
    packed = answers[1]
    assert packed.headers["ETag"] == f'"{hashlib.md5(packed.body, usedforsecurity=False).hexdigest()}"'


def test_files_may_be_later_than_usual() -> None:
    """Each kind by its own option, at the start or from now on; earlier too, though not before midnight."""
    sandbox = Sandbox(SandboxOptions(clock="2024-02-13T07:30:00Z"))
    day, month = path("BTCUSDT-1h-2024-02-12"), path("BTCUSDT-1h-2024-01")
    sandbox.configure({"archive": {"daily_late_ms": 6 * HOUR, "monthly_late_ms": 12 * DAY}})
    assert [ask(sandbox, where).status for where in (day, month)] == [404, 404]
    sandbox.configure({"clock": "2024-02-13T13:30:00Z"})
    assert [ask(sandbox, where).status for where in (day, month)] == [200, 404]
    sandbox.configure({"clock": "2024-02-17T07:30:00Z"})
    assert ask(sandbox, month).headers["Last-Modified"] == "Sat, 17 Feb 2024 07:30:00 GMT"
    sandbox.configure({"clock": "2024-02-13", "archive": {"daily_late_ms": -27_000_000}})
    assert len(lines(ask(sandbox, day), "BTCUSDT-1h-2024-02-12")) == 24


@pytest.mark.parametrize("day", ["2020-01-01", "2020-01-02", "2020-01-03"])
def test_a_real_file_comes_back_byte_for_byte(shared_data: Path, tmp_path: Path, day: str) -> None:
    """Recorded from a real zip, served from the recording; real zips have one entry, deflated, with a file's mode."""
    stem = f"BTCUSDT-1m-{day}"
    real = (shared_data / "archive" / f"{stem}.zip").read_bytes()
    told = (shared_data / "archive" / f"{stem}.zip.CHECKSUM").read_text().strip()  # trimmed by whoever captured it
    assert told == f"{hashlib.sha256(real).hexdigest()}  {stem}.zip"
    with zipfile.ZipFile(io.BytesIO(real)) as packed:
        text, (entry,) = packed.read(f"{stem}.csv"), packed.infolist()
    record(tmp_path, "BTCUSDT-1m", text.decode())
    served = ask(Sandbox(SandboxOptions(clock=CLOCK, data=tmp_path)), path(stem)).body
    with zipfile.ZipFile(io.BytesIO(served)) as packed:
        assert packed.read(f"{stem}.csv") == text
        (own,) = packed.infolist()
    for name in ("filename", "compress_type", "create_system", "external_attr", "flag_bits", "file_size", "CRC"):
        assert getattr(own, name) == getattr(entry, name), name


def record(folder: Path, name: str, text: str) -> None:
    """A recording of an archive file's candles."""
    rows = [row[:11] for row in csv.reader(io.StringIO(text))]
    with gzip.open(folder / f"{name}.csv.gz", "wt") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


def test_a_recorded_market_has_an_archive_of_what_was_recorded(tmp_path: Path) -> None:
    """Coarser candles are added up as for REST; before and after the recording there are no files."""
    start = parse_utc("2025-03-31T22:00")
    rows = [
        f"{start + n * HOUR},{n + 1},{n + 3},{n + 1},{n + 2},1.5,{start + (n + 1) * HOUR - 1},9,2,1,5,0"
        for n in range(4)
    ]
    record(tmp_path, "XUSDT-1h", "\n".join(rows))
    sandbox = Sandbox(SandboxOptions(clock=CLOCK, data=tmp_path))
    (last, _) = (lines(ask(sandbox, path(f"XUSDT-1h-2025-0{month}")), f"XUSDT-1h-2025-0{month}") for month in (3, 4))
    assert last[1] == (
        f"{(start + HOUR) * 1000},2.00000000,4.00000000,2.00000000,3.00000000,1.50000000,"
        f"{(start + 2 * HOUR) * 1000 - 1},"
        "9.00000000,2,1.00000000,5.00000000,0"
    )
    assert len(lines(ask(sandbox, path("XUSDT-2h-2025-04-01")), "XUSDT-2h-2025-04-01")) == 1
    assert [ask(sandbox, path(f"XUSDT-{name}")).status for name in ("1h-2025-02", "1h-2025-05", "1m-2025-03")] == [
        404
    ] * 3


def test_late_candles_are_in_their_files_as_late_as_they_were() -> None:
    """As in February 2018: the archive shows the times that REST shows."""
    stretch = Window(parse_utc("2018-02-09T10:00"), parse_utc("2018-02-09T10:03"))
    sandbox = Sandbox(SandboxOptions(clock=CLOCK, history=History(off_grid=(Shifted(stretch, 14_789),))))
    rows = lines(ask(sandbox, path("BTCUSDT-1m-2018-02-09")), "BTCUSDT-1m-2018-02-09")
    shown = [int(row.split(",")[0]) - stretch.start for row in rows[599:604]]
    assert shown == [-MINUTE, 14_789, MINUTE + 14_789, 2 * MINUTE + 14_789, 3 * MINUTE]


def test_memory_holds_the_files_used_last() -> None:
    """Bounded by bytes: the one not used for longest goes first; one larger than all room is made each time."""
    market = GeneratedMarket()
    names = []
    for hour in ("2024-01-15", "2024-01-16", "2024-01-17"):
        found = read_path(path(f"BTCUSDT-1m-{hour}"))
        assert found is not None
        names.append((found[0], None, found[0].published_ms(LATE)))
    files = ArchiveFiles(market, 0, 1)
    files._room = 200_000  # two of them
    for each in names[:2]:
        files.prepare(*each)
    assert files.kept(*names[0]) is not None
    files.prepare(*names[2])
    assert [files.kept(*each) is not None for each in names] == [True, False, True]
    files.forget()
    assert [files.kept(*each) for each in names] == [None] * 3
    files._room = 10
    assert files.make(*names[0]) is not None
    assert files.kept(*names[0]) is None
    assert files._bytes == 0


def test_what_was_made_of_a_market_that_changed_meanwhile_is_not_kept() -> None:
    """Files are made in a thread; the next request makes it once more."""

    class Changing(GeneratedMarket):
        def closed(self, symbol: str, timeframe: Timeframe, window: Window, now_ms: int) -> Rows:
            files.forget()
            return super().closed(symbol, timeframe, window, now_ms)

    files = ArchiveFiles(Changing(), 0, 1)
    found = read_path(path("BTCUSDT-1h-2024-01-15"))
    assert found is not None
    assert files.make(found[0], None, found[0].published_ms(LATE)) is not None
    assert files.kept(found[0], None, found[0].published_ms(LATE)) is None
