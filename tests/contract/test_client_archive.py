"""The archive's client asks for files by their names and sorts every answer; through real sockets."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from fetcher.clients.binance_archive import BinanceArchiveClient, checksum_in, file_name, file_path, modified_ms
from fetcher.clients.http import HttpRecord
from fetcher.clock import Clock, parse_utc
from fetcher.errors import (
    AuthenticationFailed,
    BadPayload,
    CannotServe,
    NotPublished,
    RateLimited,
    RetryableError,
    SourceError,
)
from fetcher.model import Timeframe
from fetcher.periods import DAILY, MONTHLY, Period
from tests.contract.wire import Reply, WireServer, unused_url

if TYPE_CHECKING:
    from collections.abc import Iterator

MONTH = Period(parse_utc("2024-01-01"), MONTHLY)
DAY = Period(parse_utc("2024-01-15"), DAILY)
ONE = Timeframe("1m")
NAME = "BTCUSDT-1m-2024-01.zip"
NO_SUCH_KEY = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"
HASH = "0123456789abcdef" * 4


@pytest.fixture
def wire() -> Iterator[WireServer]:
    """A server that answers as told."""
    with WireServer() as server:
        yield server


def ask(url: str) -> bytes:
    """Ask for a month's zip."""
    client = BinanceArchiveClient("binance", url, Clock(), (1.0, 1.0))
    try:
        return client.zip(client.endpoints[0], "BTCUSDT", ONE, MONTH).value
    finally:
        client.close()


def test_names_and_paths() -> None:
    """As the archive writes them; a month's candle is `1mo`, since file systems may not tell 1M from 1m."""
    assert file_name("BTCUSDT", ONE, MONTH) == NAME
    assert file_name("BTCUSDT", Timeframe("1M"), MONTH) == "BTCUSDT-1mo-2024-01.zip"
    assert file_path("BTCUSDT", ONE, DAY) == "/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-15.zip"
    assert file_path("BTCUSDT", Timeframe("1M"), MONTH) == (
        "/data/spot/monthly/klines/BTCUSDT/1mo/BTCUSDT-1mo-2024-01.zip"
    )


def test_a_zip_and_what_is_beside_it(wire: WireServer) -> None:
    """Two requests; the body as it came, the text that names its hash, and when it was published."""
    published = {"Last-Modified": "Mon, 05 Feb 2024 07:30:00 GMT"}
    wire.answer(Reply(body=b"PK\3\4 and more", headers=published), Reply(body=f"{HASH}  {NAME}\n".encode()))
    client = BinanceArchiveClient("binance", wire.url, Clock())
    [way_in] = client.endpoints
    answer = client.zip(way_in, "BTCUSDT", ONE, MONTH)
    assert answer.value == b"PK\3\4 and more"
    assert modified_ms(answer.record) == parse_utc("2024-02-05T07:30:00Z")
    assert checksum_in(client.checksum(way_in, "BTCUSDT", ONE, MONTH).value, NAME) == HASH
    assert wire.seen == [file_path("BTCUSDT", ONE, MONTH), f"{file_path('BTCUSDT', ONE, MONTH)}.CHECKSUM"]
    client.close()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Mon, 05 Feb 2024 07:30:00 GMT", "2024-02-05T07:30:00Z"),
        ("Mon, 05 Feb 2024 07:30:00 -0000", "2024-02-05T07:30:00Z"),
        ("yesterday", None),
        (None, None),
    ],
)
def test_when_a_file_was_published(monkeypatch: pytest.MonkeyPatch, said: str | None, expected: str | None) -> None:
    """In UTC, wherever this machine is; None where that is not told."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    headers = {} if said is None else {"Last-Modified": said}
    record = HttpRecord("http://archive/file", 200, headers, b"", 0.0, 0.0)
    assert modified_ms(record) == (None if expected is None else parse_utc(expected))
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{HASH}  {NAME}\n", HASH), (f"{HASH} *{NAME}", HASH), (f"{HASH}  {NAME}", HASH),
        (f"{HASH}  BTCUSDT-1m-2024-02.zip\n", None), (HASH[:-1] + f"  {NAME}", None), ("", None), ("<html>", None),
    ],
)  # fmt: skip
def test_a_checksum_is_of_one_file(text: str, found: str | None) -> None:
    """As sha256sum writes it; one of another file is none."""
    assert checksum_in(text, NAME) == found


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(404, NO_SUCH_KEY), NotPublished),
        (Reply(404), NotPublished),
        (Reply(403, NO_SUCH_KEY.replace(b"NoSuchKey", b"AccessDenied")), NotPublished),
        (Reply(403, b"<html>firewall</html>"), RateLimited),
        (Reply(401), AuthenticationFailed),
        (Reply(400), CannotServe),
        (Reply(418, headers={"Retry-After": "5"}), RateLimited),
        (Reply(429, headers={"Retry-After": "5"}), RateLimited),
        (Reply(451), RateLimited),
        (Reply(500), RetryableError),
        (Reply(503), RetryableError),
        (Reply(302, headers={"Location": "https://elsewhere.example"}), BadPayload),
        (Reply(200, b"<html>hello</html>"), BadPayload),
        (Reply(200, b""), BadPayload),
        (Reply(fault="reset"), RetryableError),
        (Reply(fault="truncated"), RetryableError),
        (Reply(fault="hang"), RetryableError),
    ],
)
def test_every_failure_is_sorted(wire: WireServer, reply: Reply, expected: type[SourceError]) -> None:
    """By what the caller does next; only a file that is not there is not published."""
    wire.answer(reply)
    with pytest.raises(SourceError) as caught:
        ask(wire.url)
    assert type(caught.value) is expected


def test_nobody_there() -> None:
    """Refused connections and names without an address."""
    for url in (unused_url(), "http://no-such-host.invalid"):
        with pytest.raises(RetryableError):
            ask(url)


def test_a_listener_that_says_nothing() -> None:
    """A connection that is taken up and never answered ends by the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(RetryableError, match="timed out"):
        ask(f"http://127.0.0.1:{silent.getsockname()[1]}")
