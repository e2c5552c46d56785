"""What an imitated exchange says to one request, before faults and the network have their way with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fetcher.model import Timeframe
    from fetcher.sandbox.layout import Layout
    from fetcher.sandbox.market import Market, Span

JSON = "application/json;charset=UTF-8"
HTML = "text/html"


class Asked(Struct, frozen=True):
    """The candles one request asked for; `symbol` as the vendor names it."""

    symbol: str
    timeframe: Timeframe
    span: Span


class Answer(Struct, frozen=True):
    """Status, headers and body; `delivery` is how they reach the client, `delay` the seconds before they do.

    `delivery`: `whole`, `cut` (half of the promised body, then the connection closes) or `reset` (RST, nothing sent).
    `fault` names what was wrong with what the answer was made of, before the network has its way with it.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON
    rows: int | None = None
    asked: Asked | None = None
    delivery: str = "whole"
    delay: float = 0.0
    fault: str | None = None


Complaint: TypeAlias = "Callable[[int, int, int], Answer]"
"""A vendor's words for a status, the seconds to stay away, and the moment (ms UTC)."""


class Exchange(Protocol):
    """One vendor's wire format over a market; `candle_path` may hold `*`, which stands for anything."""

    market: Market
    candle_path: str
    layout: Layout

    @property
    def used_weight(self) -> int:
        """Weight used in the current window of its limit."""

    def forget_pages(self) -> None:
        """Render everything anew: the market or the clock was changed."""

    def complain(self, status: int, retry_after: int, now_ms: int, /) -> Answer:
        """The vendor's words for a status; `retry_after` in seconds, 0 for none."""

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ms: int) -> Answer:
        """The answer to a GET at this moment of the exchange's clock."""
