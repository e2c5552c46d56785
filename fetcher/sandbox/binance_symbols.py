"""Binance's exchangeInfo over any market: rate limits and what each symbol is, field for field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fetcher.sandbox.refusals import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.sandbox.market import Listing, Market

_PARAMETERS = {"symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"}


def exchange_info(market: Market, query: Mapping[str, str], per_minute: int, now_ms: int) -> dict[str, object]:
    """The document for these parameters; BadRequest as the exchange raises it."""
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": per_minute},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200000},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000},
        ],
        "exchangeFilters": [],
        "symbols": [
            _symbol(listing, permissions=query.get("showPermissionSets", "true").lower() != "false")
            for listing in _chosen(market, query)
        ],
    }


def _chosen(market: Market, query: Mapping[str, str]) -> list[Listing]:
    unread = len(query.keys() - _PARAMETERS)
    if unread:
        count = len(query)
        raise BadRequest(
            -1104, f"Not all sent parameters were read; read '{count - unread}' parameter(s) but was sent '{count}'."
        )
    if "symbol" in query and "symbols" in query:
        raise BadRequest(-1128, "Combination of optional parameters invalid.")
    if "symbol" in query:
        return [_known(market, query["symbol"])]
    if "symbols" in query:
        try:
            names = json.loads(query["symbols"])
        except ValueError:
            names = None
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise BadRequest.illegal("symbols", r"^\[(\"[\w\-._&&[^a-z]]{1,50}\"(,\"[\w\-._&&[^a-z]]{1,50}\"){0,})?\]$")
        if len(set(names)) < len(names):
            raise BadRequest(-1151, "Symbol is present multiple times in the list.")
        return [_known(market, name) for name in names]
    status = query.get("symbolStatus")
    return [listing for listing in market.symbols() if status is None or _status(listing) == status]


def _known(market: Market, symbol: str) -> Listing:
    listing = market.listing(symbol)
    if listing is None:
        raise BadRequest(-1121, "Invalid symbol.")
    return listing


def _status(listing: Listing) -> str:
    return "TRADING" if listing.trading else "BREAK"


def _smallest(places: int) -> str:
    return f"{10 ** (8 - places) / 10**8:.8f}"


def _symbol(listing: Listing, *, permissions: bool) -> dict[str, object]:
    tick, lot = _smallest(listing.price_places), _smallest(listing.lot_places)
    return {
        "symbol": listing.symbol,
        "status": _status(listing),
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": [
            "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
        ],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": True,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9222449.00000000", "stepSize": lot},
            {
                "filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True,
                "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5,
            },
        ],
        "permissions": [],
        "permissionSets": [["SPOT", "MARGIN"]] if permissions else [],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER"],
    }  # fmt: skip
