"""What a status means where a source has no codes of its own for it, how long a refusal lasts, and how both are told.

The one place that reads Retry-After and Date: how long a source is left alone is the same question for every client.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from msgspec import Struct

from fetcher.clock import ServerClock
from fetcher.errors import AuthenticationFailed, BadPayload, RateLimited, RetryableError
from fetcher.model import DAY, HOUR, MINUTE, SECOND
from fetcher.wire import excerpt

if TYPE_CHECKING:
    from fetcher.clients.http import HttpRecord
    from fetcher.errors import SourceError

MESSAGE_CHARACTERS = 200
TEAPOT = HTTPStatus.IM_A_TEAPOT  # Binance's, taken up by others: banned for going on after 429
SHORTEST_REST = SECOND  # "at once", or a moment that is past, would be asked in a circle
LONGEST_REST = 3 * DAY  # Binance's longest ban: a longer Retry-After is a mistake or mischief
TOO_MANY_REST = MINUTE  # of a 429 that names no pause: limits are counted by the minute
BAN_REST = 2 * MINUTE  # the shortest ban there is
FIREWALL_REST = 10 * MINUTE
LEGAL_REST = HOUR
CHECK_KEY = "check the key, or the proxy's password, in the configuration"


class Advice(Struct, frozen=True):
    """What a person can change, in the words of a source's own settings."""

    address: str = "base_url"
    legal: str = "set proxy or base_url"
    firewall: str = "ask less often or set proxy"


PLAIN = Advice()


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


def server_now(record: HttpRecord, now_ms: int) -> int:
    """The source's clock by the Date of its answer, ms UTC in whole seconds, so that no rest ends early; else ours."""
    dated = ServerClock.dated_ms(record.headers.get("Date"))
    return now_ms if dated is None else dated


def asked_rest(record: HttpRecord, now_ms: int) -> int | None:
    """How long the Retry-After header (seconds or a date) asks to wait, ms; None where it asks for nothing."""
    text = record.headers.get("Retry-After", "").strip()
    if text[:1].isdigit():
        try:
            return bounded(float(text) * SECOND)
        except ValueError:
            return None
    until = ServerClock.dated_ms(text)
    return None if until is None else bounded(until - server_now(record, now_ms))


def bounded(rest: float) -> int:
    """A rest that was asked for, as far as it is obeyed: ms."""
    return int(min(max(rest, SHORTEST_REST), LONGEST_REST))


def limited(record: HttpRecord, now_ms: int, said: str, *, until_ms: int = 0) -> RateLimited:
    """Too many requests: everything behind our address rests.

    As long as Retry-After says or until the time that the body names (`until_ms`, UTC by the source's clock), whichever
    is later; where neither is told, as long as such a refusal lasts.
    """
    asked = asked_rest(record, now_ms)
    if until_ms:
        asked = max(asked or 0, bounded(until_ms - server_now(record, now_ms)))
    usual = BAN_REST if record.status == TEAPOT else TOO_MANY_REST
    return RateLimited(said, now_ms + (usual if asked is None else asked))


def shut_out(record: HttpRecord, now_ms: int, said: str, advice: Advice = PLAIN) -> RateLimited:
    """A firewall or a country bars this host alone; other endpoints may still answer."""
    if record.status == HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS:
        text = f"this address is in a restricted location; {advice.legal}"
        return RateLimited(advise(said, text), now_ms + LEGAL_REST, whole_pool=False)
    asked = asked_rest(record, now_ms)
    text = f"its firewall (WAF) turns this address away; {advice.firewall}"
    return RateLimited(advise(said, text), now_ms + (FIREWALL_REST if asked is None else asked), whole_pool=False)


def troubled(record: HttpRecord, now_ms: int, said: str) -> RetryableError:
    """The source's own trouble, which passes; its pause is kept where it names one."""
    failure = RetryableError(said)
    asked = asked_rest(record, now_ms)
    failure.retry_after = None if asked is None else asked / SECOND
    return failure


def refused_key(said: str) -> AuthenticationFailed:
    """The key, or the proxy's password, is not accepted."""
    return AuthenticationFailed(advise(said, CHECK_KEY))


def by_status(record: HttpRecord, now_ms: int, said: str, advice: Advice = PLAIN) -> SourceError | None:
    """Sort an answer by its status alone; None for 200 and for a 4xx that only its body explains."""
    status = record.status
    if status in {HTTPStatus.TOO_MANY_REQUESTS, TEAPOT}:
        return limited(record, now_ms, said)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}:
        return refused_key(said)
    if status in {HTTPStatus.FORBIDDEN, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS}:
        return shut_out(record, now_ms, said, advice)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        return troubled(record, now_ms, said)
    if status != HTTPStatus.OK and status < HTTPStatus.BAD_REQUEST:
        return BadPayload(advise(said, f"which answers no question; check {advice.address} in the configuration"))
    return None
