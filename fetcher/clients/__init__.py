"""Clients, one file per source; this dict is the only list of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from fetcher.clients.base import BaseAPIClient

# By name, so that a run with nothing to ask imports no HTTP library (0.1 s of each cron start).
CLIENTS = {
    "binance": "fetcher.clients.binance:BinanceAPIClient",
    "ccxt": "fetcher.clients.ccxt_exchange:CcxtAPIClient",
    "coingecko": "fetcher.clients.coingecko:CoinGeckoAPIClient",
    "yahoo": "fetcher.clients.yahoo:YahooFinanceAPIClient",
}


def client_class(name: str) -> type[BaseAPIClient]:
    """The class behind a name of CLIENTS, imported now; KeyError for any other name."""
    module, _, attribute = CLIENTS[name].partition(":")
    return cast("type[BaseAPIClient]", getattr(import_module(module), attribute))
