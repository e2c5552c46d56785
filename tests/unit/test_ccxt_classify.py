"""What each status and body of an exchange means for the caller, whatever ccxt makes of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from requests.structures import CaseInsensitiveDict

from fetcher.clients.ccxt_errors import classify
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

if TYPE_CHECKING:
    from fetcher.clients.ccxt_errors import Hint

OURS = 1_700_000_000_000
MINUTE, HOUR = 60_000, 3_600_000
DATE = "Fri, 20 Nov 2026 10:00:00 GMT"


def answer(status: int, body: object = b"", **headers: str) -> HttpRecord:
    """An answer as our session records it; keyword `Retry_After` is the header Retry-After."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()})
    return HttpRecord("https://www.okx.com/api/v5/market/candles", status, named, raw, 0.0, 0.1)


def sort(record: HttpRecord, hint: Hint | None = None) -> SourceError:
    """The error that the answer is sorted into: one short printable line."""
    found = classify(record, OURS, "okx", hint)
    assert found is not None
    assert str(found).isprintable()
    assert len(str(found)) <= 200
    return found


@pytest.mark.parametrize(
    "body", [[], {"code": "0", "msg": "", "data": []}, {"error": [], "result": {}}, {"retCode": 0, "retMsg": "OK"}]
)
def test_an_answer_without_complaint_is_worth_reading(body: object) -> None:
    """Error lists that are empty and codes that say "fine" are no errors."""
    assert classify(answer(200, body), OURS, "okx") is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"7", b"\xff", b"[[["])
@pytest.mark.parametrize("hint", [None, "busy"])
def test_a_200_that_is_no_json_object_or_list_is_a_bad_payload(body: bytes, hint: Hint | None) -> None:
    """Whatever the library believes that it saw."""
    assert type(sort(answer(200, body), hint)) is BadPayload


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, BadPayload), (400, CannotServe), (401, AuthenticationFailed), (403, RateLimited), (404, CannotServe),
        (407, AuthenticationFailed), (408, RetryableError), (418, RateLimited), (429, RateLimited), (451, RateLimited),
        (500, RetryableError), (503, RetryableError), (520, RetryableError),
    ],
)  # fmt: skip
@pytest.mark.parametrize("hint", [None, "symbol", "limit", "key", "busy", "refused"])
def test_html_is_sorted_by_its_status_alone(status: int, kind: type[SourceError], hint: Hint | None) -> None:
    """The library's exception counts for nothing without a JSON object: it calls a geo-block a network error."""
    assert type(sort(answer(status, b"<html>Sorry</html>"), hint)) is kind


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        ("symbol", UnknownSymbol), ("limit", RateLimited), ("key", AuthenticationFailed), ("busy", RetryableError),
        ("refused", CannotServe), (None, CannotServe),
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 400, 404])
def test_a_code_of_ones_own_is_sorted_by_the_library(status: int, hint: Hint | None, kind: type[SourceError]) -> None:
    """Where status and words say no more, ccxt's knowledge of the exchange decides."""
    assert type(sort(answer(status, {"code": 4711, "msg": "computer says no"}), hint)) is kind


def test_words_win_over_the_library() -> None:
    """What the exchange itself says is never overruled by a guess at it."""
    assert isinstance(sort(answer(200, {"error": ["EQuery:Unknown asset pair"]}), "busy"), UnknownSymbol)


def test_an_error_without_words_is_a_bad_payload() -> None:
    """The library says that it is an error, the body says nothing."""
    assert type(sort(answer(200, {"ok": True}), "refused")) is BadPayload


@pytest.mark.parametrize(
    ("status", "headers", "rest", "whole_pool"),
    [
        (429, {}, MINUTE, True),
        (429, {"Retry_After": "7"}, 7_000, True),
        (429, {"Retry_After": "Fri, 20 Nov 2026 10:00:30 GMT", "Date": DATE}, 30_000, True),
        (429, {"Retry_After": "7", "Date": "Fri, 20 Nov 99999 10:00:00 GMT"}, 7_000, True),
        (418, {}, 2 * MINUTE, True),
        (451, {}, HOUR, False),
        (403, {}, 10 * MINUTE, False),
        (403, {"Retry_After": "5"}, 5_000, False),
    ],
)
def test_rests_end_by_our_clock(status: int, headers: dict[str, str], rest: int, whole_pool: bool) -> None:
    """As long as was asked for, else as such a refusal lasts; who is shut out of one host may try another."""
    error = sort(answer(status, b"", **headers))
    assert isinstance(error, RateLimited)
    assert (error.until_ms - OURS, error.whole_pool) == (rest, whole_pool)


def test_a_rate_limit_told_with_200_rests_too() -> None:
    """Kraken's status is always 200."""
    error = sort(answer(200, {"error": ["EAPI:Rate limit exceeded"]}))
    assert isinstance(error, RateLimited)
    assert error.until_ms == OURS + MINUTE


def test_a_pause_asked_for_is_kept() -> None:
    """Retry-After of a 503 is for the router."""
    error = sort(answer(503, b"", Retry_After="12"))
    assert isinstance(error, RetryableError)
    assert error.retry_after == 12.0


def test_a_strangers_text_is_tamed() -> None:
    """Whatever the body holds, one printable line of at most 200 characters comes out."""
    assert "\\x1b" in str(sort(answer(400, {"message": "\x1b[2J" + "x" * 900})))
