"""ccxt as one thread uses it: an exchange that asks through our session, by our clock, and hides nothing of its answer.

ccxt is imported here, on first use: it costs 0.25 s and 65 MB. Facts: ccxt 4.5.90's sources.
"""

from __future__ import annotations

import difflib
import logging
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct

from fetcher.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.clients.ccxt_errors import Hint
    from fetcher.clients.http import HttpRecord
    from fetcher.clients.recording import RecordingSession
    from fetcher.clock import Clock

# What a strange body makes ccxt's generated code stumble over, besides its own exceptions.
_STUMBLES = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)


class Reading(Struct, frozen=True):
    """What ccxt made of an answer.

    `rows` pairs each candle as it came with ccxt's reading of it, `[ms, open, high, low, close, volume]` or None, not
    sorted or filtered; None where ccxt did not get as far. `failure` says how it failed, `hint` what that means.
    """

    value: object = None
    rows: list[tuple[object, list[Any] | None]] | None = None
    failure: str = ""
    hint: Hint | None = None


def check_exchange(exchange_id: str) -> None:
    """Raise ConfigError, with the names that come near, unless ccxt knows the exchange; imports nothing of it."""
    spec = find_spec("ccxt")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("ccxt is not installed; run: pip install -r requirements.txt")
    known = sorted(path.stem for path in Path(spec.submodule_search_locations[0]).glob("[a-z]*.py"))
    if exchange_id not in known:
        near = difflib.get_close_matches(exchange_id.lower(), known, n=3, cutoff=0.5)
        advice = f"did you mean {' or '.join(near)}?" if near else "see https://github.com/ccxt/ccxt for their ids"
        raise ConfigError(f"ccxt knows no exchange {exchange_id!r}; {advice}")


def make_exchange(exchange_id: str, clock: Clock, base_url: str | None) -> Any:  # noqa: ANN401 - generated code without types
    """An exchange object that has asked nothing yet: spot markets only, no throttle and no clock of its own.

    `base_url` stands in for every host of the exchange; the paths stay.
    """
    check_exchange(exchange_id)
    ccxt = import_module("ccxt")
    settings: dict[str, object] = {"enableRateLimit": False, "options": {"defaultType": "spot"}}
    exchange = getattr(ccxt, exchange_id)(settings)
    exchange.logger.setLevel(logging.WARNING)  # at debug level it would log every header and body
    exchange.milliseconds = clock.now_ms
    exchange.microseconds = lambda: clock.now_ms() * 1000
    exchange.seconds = lambda: clock.now_ms() // 1000
    wanted = exchange.options.get("fetchMarkets")
    if isinstance(wanted, dict) and "types" in wanted:  # else every kind of contract is one more long list to fetch
        types = wanted["types"]
        wanted["types"] = {kind: kind == "spot" for kind in types} if isinstance(types, dict) else ["spot"]
    if base_url is not None:
        exchange.urls["api"] = _redirected(exchange.urls["api"], base_url.rstrip("/"))
    return exchange


class Library:
    """One thread's exchange; `ask` runs one of its methods and tells what was exchanged and what ccxt made of it."""

    def __init__(self, exchange_id: str, clock: Clock, base_url: str | None) -> None:
        self._exchange = make_exchange(exchange_id, clock, base_url)
        self._exchange.parse_ohlcvs = self._keep_rows
        self._stubs: dict[str, dict[str, object]] = {}
        self._rows: list[tuple[object, list[Any] | None]] | None = None
        self.reading = Reading()

    def ask(
        self, what: str, params: Mapping[str, str | int], session: RecordingSession
    ) -> HttpRecord | SourceError | None:
        """Run `candles` (market, timeframe, limit, perhaps since and until in ms), `time` or `markets` over a session.

        Returns the last answer, or why none came; None when ccxt would not even ask. `reading` holds its own result.
        """
        ccxt = import_module("ccxt")
        self._exchange.session = session
        session.clear()
        self._rows = None
        value: object = None
        failure, hint = "", None
        try:
            value = self._call(what, params)
        except ccxt.BaseError as error:
            failure, hint = f"{type(error).__name__}: {error}", _hint(ccxt, error)
        except _STUMBLES as error:
            failure = f"{type(error).__name__}: {error}"
        self.reading = Reading(value, self._rows, failure, hint)
        return session.last()

    def _call(self, what: str, params: Mapping[str, str | int]) -> object:
        if what == "time":
            return self._exchange.fetch_time()
        if what == "markets":
            cached = self._exchange.options.get("fetchMarkets")
            if isinstance(cached, dict):
                cached.pop("timestamp", None)  # bitstamp's list of a second ago would do without a request
            return self._exchange.fetch_markets()
        until = {"until": params["until"]} if "until" in params else {}
        return self._exchange.fetch_ohlcv(
            self._known(str(params["market"])), params["timeframe"], params.get("since"), params["limit"], until
        )

    def _known(self, market_id: str) -> str:
        """Tell ccxt of a market, so that it does not load the whole list; returns its name for it."""
        if market_id not in self._stubs:
            base, _, quote = re.sub(r"[-_/]", " ", market_id).partition(" ")
            self._stubs[market_id] = {
                "id": market_id, "symbol": market_id,
                "lowercaseId": market_id.lower(), "uppercaseId": market_id.upper(),
                "base": base, "quote": quote, "baseId": base, "quoteId": quote, "type": "spot", "spot": True,
                "margin": False, "swap": False, "future": False, "option": False, "contract": False, "active": True,
                "precision": {}, "limits": {}, "info": {},
            }  # fmt: skip
            self._exchange.set_markets(list(self._stubs.values()))
        return market_id

    def _keep_rows(self, ohlcvs: object, market: object = None, *_: object, **__: object) -> list[list[Any]]:
        """Stand in for ccxt's own, which drops what it cannot read and what lies outside since and limit."""
        self._rows = [(raw, self._cells(raw, market)) for raw in ohlcvs] if isinstance(ohlcvs, list) else []
        return []

    def _cells(self, raw: object, market: object) -> list[Any] | None:
        try:
            cells: list[Any] = self._exchange.parse_ohlcv(raw, market)
        except _STUMBLES:
            return None
        return cells


def _hint(ccxt: Any, error: Exception) -> Hint:  # noqa: ANN401 - the module
    kinds: tuple[tuple[Hint, tuple[type[Exception], ...]], ...] = (
        ("symbol", (ccxt.BadSymbol,)),
        ("limit", (ccxt.RateLimitExceeded, ccxt.DDoSProtection)),
        ("key", (ccxt.AuthenticationError,)),
        ("busy", (ccxt.OperationFailed,)),
    )
    return next((kind for kind, classes in kinds if isinstance(error, classes)), "refused")


def _redirected(urls: object, base_url: str) -> object:
    if isinstance(urls, dict):
        return {name: _redirected(each, base_url) for name, each in urls.items()}
    return base_url + urlsplit(urls).path if isinstance(urls, str) else urls
