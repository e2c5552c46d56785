"""The sandbox's archive on a real socket: fetched and checked as a client does, beside REST, with torn files."""

from __future__ import annotations

import hashlib
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import requests

from fetcher.clock import Clock, parse_utc
from fetcher.sandbox.control import SandboxControl, spawn_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOCK = "2026-04-30T04:07:30Z"
MONTHS = "/data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-{:02}.zip"
DAY = "/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-15.zip"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxControl]:
    """One sandbox whose clock stands still; nobody may weigh anything in it."""
    late = ("--archive-late", "monthly=1d", "--archive-fault", "header=once:BTCUSDT-1m-2024-12.zip")
    with spawn_sandbox("--clock", CLOCK, "--weight-limit", "60", *late) as running:
        yield running


def get(sandbox: SandboxControl, path: str) -> requests.Response:
    """One GET on a connection of its own."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(sandbox.url + path, timeout=20)


def rows(zipped: requests.Response) -> list[list[str]]:
    """The rows of the CSV in a zip."""
    with zipfile.ZipFile(io.BytesIO(zipped.content)) as packed:
        return [line.split(",") for line in packed.read(packed.namelist()[0]).decode().splitlines()]


def test_a_year_of_minutes_comes_as_whole_files_beside_rest(sandbox: SandboxControl) -> None:
    """Each with its CHECKSUM, several at a time; candles over REST are not held up, and are the same."""
    with ThreadPoolExecutor(4) as pool:
        fetched = pool.map(lambda path: get(sandbox, path), [MONTHS.format(month) for month in range(1, 7)])
        clock, slowest = Clock(), 0.0
        for _ in range(20):
            began = clock.elapsed()
            page = get(sandbox, f"/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={parse_utc('2024-03-01')}").json()
            slowest = max(slowest, clock.elapsed() - began)
        zipped = list(fetched)
    assert slowest < 0.5
    assert [len(rows(each)) // 1440 for each in zipped] == [31, 29, 31, 30, 31, 30]
    assert rows(zipped[2])[:500] == [[str(cell) for cell in row] for row in page]
    for month, each in enumerate(zipped, 1):
        assert each.headers["Content-Type"] == "application/zip"
        assert each.headers["Date"] == "Thu, 30 Apr 2026 04:07:30 GMT"
        told = get(sandbox, MONTHS.format(month) + ".CHECKSUM").text
        assert told == f"{hashlib.sha256(each.content).hexdigest()}  BTCUSDT-1m-2024-{month:02}.zip\n"
    assert zipped[0].headers["Last-Modified"] == "Tue, 06 Feb 2024 07:30:00 GMT"
    assert {entry["weight_used"] for entry in sandbox.log(venue="archive")} == {0}


def test_faults_restatements_and_being_down_by_remote_control(sandbox: SandboxControl) -> None:
    """Each shows in the very next answer; a fault told at the start as well."""
    headed = get(sandbox, MONTHS.format(12))
    assert rows(headed)[0][0] == "open_time"
    assert len(rows(get(sandbox, MONTHS.format(12)))) == 31 * 1440
    good = get(sandbox, DAY)
    sandbox.configure(archive={"faults": {"truncated": ["once:*-2024-01-15.zip"], "missing": ["*-2024-01-16.zip"]}})
    assert len(rows(get(sandbox, DAY))) < 1440
    assert get(sandbox, DAY).content == good.content
    missing = get(sandbox, DAY.replace("15", "16"))
    assert (missing.status_code, missing.headers["Content-Type"]) == (404, "application/xml")
    sandbox.script("truncate", venue="archive")
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        get(sandbox, DAY)
    sandbox.restate("BTCUSDT", "1m", parse_utc("2024-01-15T12:00"), "12345.5")
    restated = get(sandbox, DAY)
    assert rows(restated)[720][4] == "12345.50000000"
    assert restated.headers["ETag"] != good.headers["ETag"]
    sandbox.configure(archive={"down": ["always"]})
    with pytest.raises(requests.ConnectionError):
        get(sandbox, DAY)
    assert get(sandbox, "/api/v3/ping").ok
    sandbox.configure(archive={"faults": {}, "down": []})
    assert get(sandbox, DAY).content == restated.content
    faults = [entry["fault"] for entry in sandbox.log(DAY)]
    assert faults == [None, "truncated", None, "truncate", None, "down", None]
