"""What CoinGecko's answers mean: three shapes of error, some of them with 200, and plain text."""

from __future__ import annotations

import json

import pytest
from requests.structures import CaseInsensitiveDict

from fetcher.clients.coingecko_errors import classify
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

OURS = 1_800_000_000_000
LIMIT = "You've exceeded the Rate Limit. Please visit https://www.coingecko.com/en/api/pricing to subscribe"


def answer(status: int, body: object = b"", **headers: str) -> HttpRecord:
    """An answer as our session records it; keyword `Retry_After` is the header Retry-After."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()})
    return HttpRecord("https://api.coingecko.com/api/v3/coins/bitcoin/ohlc", status, named, raw, 0.0, 0.1)


def flat(code: int, message: str = "") -> dict[str, object]:
    """The shape with `status`."""
    return {"status": {"error_code": code, "error_message": message}}


def deep(code: int, message: str = "") -> dict[str, object]:
    """The shape with `status` inside `error`."""
    return {"error": flat(code, message)}


def sort(record: HttpRecord) -> SourceError:
    """The error that the answer is sorted into: one short printable line that names source and status."""
    found = classify(record, OURS)
    assert found is not None
    assert str(found).startswith(f"coingecko answered {record.status}")
    assert str(found).isprintable()
    assert len(str(found)) <= 200
    return found


@pytest.mark.parametrize("body", [b"[]", b"[[1,2,3,4,5]]", b"<html>", b"", b'{"ok":true}', b"{" * 9])
def test_a_200_without_an_error_is_left_to_the_reader(body: bytes) -> None:
    """Whether it is a page of candles is the parser's affair."""
    assert classify(answer(200, body), OURS) is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, {"error": "coin not found"}, UnknownSymbol),
        (200, {"error": "coin not found"}, UnknownSymbol),
        (404, {"error": "Could not find coin with the given id"}, UnknownSymbol),
        (404, flat(404, "coin not found"), UnknownSymbol),
        (404, b"<html>nginx</html>", CannotServe),
        (404, {"error": "Not Found"}, CannotServe),
        (429, flat(429, LIMIT), RateLimited),
        (200, flat(429, LIMIT), RateLimited),
        (200, {"error": LIMIT}, RateLimited),
        (200, b"Throttled", RateLimited),
        (429, b"Throttled\n", RateLimited),
        (403, b"<html>error code: 1020</html>", RateLimited),
        (403, flat(1020, "Access Denied"), RateLimited),
        (403, b"", RateLimited),
        (451, b"", RateLimited),
        (418, b"", RateLimited),
        (401, deep(10012, "Your request exceeds the allowed time range."), CannotServe),
        (400, flat(10012), CannotServe),
        *((status, flat(code), AuthenticationFailed) for code in (10002, 10005, 10010, 10011) for status in (400, 401)),
        (401, {"error_code": 10005, "error_message": "not on your plan"}, AuthenticationFailed),
        (401, b"", AuthenticationFailed),
        (407, b"", AuthenticationFailed),
        (400, {"error": "invalid vs_currency"}, CannotServe),
        (422, {"error": "invalid days"}, CannotServe),
        (200, {"error": "something new"}, CannotServe),
        *((status, b"<html>", RetryableError) for status in (408, 500, 502, 503, 504, 520)),
        (200, flat(503, "busy"), RetryableError),
        (400, deep(500), RetryableError),
        *((status, b"", BadPayload) for status in (201, 204, 301, 302)),
        (500, b"{" * 100_000, RetryableError),
        (400, {"error": {"status": 5}}, CannotServe),
        (400, {"error": "\x1b[2J\r\n" + "x" * 10_000}, CannotServe),
    ],
)
def test_each_answer_is_sorted_by_what_to_do_next(status: int, body: object, kind: type[SourceError]) -> None:
    """The code in the body decides before the status, since either may be the wrong one."""
    assert type(sort(answer(status, body))) is kind


@pytest.mark.parametrize(
    ("record", "seconds", "whole_pool"),
    [
        (answer(429, flat(429), Retry_After="119"), 119, True),
        (answer(429, b"Throttled"), 60, True),
        (answer(200, flat(429), Retry_After="7"), 7, True),
        (answer(403, b"error code: 1020"), 600, False),
        (answer(451), 3600, False),
    ],
)
def test_a_rest_ends_when_it_says(record: HttpRecord, seconds: int, whole_pool: bool) -> None:
    """A limit rests all behind our address, a closed door one host."""
    found = sort(record)
    assert isinstance(found, RateLimited)
    assert (found.until_ms - OURS, found.whole_pool) == (seconds * 1000, whole_pool)


@pytest.mark.parametrize(
    ("record", "advice"),
    [
        (answer(401, flat(10002, "x" * 300)), "set api_key_env and plan"),
        (answer(400, flat(10010, "x" * 300)), "a pro key needs plan: pro"),
        (answer(404, {"error": "coin not found"}), "set the coin's id under symbols:"),
        (answer(404, b"<html>" * 50), "check base_url"),
    ],
)
def test_what_the_user_can_change_is_said(record: HttpRecord, advice: str) -> None:
    """However much the server wrote, the advice is not cut off."""
    assert advice in str(sort(record))
