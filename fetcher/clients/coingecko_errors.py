"""What CoinGecko's answers mean for the caller, by the code in the body first: it stands in three shapes of JSON.

Facts: docs.coingecko.com "errors and rate limits", 2026; error bodies with HTTP 200 and a plain `Throttled` were seen.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from fetcher.clients.statuses import advise, by_status, limited, say, shut_out, troubled
from fetcher.errors import AuthenticationFailed, CannotServe, UnknownSymbol

if TYPE_CHECKING:
    from fetcher.clients.http import HttpRecord
    from fetcher.errors import SourceError

_NO_SUCH_COIN = ("coin not found", "could not find coin")
_SERVER_SIDE = frozenset({408, *range(500, 600)})
_CLOUDFLARE_DENIED = 1020
_TIME_RANGE = 10012
KEY_ADVICE = {
    10002: "the key is missing; set api_key_env and plan",
    10005: "this plan lacks the question; set plan to what the key is for",
    10010: "a pro key needs plan: pro",
    10011: "a demo key needs plan: demo",
}


class _Refusal(Struct, frozen=True):
    """What an error body says; code 0 where it has none."""

    code: int
    message: str


def classify(record: HttpRecord, now_ms: int, source: str = "coingecko") -> SourceError | None:
    """Sort an answer: None for one worth reading, else the error that says what to do next.

    `now_ms` is our clock, by which rests end.
    """
    refusal = _read(record.body)
    said = say(source, record, refusal.message if refusal else "", refusal.code if refusal else "")
    error = _by_code(refusal, record, now_ms, said) if refusal else _by_text(record, now_ms, said)
    error = error or by_status(record, now_ms, said)
    if error is not None or (record.status == HTTPStatus.OK and refusal is None):
        return error
    if record.status == HTTPStatus.NOT_FOUND and refusal is None:
        said = advise(said, "there is no CoinGecko at this address; check base_url")
    return CannotServe(said)


def _by_code(refusal: _Refusal, record: HttpRecord, now_ms: int, said: str) -> SourceError | None:
    """What the body's own code or words mean; None where the status has to decide."""
    code, words = refusal.code, refusal.message.lower()
    if code in KEY_ADVICE:
        return AuthenticationFailed(advise(said, KEY_ADVICE[code]))
    if code == HTTPStatus.TOO_MANY_REQUESTS or (not code and "rate limit" in words):
        return limited(record, now_ms, said)
    if code == _CLOUDFLARE_DENIED:
        return shut_out(record, now_ms, said)
    if code in _SERVER_SIDE:
        return troubled(record, now_ms, said)
    if any(each in words for each in _NO_SUCH_COIN):
        return UnknownSymbol(advise(said, "set the coin's id under symbols: of this source"))
    return CannotServe(said) if code == _TIME_RANGE else None


def _by_text(record: HttpRecord, now_ms: int, said: str) -> SourceError | None:
    """What a body that is no JSON says: CoinGecko's throttle and Cloudflare's door write plain text or HTML."""
    start = record.body[:5000].lower()
    if start.strip().startswith(b"throttled"):
        return limited(record, now_ms, said)
    return shut_out(record, now_ms, said) if b"error code: 1020" in start else None


def _read(body: bytes) -> _Refusal | None:
    """The error in a body, whichever of the shapes it has; None for no error or no JSON object."""
    if body.lstrip()[:1] != b"{":
        return None
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError):
        return None
    error = said.get("error")
    if isinstance(error, dict):
        said, error = error, error.get("error_message")
    status = said.get("status")
    if isinstance(status, dict):
        said = status
    if not any(name in said for name in ("error", "error_code", "error_message")):
        return None
    message = said.get("error_message") or error or said.get("error") or ""
    code = said.get("error_code")
    return _Refusal(_number(code), message if isinstance(message, str) else str(message))


def _number(code: object) -> int:
    text = str(code)
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 6 else 0  # noqa: PLR2004 - a code's length
