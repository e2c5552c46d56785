"""What a status means where a source has no codes of its own for it, and how an answer is put into one sentence."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from fetcher.clients.binance_errors import MESSAGE_CHARACTERS, TEAPOT, retry_after_ms
from fetcher.errors import AuthenticationFailed, BadPayload, RateLimited, RetryableError
from fetcher.model import HOUR, MINUTE, SECOND
from fetcher.wire import excerpt

if TYPE_CHECKING:
    from fetcher.clients.http import HttpRecord
    from fetcher.errors import SourceError

TOO_MANY_REST = MINUTE  # of a 429 that names no pause: limits are counted by the minute
FIREWALL_REST = 10 * MINUTE
LEGAL_REST = HOUR


def say(source: str, record: HttpRecord, text: str, code: int | str = "") -> str:
    """One printable line that names source, status, the source's own code and its words (else its body)."""
    named = f" ({code})" if code else ""
    words = text or record.body
    return excerpt(
        f"{source} answered {record.status}{named}" + (f": {excerpt(words, 120)}" if words else ""), MESSAGE_CHARACTERS
    )


def advise(said: str, advice: str) -> str:
    """The line with advice that is never cut off."""
    return f"{excerpt(said, MESSAGE_CHARACTERS - len(advice) - 2)}; {advice}"


def limited(record: HttpRecord, now_ms: int, said: str) -> RateLimited:
    """Too many requests: everything behind our address rests for as long as Retry-After says, else a minute."""
    rest = retry_after_ms(record, _server_now(record, now_ms))
    return RateLimited(said, now_ms + (TOO_MANY_REST if rest is None else rest))


def shut_out(record: HttpRecord, now_ms: int, said: str) -> RateLimited:
    """A firewall or a country bars this host alone; other endpoints may still answer."""
    if record.status == HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS:
        advice = "this address is in a restricted location; set proxy or base_url"
        return RateLimited(advise(said, advice), now_ms + LEGAL_REST, whole_pool=False)
    rest = retry_after_ms(record, _server_now(record, now_ms))
    advice = "its firewall turns this address away; ask less often or set proxy"
    return RateLimited(advise(said, advice), now_ms + (FIREWALL_REST if rest is None else rest), whole_pool=False)


def troubled(record: HttpRecord, now_ms: int, said: str) -> RetryableError:
    """The source's own trouble, which passes; its pause is kept where it names one."""
    failure = RetryableError(said)
    rest = retry_after_ms(record, _server_now(record, now_ms))
    failure.retry_after = None if rest is None else rest / SECOND
    return failure


def by_status(record: HttpRecord, now_ms: int, said: str) -> SourceError | None:
    """Sort an answer by its status alone; None for 200 and for a 4xx that only its body explains."""
    status = record.status
    if status in {HTTPStatus.TOO_MANY_REQUESTS, TEAPOT}:
        return limited(record, now_ms, said)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}:
        return AuthenticationFailed(advise(said, "check the key, or the proxy's password, in the configuration"))
    if status in {HTTPStatus.FORBIDDEN, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS}:
        return shut_out(record, now_ms, said)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        return troubled(record, now_ms, said)
    if status != HTTPStatus.OK and status < HTTPStatus.BAD_REQUEST:
        return BadPayload(advise(said, "which answers no question; check base_url in the configuration"))
    return None


def _server_now(record: HttpRecord, now_ms: int) -> int:
    """The Date of the answer (ms UTC), by which a Retry-After that is a date becomes a span; else our clock."""
    try:
        return int(parsedate_to_datetime(record.headers.get("Date", "")).timestamp()) * SECOND
    except (ValueError, OverflowError):
        return now_ms
