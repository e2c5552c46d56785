"""The error bodies of the imitated Binance: what it says when it does not serve."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fetcher.errors import FetcherError
from fetcher.sandbox.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.sandbox.limits import Refusal

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
