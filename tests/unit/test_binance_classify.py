"""What each status and code of Binance means for the caller."""

from __future__ import annotations

import json

import pytest
from requests.structures import CaseInsensitiveDict

from fetcher.clients.binance_errors import classify
from fetcher.clients.http import HttpRecord
from fetcher.errors import (
    AuthenticationFailed,
    BadPayload,
    CannotServe,
    RateLimited,
    RetryableError,
    SourceError,
    UnknownSymbol,
)

OURS = 1_700_000_000_000
DATE = "Fri, 20 Nov 2026 10:00:00 GMT"
THEIRS = 1_795_168_800_000  # DATE in ms
DAY = 86_400_000
BANNED = (
    "Way too much request weight used; IP banned until {}. Please use WebSocket Streams for live updates to avoid bans."
)


def answer(status: int, body: object = b"", **headers: str) -> HttpRecord:
    """An answer as our session records it; keyword `Retry_After` is the header Retry-After."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()})
    return HttpRecord("https://api.binance.com/api/v3/klines", status, named, raw, 0.0, 0.1)


def error(code: int, message: str = "") -> dict[str, object]:
    """The exchange's error body."""
    return {"code": code, "msg": message}


def sort(record: HttpRecord) -> SourceError:
    """The error that the answer is sorted into."""
    found = classify(record, OURS)
    assert found is not None
    return found


def test_a_200_is_no_error() -> None:
    """Whatever its body: reading it is the parser's affair."""
    assert classify(answer(200, b"<html>"), OURS) is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error(-1121, "Invalid symbol."), UnknownSymbol),
        (400, error(-1122, "Invalid symbol status."), UnknownSymbol),
        (400, error(-1100, "Illegal characters found in parameter 'symbol'; legal range is …"), UnknownSymbol),
        (400, error(-1100, "Illegal characters found in parameter 'limit'"), CannotServe),
        (400, error(-1120, "Invalid interval."), CannotServe),
        *((400, error(code), CannotServe) for code in (-1101, -1102, -1103, -1105, -1111, -1127, -1130, -1013, -1015)),
        (404, b"", CannotServe),
        (409, error(-2021), CannotServe),
        (400, b"<html>", CannotServe),
        *((400, error(code), RetryableError) for code in (-1000, -1001, -1006, -1007, -1008, -1016, -1034)),
        *((status, b"<html>", RetryableError) for status in (408, 500, 502, 503, 504, 520)),
        (500, error(-1000, "An unknown error occurred while processing the request."), RetryableError),
        *((400, error(code), AuthenticationFailed) for code in (-1002, -1022, -2014, -2015)),
        (401, b"", AuthenticationFailed),
        (403, error(-2015, "Invalid API-key, IP, or permissions for action."), AuthenticationFailed),
        (407, b"", AuthenticationFailed),
        (429, error(-1003, "Too much request weight used"), RateLimited),
        (418, error(-1003, "Way too much request weight used"), RateLimited),
        (400, error(-1003, "Too many requests"), RateLimited),
        (403, b"<html><title>403 Forbidden</title></html>", RateLimited),
        (451, error(0, "Service unavailable from a restricted location"), RateLimited),
        *((status, b"", BadPayload) for status in (201, 204, 206, 301, 302, 304, 307)),
    ],
)
def test_each_answer_is_sorted_by_what_to_do_next(status: int, body: object, kind: type[SourceError]) -> None:
    """Status and code decide the very class, and the message is one short line that names source and status."""
    found = sort(answer(status, body))
    assert type(found) is kind
    assert str(found).startswith(f"binance answered {status}")
    assert str(found).isprintable()
    assert len(str(found)) <= 200


