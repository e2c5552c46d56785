"""What the imitated venues other than Binance share: routes, a limit of their own, refusals, a view of the market."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from fetcher.errors import FetcherError
from fetcher.sandbox.answer import Answer
from fetcher.sandbox.view import VenueView, known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.model import Rows, Timeframe, Window
    from fetcher.sandbox.answer import Asked
    from fetcher.sandbox.layout import Layout
    from fetcher.sandbox.limits import Refusal, WindowLimit
    from fetcher.sandbox.market import Market
    from fetcher.sandbox.view import Pair


class Refused(FetcherError):
    """A request that the venue answers with an error of its own."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body.decode())
        self.answer = answer


def document(found: object, status: int = 200, rows: int | None = None, asked: Asked | None = None) -> Answer:
    """A JSON answer, compact."""
    return Answer(status, json.dumps(found, separators=(",", ":")).encode(), rows=rows, asked=asked)


def number(query: Mapping[str, str], name: str, refusal: Answer) -> int | None:
    """A whole number among the parameters, None where it is not given; Refused where it is none."""
    text = query.get(name)
    if text is None:
        return None
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        raise Refused(refusal) from None


class VenueExchange(ABC):
    """One venue's REST interface under its own prefix, over the same truth as all others.

    `share`: hundredths of the true volume that are traded here.
    """

    name: ClassVar[str]
    share: ClassVar[int]
    layout: Layout
    candle_path: str

    def __init__(self, market: Market, limit: WindowLimit | None = None) -> None:
        self.market = market
        self.view = VenueView(market, self.name, self.share)
        self.limit_was_told = limit is not None
        self.limit = limit or self.usual_limit()
        self._used = 0

    @property
    def used_weight(self) -> int:
        return self._used

    def forget_pages(self) -> None:  # noqa: B027 - most keep none
        """Nothing is kept rendered."""

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ms: int) -> Answer:
        limit = self.limit_of(headers)
        refusal = limit.admit(self.weigh(path), now_ms)
        self._used = limit.used
        if refusal is not None:
            return self.too_many(refusal, now_ms)
        try:
            return self.route(path, query, headers, now_ms)
        except Refused as error:
            return error.answer

    @staticmethod
    @abstractmethod
    def usual_limit() -> WindowLimit:
        """What the vendor documents, or what its users found."""

    @abstractmethod
    def route(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ms: int) -> Answer:
        """The answer to an admitted request, `path` below the venue's prefix; Refused carries an error's answer."""

    @abstractmethod
    def complain(self, status: int, retry_after: int, now_ms: int, /) -> Answer:
        """The vendor's words for a status."""

    @abstractmethod
    def pair(self, market_id: str) -> Pair | None:
        """The market of that name; None where the venue does not list it."""

    def weigh(self, path: str) -> int:
        return 1

    def limit_of(self, headers: Mapping[str, str]) -> WindowLimit:
        return self.limit

    def too_many(self, refusal: Refusal, now_ms: int) -> Answer:
        return self.complain(429, refusal.retry_after, now_ms)

    def oracle(self, market_id: str, timeframe: Timeframe, window: Window, now_ms: int) -> Rows:
        """What a right client has of this venue: its closed candles, unknown values NaN and −1: dtype CANDLE."""
        pair = self.pair(market_id)
        if pair is None:
            raise Refused(self.complain(404, 0, now_ms))
        return known(self.view.closed(pair, timeframe, window, now_ms))
