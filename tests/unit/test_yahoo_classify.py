"""What Yahoo's answers mean: errors under two names, some of them with 200, and an empty answer with 400."""

from __future__ import annotations

import json

import pytest
from requests.structures import CaseInsensitiveDict

from fetcher.clients.http import HttpRecord
from fetcher.clients.yahoo_errors import classify, wants_crumb
from fetcher.errors import (
    AuthenticationFailed,
    BadPayload,
    CannotServe,
    RateLimited,
    RetryableError,
    SourceError,
    UnknownSymbol,
)

OURS = 1_800_000_000_000
TOO_FAR = "5m data not available for startTime=1 and endTime=2. The requested range must be within the last 60 days."


def answer(status: int, body: object = b"", **headers: str) -> HttpRecord:
    """An answer as our session records it; keyword `Retry_After` is the header Retry-After."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()})
    return HttpRecord("https://query2.finance.yahoo.com/v8/finance/chart/BTC-USD", status, named, raw, 0.0, 0.1)


def error(code: object, description: object, part: str = "chart") -> dict[str, object]:
    """The body of a refusal."""
    return {part: {"result": None, "error": {"code": code, "description": description}}}


def sort(record: HttpRecord) -> SourceError:
    """The error that the answer is sorted into: one short printable line that names source and status."""
    found = classify(record, OURS)
    assert found is not None
    assert str(found).startswith(f"yahoo answered {record.status}")
    assert str(found).isprintable()
    assert len(str(found)) <= 200
    return found


@pytest.mark.parametrize(
    "record",
    [
        answer(200, {"chart": {"result": [], "error": None}}),
        answer(200, b"<html>Will be right back</html>"),
        answer(200),
        answer(400, error("Bad Request", "Data doesn't exist for startDate = 1, endDate = 2")),
    ],
    ids=["chart", "html", "empty", "no such days"],
)
def test_what_is_no_refusal_is_left_to_the_reader(record: HttpRecord) -> None:
    """A span before the listing is answered with 400, and is an answer."""
    assert classify(record, OURS) is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, error("Not Found", "No data found, symbol may be delisted"), UnknownSymbol),
        (200, error("Not Found", "No data found, symbol may be delisted"), UnknownSymbol),
        (404, b"<html>", CannotServe),
        (422, error("Unprocessable Entity", TOO_FAR), CannotServe),
        (400, error("Bad Request", "Invalid input - interval=7m is not supported"), CannotServe),
        (400, b"", CannotServe),
        (401, error("Unauthorized", "Invalid Crumb", "finance"), RetryableError),
        (401, error("Unauthorized", "Invalid Cookie", "finance"), RetryableError),
        (401, b"", AuthenticationFailed),
        (407, b"", AuthenticationFailed),
        (403, b"<html>", RateLimited),
        (429, b"Edge: Too Many Requests", RateLimited),
        (200, error("Too Many Requests", "slow down", "finance"), RateLimited),
        (451, b"", RateLimited),
        *((status, b"<html>", RetryableError) for status in (408, 500, 502, 503, 504)),
        (500, error("Internal Server Error", "x"), RetryableError),
        *((status, b"", BadPayload) for status in (204, 302)),
        (400, error(5, ["\x1b[2J" * 100]), CannotServe),
        (400, b"[" * 100_000, CannotServe),
        (200, {"chart": {"error": "odd"}}, CannotServe),
    ],
)
def test_each_answer_is_sorted_by_what_to_do_next(status: int, body: object, kind: type[SourceError]) -> None:
    """An unknown symbol, a span too far back and trouble are told apart, which yfinance calls delisted alike."""
    assert type(sort(answer(status, body))) is kind


@pytest.mark.parametrize(("headers", "seconds"), [({"Retry_After": "7"}, 7), ({}, 60)])
def test_a_rest_is_a_minute_unless_it_is_named(headers: dict[str, str], seconds: int) -> None:
    """Yahoo rarely says how long."""
    found = sort(answer(429, b"", **headers))
    assert isinstance(found, RateLimited)
    assert found.until_ms == OURS + seconds * 1000


def test_only_a_crumb_is_worth_asking_again_for() -> None:
    """Any other 401 comes from something between us and Yahoo."""
    assert wants_crumb(answer(401, error("Unauthorized", "Invalid Crumb", "finance")))
    assert not wants_crumb(answer(401, b"<html>crumb</html>"))
    assert not wants_crumb(answer(404, error("Unauthorized", "Invalid Crumb", "finance")))
