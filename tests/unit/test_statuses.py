"""How long a refusal lasts is one rule for all sources, whoever's words it comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from requests.structures import CaseInsensitiveDict

from fetcher.clients import binance_errors, ccxt_errors, coingecko_errors, yahoo_errors
from fetcher.clients.http import HttpRecord
from fetcher.errors import RateLimited, RetryableError
from fetcher.model import DAY, MINUTE, SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from fetcher.errors import SourceError

OURS = 1_700_000_000_000
DATE = "Fri, 20 Nov 2026 10:00:00 GMT"
CLASSIFIERS: dict[str, Callable[[HttpRecord, int, str], SourceError | None]] = {
    "binance": binance_errors.classify,
    "ccxt": ccxt_errors.classify,
    "coingecko": coingecko_errors.classify,
    "yahoo": yahoo_errors.classify,
}


def sort(source: str, status: int, **headers: str) -> SourceError:
    """What an answer without a body means to a source's client."""
    named = CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()})
    found = CLASSIFIERS[source](HttpRecord("http://x", status, named, b"", 0.0, 0.1), OURS, source)
    assert found is not None
    return found


@pytest.mark.parametrize("source", CLASSIFIERS)
@pytest.mark.parametrize(
    ("status", "headers", "rest"),
    [
        pytest.param(429, {"Retry_After": "0"}, SECOND, id="at once"),
        pytest.param(429, {"Retry_After": "0.2"}, SECOND, id="a moment"),
        pytest.param(429, {"Retry_After": "Fri, 20 Nov 2026 09:00:00 GMT", "Date": DATE}, SECOND, id="in the past"),
        pytest.param(429, {"Retry_After": "Fri, 20 Nov 2026 10:00:30 GMT", "Date": DATE}, 30 * SECOND, id="a date"),
        pytest.param(429, {"Retry_After": "7"}, 7 * SECOND, id="seconds"),
        pytest.param(429, {"Retry_After": "9" * 400}, 3 * DAY, id="absurd"),
        pytest.param(429, {"Retry_After": "soon"}, MINUTE, id="nonsense"),
        pytest.param(429, {"Retry_After": "Fri, 20 Nov 99999 10:00:00 GMT"}, MINUTE, id="a year that never comes"),
        pytest.param(429, {}, MINUTE, id="unnamed"),
        pytest.param(418, {"Retry_After": "0"}, SECOND, id="banned at once"),
        pytest.param(418, {}, 2 * MINUTE, id="banned"),
        pytest.param(403, {"Retry_After": "0"}, SECOND, id="firewall at once"),
        pytest.param(403, {}, 10 * MINUTE, id="firewall"),
    ],
)
def test_a_rest_is_never_shorter_than_a_second(source: str, status: int, headers: dict[str, str], rest: int) -> None:
    """Retry-After 0, or a date that is past, would otherwise be asked in a circle."""
    error = sort(source, status, **headers)
    assert isinstance(error, RateLimited)
    assert error.until_ms - OURS == rest


@pytest.mark.parametrize("source", CLASSIFIERS)
@pytest.mark.parametrize(("headers", "seconds"), [({}, None), ({"Retry_After": "0"}, 1.0), ({"Retry_After": "9"}, 9.0)])
def test_a_pause_in_trouble_is_one_too(source: str, headers: dict[str, str], seconds: float | None) -> None:
    """A 503 may name its pause."""
    error = sort(source, 503, **headers)
    assert isinstance(error, RetryableError)
    assert error.retry_after == seconds
