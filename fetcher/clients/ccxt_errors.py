"""What an exchange's answer means for the caller, by status and body, for any exchange that ccxt speaks to.

Sources: docs.kraken.com/api/docs/guides/global-errors, okx.com/docs-v5 (error codes), docs.cdp.coinbase.com/exchange
(rest-api errors), as ccxt 4.5.90 reads them. What the library made of it counts only as a hint, where the status is 200
or 4xx and the body is a JSON object: every exchange has codes of its own, and elsewhere the library misleads (to it, a
geo-block is a "network error" and an HTML page with 200 an empty list).
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

from fetcher.clients.binance_errors import retry_after_ms
from fetcher.clock import ServerClock
from fetcher.errors import AuthenticationFailed, BadPayload, CannotServe, RateLimited, RetryableError, UnknownSymbol
from fetcher.model import HOUR, MINUTE, SECOND
from fetcher.wire import excerpt

if TYPE_CHECKING:
    from fetcher.clients.http import HttpRecord
    from fetcher.errors import SourceError

MESSAGE_CHARACTERS = 200
_NO_ANSWER = "which is no answer of its interface"

Hint = Literal["symbol", "limit", "key", "busy", "refused"]
"""What the library takes an error body for: `refused` is anything else that it recognised as one."""

_SORTED: dict[Hint, re.Pattern[str]] = {
    "limit": re.compile(r"^500(?:11|40|61)\b|rate.?limit|too many (?:requests|visits)|too frequent", re.IGNORECASE),
    "symbol": re.compile(
        r"^51001\b|EQuery:(?:Unknown|Invalid) asset pair|parameter instid error|product not found"
        r"|^NotFound$|(?:invalid|unknown) (?:symbol|product|market|instrument|pair|currency.?pair)"
        r"|(?:symbol|instrument|market|pair|product)\b.{0,60}\b(?:not exist|doesn't exist|not found|is invalid)",
        re.IGNORECASE,
    ),
    "key": re.compile(
        r"^501\d\d\b|EAPI:Invalid (?:key|signature)|EGeneral:Permission denied|invalid api.?key", re.IGNORECASE
    ),
    "busy": re.compile(
        r"^500(?:01|04|13|26)\b|^EService|EGeneral:Internal|unavailable|maintenance|system (?:busy|error)"
        r"|internal (?:server )?error|try again later|timed? ?out",
        re.IGNORECASE,
    ),
}  # fmt: skip
_FINE = frozenset({"", "0", "00000", "200", "200000"})  # codes by which exchanges say that all is well


def classify(record: HttpRecord, now_ms: int, source: str, hint: Hint | None = None) -> SourceError | None:
    """Sort an answer: None for one worth reading, else the error that says what to do next.

    `now_ms` is our clock, by which rests end; Retry-After counts from the Date of the same answer.
    """
    status, document = record.status, _read(record.body)
    if status == HTTPStatus.OK and not isinstance(document, dict | list):
        return BadPayload(_said(source, record, "", _NO_ANSWER))
    complaint = _complaint(document)
    if status == HTTPStatus.OK and not complaint and hint is None:
        return None
    known = _by_status(record, now_ms, source, complaint)
    return known or _by_body(record, now_ms, source, complaint, hint if isinstance(document, dict) else None)


def _by_status(record: HttpRecord, now_ms: int, source: str, complaint: str) -> SourceError | None:
    match record.status:
        case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.IM_A_TEAPOT:
            return _rest(record, now_ms, source, complaint)
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return AuthenticationFailed(_said(source, record, complaint, "check the key, or the proxy's password"))
        case HTTPStatus.FORBIDDEN | HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS:
            return _shut_out(record, now_ms, source, complaint)
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
            return _failure(record, now_ms, source, complaint)
        case status if status != HTTPStatus.OK and status < HTTPStatus.BAD_REQUEST:
            return BadPayload(_said(source, record, complaint, "which answers no question; check base_url"))
        case _:
            return None


def _by_body(record: HttpRecord, now_ms: int, source: str, complaint: str, hint: Hint | None) -> SourceError:
    kind = next((name for name, words in _SORTED.items() if words.search(complaint)), hint)
    match kind:
        case "limit":
            return _rest(record, now_ms, source, complaint)
        case "symbol":
            return UnknownSymbol(_said(source, record, complaint))
        case "key":
            return AuthenticationFailed(_said(source, record, complaint, "check the key in the configuration"))
        case "busy":
            return _failure(record, now_ms, source, complaint)
    if record.status == HTTPStatus.OK and not complaint:
        return BadPayload(_said(source, record, "", _NO_ANSWER))
    return CannotServe(_said(source, record, complaint))


def _rest(record: HttpRecord, now_ms: int, source: str, complaint: str) -> RateLimited:
    asked = retry_after_ms(record, _server_now(record, now_ms))
    least = 2 * MINUTE if record.status == HTTPStatus.IM_A_TEAPOT else MINUTE
    return RateLimited(_said(source, record, complaint), now_ms + (least if asked is None else asked))


def _shut_out(record: HttpRecord, now_ms: int, source: str, complaint: str) -> RateLimited:
    if record.status == HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS:
        said = _said(source, record, complaint, "this address is in a restricted location; set base_url or proxy")
        return RateLimited(said, now_ms + HOUR, whole_pool=False)
    asked = retry_after_ms(record, _server_now(record, now_ms))
    said = _said(source, record, complaint, "its firewall turns this address away; ask less often or set proxy")
    return RateLimited(said, now_ms + (10 * MINUTE if asked is None else asked), whole_pool=False)


def _failure(record: HttpRecord, now_ms: int, source: str, complaint: str) -> RetryableError:
    failure = RetryableError(_said(source, record, complaint))
    asked = retry_after_ms(record, _server_now(record, now_ms))
    failure.retry_after = None if asked is None else asked / SECOND
    return failure


def _server_now(record: HttpRecord, now_ms: int) -> int:
    try:
        dated = ServerClock.dated_ms(record.headers.get("Date"))
    except OverflowError:  # a year that no calendar has
        dated = None
    return now_ms if dated is None else dated


def _read(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _complaint(document: object) -> str:
    """The error that a JSON object tells of, code first: `51001 Instrument ID doesn't exist`; empty where it has none.

    Understood are `{"error": …}` (kraken, bitstamp), `{"code": …, "msg": …}` (okx, binance), `{"message": …}`
    (coinbase) and `{"status": "error", "reason": …}` (bitstamp).
    """
    if not isinstance(document, dict):
        return ""
    error = document.get("error") or document.get("errors")
    if error and error is not True:
        return _flat(error)
    text = document.get("msg") or document.get("message") or document.get("reason")
    code = document.get("code")
    if not isinstance(text, str | list | dict):
        return ""
    if isinstance(code, str | int) and not isinstance(code, bool):
        return "" if str(code) in _FINE else f"{code} {_flat(text)}"
    return _flat(text) if set(document) <= {"message", "reason", "status", "msg"} else ""


def _flat(error: object) -> str:
    if isinstance(error, dict):
        return " ".join(_flat(value) for value in error.values())
    return " ".join(_flat(value) for value in error) if isinstance(error, list) else str(error)


def _said(source: str, record: HttpRecord, complaint: str, advice: str = "") -> str:
    text = complaint or record.body
    said = f"{source} answered {record.status}" + (f": {excerpt(text, 110)}" if text else " with nothing")
    return (
        f"{excerpt(said, MESSAGE_CHARACTERS - len(advice) - 2)}; {advice}"
        if advice
        else excerpt(said, MESSAGE_CHARACTERS)
    )
