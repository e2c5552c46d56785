"""The venues that the sandbox plays besides Binance: the only list of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.sandbox.coinbase import CoinbaseExchange
from fetcher.sandbox.coingecko import CoinGeckoExchange
from fetcher.sandbox.kraken import KrakenExchange
from fetcher.sandbox.okx import OkxExchange
from fetcher.sandbox.yahoo import YahooExchange

if TYPE_CHECKING:
    from fetcher.sandbox.venue import VenueExchange

BINANCE = "binance"
VENUES: dict[str, type[VenueExchange]] = {
    "kraken": KrakenExchange,
    "okx": OkxExchange,
    "coinbase": CoinbaseExchange,
    "coingecko": CoinGeckoExchange,
    "yahoo": YahooExchange,
}
