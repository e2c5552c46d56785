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

from fetcher.clients.statuses import advise, by_status, limited, refused_key, say, troubled
from fetcher.errors import BadPayload, CannotServe, UnknownSymbol

if TYPE_CHECKING:
    from fetcher.clients.http import HttpRecord
    from fetcher.errors import SourceError

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
    document = _read(record.body)
    if record.status == HTTPStatus.OK and not isinstance(document, dict | list):
        return BadPayload(advise(say(source, record, ""), _NO_ANSWER))
    complaint = _complaint(document)
    if record.status == HTTPStatus.OK and not complaint and hint is None:
        return None
    said = say(source, record, complaint)
    known = by_status(record, now_ms, said)
    return known or _by_body(record, now_ms, said, complaint, hint if isinstance(document, dict) else None)


def _by_body(record: HttpRecord, now_ms: int, said: str, complaint: str, hint: Hint | None) -> SourceError:
    kind = next((name for name, words in _SORTED.items() if words.search(complaint)), hint)
    match kind:
        case "limit":
            return limited(record, now_ms, said)
        case "symbol":
            return UnknownSymbol(said)
        case "key":
            return refused_key(said)
        case "busy":
            return troubled(record, now_ms, said)
    if record.status == HTTPStatus.OK and not complaint:
        return BadPayload(advise(said, _NO_ANSWER))
    return CannotServe(said)


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
