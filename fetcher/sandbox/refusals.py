"""The error bodies of the imitated Binance: what it says when it does not serve."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fetcher.errors import FetcherError
from fetcher.sandbox.answer import Answer
from fetcher.sandbox.limits import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

GEO_RESTRICTED = (
    b'{\n  "code": 0,\n  "msg": "Service unavailable from a restricted location according to \'b. Eligibility\' in '
    b"https://www.binance.com/en/terms. Please contact customer service if you believe you received this message in "
    b'error."\n}'
)


def body(code: int, message: str) -> bytes:
    """`{"code":…,"msg":…}` as on the wire."""
    return json.dumps({"code": code, "msg": message}, separators=(",", ":"), ensure_ascii=False).encode()


class BadRequest(FetcherError):
    """A request the exchange answers with 400 and a code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.body = body(code, message)

    @classmethod
    def missing(cls, name: str) -> BadRequest:
        """A mandatory parameter that is not there."""
        return cls(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")

    @classmethod
    def illegal(cls, name: str, legal: str) -> BadRequest:
        """A parameter with characters the exchange does not take."""
        return cls(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def rate_limited(refusal: Refusal, headers: Mapping[str, str], per_minute: int) -> Answer:
    """429 or 418 with its -1003 body and Retry-After."""
    if refusal.status == 418:  # noqa: PLR2004 - the exchange's own status for a ban
        message = (
            f"Way too much request weight used; IP banned until {refusal.until_ms}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        )
    else:
        message = (
            f"Too much request weight used; current limit is {per_minute} request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API."
        )
    return Answer(refusal.status, body(-1003, message), {**headers, "Retry-After": str(refusal.retry_after)})


def complain(status: int, retry_after: int, now_ms: int) -> Answer:
    """What Binance says with a status of its own: 418, 429, 451, 500 or 503; `retry_after` in seconds."""
    match status:
        case 418 | 429:
            return rate_limited(Refusal(status, retry_after, now_ms + retry_after * 1000), {}, 6_000)
        case 451:
            return Answer(451, GEO_RESTRICTED)
        case 503:
            overloaded = "Server is currently overloaded with other requests. Please try again in a few minutes."
            return Answer(503, body(-1008, overloaded))
        case _:
            return Answer(status, body(-1000, "An unknown error occurred while processing the request."))