@pytest.mark.parametrize(
    ("record", "until"),
    [
        pytest.param(answer(429, Retry_After="7"), OURS + 7_000, id="429"),
        pytest.param(answer(429, Retry_After="7", Date=DATE), OURS + 7_000, id="429 whatever the server's clock"),
        pytest.param(answer(429, retry_after="7"), OURS + 7_000, id="429 header in lower case"),
        pytest.param(answer(429, Retry_After="0.5"), OURS + 1_000, id="429 fraction, at least a second"),
        pytest.param(answer(429, Retry_After="0"), OURS + 1_000, id="429 at once would be a circle"),
        pytest.param(answer(429), OURS + 60_000, id="429 without Retry-After"),
        pytest.param(answer(429, Retry_After="soon"), OURS + 60_000, id="429 nonsense"),
        pytest.param(answer(429, Retry_After="-5"), OURS + 60_000, id="429 negative"),
        pytest.param(answer(429, Retry_After="9" * 400), OURS + 3 * DAY, id="429 absurd"),
        pytest.param(answer(429, Retry_After="Fri, 20 Nov 2026 10:00:30 GMT", Date=DATE), OURS + 30_000, id="429 date"),
        pytest.param(answer(418, Retry_After="120"), OURS + 120_000, id="418"),
        pytest.param(answer(418), OURS + 120_000, id="418 without anything"),
        pytest.param(answer(418, error(-1003, BANNED.format(OURS + 600_000))), OURS + 600_000, id="418 named"),
        pytest.param(
            answer(418, error(-1003, BANNED.format(THEIRS + 600_000)), Date=DATE), OURS + 600_000, id="418 their time"
        ),
        pytest.param(
            answer(418, error(-1003, BANNED.format(OURS + 600_000)), Retry_After="120"),
            OURS + 600_000,
            id="418 later named",
        ),
        pytest.param(
            answer(418, error(-1003, BANNED.format(OURS + 60_000)), Retry_After="120"),
            OURS + 120_000,
            id="418 later counted",
        ),
        pytest.param(answer(418, error(-1003, BANNED.format(OURS * 5))), OURS + 3 * DAY, id="418 absurd"),
        pytest.param(answer(403, b"<html>"), OURS + 600_000, id="403"),
        pytest.param(answer(403, b"<html>", Retry_After="30"), OURS + 30_000, id="403 counted"),
        pytest.param(answer(451, error(0, "restricted")), OURS + 3_600_000, id="451"),
    ],
)
def test_a_rest_ends_when_the_exchange_says(record: HttpRecord, until: int) -> None:
    """What the server says in its own time is a span by its Date; nothing beyond the longest ban is believed."""
    found = sort(record)
    assert isinstance(found, RateLimited)
    assert found.until_ms == until


@pytest.mark.parametrize(("status", "whole_pool"), [(429, True), (418, True), (403, False), (451, False)])
def test_a_limit_rests_the_address_and_a_refusal_the_host_alone(status: int, whole_pool: bool) -> None:
    """Weight is counted per address of ours; a firewall or a country bars one host."""
    found = sort(answer(status))
    assert isinstance(found, RateLimited)
    assert found.whole_pool is whole_pool


@pytest.mark.parametrize(("headers", "seconds"), [({"Retry_After": "12"}, 12.0), ({}, None)])
def test_a_server_error_may_name_its_pause(headers: dict[str, str], seconds: float | None) -> None:
    """Retry-After of a 503 reaches the retry."""
    found = sort(answer(503, b"", **headers))
    assert isinstance(found, RetryableError)
    assert found.retry_after == seconds


@pytest.mark.parametrize(
    ("record", "advice"),
    [
        (answer(451, error(0, "x" * 500)), "set base_urls to https://data-api.binance.vision"),
        (answer(403, b"<html>" * 100), "firewall"),
        (answer(302, b"<a>" * 100, Location="https://elsewhere.example"), "check base_urls"),
        (answer(401, b"?" * 300), "check the key"),
        (answer(400, error(-1120, "x" * 300)), "no candles of this timeframe"),
        (answer(400, error(-1121, "Invalid symbol.")), "it does not list this market; if it has another name there"),
    ],
)
def test_what_the_user_can_change_is_said(record: HttpRecord, advice: str) -> None:
    """However much the server wrote, the advice is not cut off."""
    assert advice in str(sort(record))


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 100_000,
        b"[]",
        b"null",
        b'{"code":"word","msg":5}',
        b"\xff\xfe\x1b[2J",
        error(-1102, "\x1b[2J\r\nbinance answered 200\u202e" + "x" * 10_000),
    ],
    ids=["deep", "list", "null", "types", "bytes", "hostile"],
)
def test_no_error_body_breaks_or_steers_us(body: object) -> None:
    """Garbage in an error's body is an error still, in one short printable line."""
    found = sort(answer(400, body))
    assert type(found) is CannotServe
    assert str(found).isprintable()
    assert len(str(found)) <= 200


def test_another_name_of_the_source_is_used() -> None:
    """A second venue of the same make is named as configured."""
    assert str(classify(answer(500), OURS, "binanceus")) == "binanceus answered 500"
