"""What a status and an error body of Binance mean for the caller.

Decided by status and code, since messages vary (binance-spot-api-docs errors.md: codes are stable).
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from fetcher.errors import AuthenticationFailed, BadPayload, CannotServe, RateLimited, RetryableError, UnknownSymbol
from fetcher.model import DAY, HOUR, MINUTE, SECOND
from fetcher.wire import excerpt

if TYPE_CHECKING:
    from fetcher.clients.http import HttpRecord
    from fetcher.errors import SourceError

TEAPOT = 418  # Binance: banned for going on after 429
LONGEST_REST = 3 * DAY  # the longest ban there is: a longer Retry-After is a mistake or mischief
MESSAGE_CHARACTERS = 200

_TOO_MANY = -1003
_BAD_INTERVAL = -1120
_ILLEGAL_CHARACTERS = -1100
_UNKNOWN_SYMBOL = frozenset({-1121, -1122})
_SERVER_SIDE = frozenset({-1000, -1001, -1006, -1007, -1008, -1016, -1034})
_KEY_REFUSED = frozenset({-1002, -1022, -2014, -2015})
_BANNED_UNTIL = re.compile(r"banned until (\d{13})\b")


class _ErrorBody(msgspec.Struct):
    code: int = 0
    msg: str = ""


def classify(record: HttpRecord, now_ms: int, source: str = "binance") -> SourceError | None:
    """Sort an answer: None for a 200, else the error that says what to do next.

    `now_ms` is our clock, and rests end by it: what the server says in its own time is turned into a span by its Date
    header, so that a clock of ours that is wrong lengthens or shortens nothing.
    """
    status = record.status
    if status == HTTPStatus.OK:
        return None
    error = _read_error(record.body)
    said = _said(source, status, error, record.body)
    if status in {HTTPStatus.TOO_MANY_REQUESTS, TEAPOT} or error.code == _TOO_MANY:
        return RateLimited(said, now_ms + _rest(record, _server_now(record, now_ms), error.msg))
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED} or error.code in _KEY_REFUSED:
        return AuthenticationFailed(_advised(said, "check the key, or the proxy's password, in the configuration"))
    if status in {HTTPStatus.FORBIDDEN, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS}:
        return _shut_out(record, now_ms, said)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT or error.code in _SERVER_SIDE:
        failure = RetryableError(said)
        rest = retry_after_ms(record, _server_now(record, now_ms))
        failure.retry_after = None if rest is None else rest / SECOND
        return failure
    return _refused(status, error, said)


def retry_after_ms(record: HttpRecord, now_ms: int) -> int | None:
    """How long the Retry-After header (seconds or a date) asks to wait: ms, at most LONGEST_REST; None without it."""
    text = record.headers.get("Retry-After", "").strip()
    try:
        wait = float(text) * SECOND if text[:1].isdigit() else parsedate_to_datetime(text).timestamp() * SECOND - now_ms
    except (ValueError, OverflowError):
        return None
    return int(min(max(wait, 0), LONGEST_REST))


def _rest(record: HttpRecord, server_ms: int, message: str) -> int:
    """How long a 429 or 418 asks everybody to wait, in ms: by header, message, or what they last at least."""
    asked = retry_after_ms(record, server_ms)
    banned = _BANNED_UNTIL.search(message)
    if banned:
        asked = max(asked or 0, int(banned[1]) - server_ms)
    if asked is None:
        asked = 2 * MINUTE if record.status == TEAPOT else MINUTE
    return min(max(asked, SECOND), LONGEST_REST)  # "at once" would be asked in a circle


def _shut_out(record: HttpRecord, now_ms: int, said: str) -> RateLimited:
    if record.status == HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS:
        advice = "this address is in a restricted location; set base_urls to https://data-api.binance.vision"
        return RateLimited(_advised(said, advice), now_ms + HOUR, whole_pool=False)
    rest = retry_after_ms(record, _server_now(record, now_ms))
    advice = "its firewall (WAF) turns this address away; ask less often or set another of base_urls"
    return RateLimited(
        _advised(said, advice), now_ms + (10 * MINUTE if rest is None else max(rest, SECOND)), whole_pool=False
    )


def _refused(status: int, error: _ErrorBody, said: str) -> SourceError:
    if status < HTTPStatus.BAD_REQUEST:
        return BadPayload(_advised(said, "which answers no question; check base_urls in the configuration"))
    if error.code in _UNKNOWN_SYMBOL or (error.code == _ILLEGAL_CHARACTERS and "symbol" in error.msg.lower()):
        return UnknownSymbol(said)
    if error.code == _BAD_INTERVAL:
        return CannotServe(_advised(said, "it has no candles of this timeframe"))
    return CannotServe(said)


def _server_now(record: HttpRecord, now_ms: int) -> int:
    try:
        # Whole seconds: the earliest moment it can mean, so that no rest ends early.
        return int(parsedate_to_datetime(record.headers.get("Date", "")).timestamp()) * SECOND
    except (ValueError, OverflowError):
        return now_ms


def _read_error(body: bytes) -> _ErrorBody:
    try:
        return msgspec.json.decode(body, type=_ErrorBody, strict=False)
    except (ValueError, RecursionError):
        return _ErrorBody()


def _said(source: str, status: int, error: _ErrorBody, body: bytes) -> str:
    code = f" ({error.code})" if error.code else ""
    text = error.msg or body
    return excerpt(
        f"{source} answered {status}{code}" + (f": {excerpt(text, 120)}" if text else ""), MESSAGE_CHARACTERS
    )


def _advised(said: str, advice: str) -> str:
    return f"{excerpt(said, MESSAGE_CHARACTERS - len(advice) - 2)}; {advice}"
