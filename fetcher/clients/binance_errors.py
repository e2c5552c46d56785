"""What a status and an error body of Binance mean for the caller.

Decided by status and code, since messages vary (binance-spot-api-docs errors.md: codes are stable).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from fetcher.clients.statuses import TEAPOT, Advice, advise, by_status, limited, refused_key, say, troubled
from fetcher.errors import CannotServe, UnknownSymbol

if TYPE_CHECKING:
    from fetcher.clients.http import HttpRecord
    from fetcher.errors import SourceError

_TOO_MANY = -1003
_BAD_INTERVAL = -1120
_ILLEGAL_CHARACTERS = -1100
_UNKNOWN_SYMBOL = frozenset({-1121, -1122})
_SERVER_SIDE = frozenset({-1000, -1001, -1006, -1007, -1008, -1016, -1034})
_KEY_REFUSED = frozenset({-1002, -1022, -2014, -2015})
_BANNED_UNTIL = re.compile(r"banned until (\d{13})\b")
_ADVICE = Advice(
    "base_urls", "set base_urls to https://data-api.binance.vision", "ask less often or set another of base_urls"
)


class _ErrorBody(msgspec.Struct):
    code: int = 0
    msg: str = ""


def classify(record: HttpRecord, now_ms: int, source: str = "binance") -> SourceError | None:
    """Sort an answer: None for a 200, else the error that says what to do next.

    `now_ms` is our clock, and rests end by it: what the server says in its own time is turned into a span by its Date
    header, so that a clock of ours that is wrong lengthens or shortens nothing.
    """
    if record.status == HTTPStatus.OK:
        return None
    error = _read_error(record.body)
    said = say(source, record, error.msg, error.code or "")
    if record.status in {HTTPStatus.TOO_MANY_REQUESTS, TEAPOT} or error.code == _TOO_MANY:
        banned = _BANNED_UNTIL.search(error.msg)
        return limited(record, now_ms, said, until_ms=int(banned[1]) if banned else 0)
    if error.code in _KEY_REFUSED:
        return refused_key(said)
    known = by_status(record, now_ms, said, _ADVICE)
    if known is None and error.code in _SERVER_SIDE:
        return troubled(record, now_ms, said)
    return known or _refused(error, said)


def _refused(error: _ErrorBody, said: str) -> SourceError:
    if error.code in _UNKNOWN_SYMBOL or (error.code == _ILLEGAL_CHARACTERS and "symbol" in error.msg.lower()):
        return UnknownSymbol(
            advise(said, "it does not list this market; if it has another name there, set it in symbols")
        )
    if error.code == _BAD_INTERVAL:
        return CannotServe(advise(said, "it has no candles of this timeframe"))
    return CannotServe(said)


def _read_error(body: bytes) -> _ErrorBody:
    try:
        return msgspec.json.decode(body, type=_ErrorBody, strict=False)
    except (ValueError, RecursionError):
        return _ErrorBody()
