"""What Yahoo's answers mean for the caller, by the status and the error in the body, never by yfinance's exceptions.

Facts: captured answers of 2026; a 500 and an HTML page both become "possibly delisted" inside yfinance.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from fetcher.clients.statuses import advise, by_status, limited, say, troubled
from fetcher.errors import CannotServe, UnknownSymbol

if TYPE_CHECKING:
    from fetcher.clients.http import HttpRecord
    from fetcher.errors import SourceError

_NO_SUCH_DAYS = "data doesn't exist for startdate"


def classify(record: HttpRecord, now_ms: int, source: str = "yahoo") -> SourceError | None:
    """Sort an answer of the chart: None for one worth reading, else the error that says what to do next.

    `now_ms` is our clock, by which rests end.
    """
    code, words = chart_error(record.body)
    said = say(source, record, words, code)
    if wants_crumb(record):
        return troubled(record, now_ms, advise(said, "its cookie could not be had"))
    error = by_status(record, now_ms, said)
    answered = has_no_such_days(words) or (record.status == HTTPStatus.OK and not code and not words)
    if error is not None or answered:
        return error
    if code.lower() == "too many requests":
        return limited(record, now_ms, said)
    if code.lower() == "not found" and "no data found" in words.lower():
        return UnknownSymbol(advise(said, "set its Yahoo ticker under symbols: of this source"))
    if record.status == HTTPStatus.NOT_FOUND and not code:
        said = advise(said, "there is no Yahoo chart at this address; check base_url")
    return CannotServe(said)


def chart_error(body: bytes) -> tuple[str, str]:
    """Code and description of the error in a body, under `chart` or (crumb trouble) `finance`; empty without one."""
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError):
        return "", ""
    for name in ("chart", "finance"):
        part = said.get(name)
        error = part.get("error") if isinstance(part, dict) else None
        if isinstance(error, dict):
            return str(error.get("code") or ""), str(error.get("description") or "")
        if error:
            return "", str(error)
    return "", ""


def has_no_such_days(words: str) -> bool:
    """Whether an error's description is Yahoo's way (with 400) to say that a span before the listing has no rows."""
    return words.lower().startswith(_NO_SUCH_DAYS)


def wants_crumb(record: HttpRecord) -> bool:
    """Whether the chart was refused for want of a cookie and its crumb, which it does without as a rule."""
    if record.status != HTTPStatus.UNAUTHORIZED:
        return False
    words = " ".join(chart_error(record.body)).lower()
    return "crumb" in words or "cookie" in words
