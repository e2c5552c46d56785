"""The imitated CoinGecko's coins: ids, tickers and names; most tickers are shared by several ids, as in reality."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

IDS = {
    "BTC": "bitcoin", "ETH": "ethereum", "BNB": "binancecoin", "SOL": "solana", "XRP": "ripple", "ADA": "cardano",
    "DOGE": "dogecoin", "TRX": "tron", "AVAX": "avalanche-2", "DOT": "polkadot", "LINK": "chainlink",
    "LTC": "litecoin", "BCH": "bitcoin-cash", "XLM": "stellar", "ATOM": "cosmos", "ETC": "ethereum-classic",
    "UNI": "uniswap", "FIL": "filecoin", "APT": "aptos", "ARB": "arbitrum", "OP": "optimism", "ALGO": "algorand",
    "VET": "vechain", "SHIB": "shiba-inu", "USDC": "usd-coin",
}  # fmt: skip
"""The coin behind a ticker, where its id is not the ticker itself."""

_NAMESAKES = {
    "BTC": ("blackrocktradingcurrency",), "ETH": ("ethereum-wormhole", "the-infinite-garden"),
    "BNB": ("binance-coin-wormhole", "heco-peg-bnb"), "SOL": ("sol-wormhole", "wrapped-solana"),
    "XRP": ("binance-peg-xrp", "heco-peg-xrp"), "ADA": ("ada-the-dog", "binance-peg-cardano"),
    "DOGE": ("binance-peg-dogecoin", "doge-on-pulsechain"), "AVAX": ("avalanche-wormhole",),
    "DOT": ("binance-peg-polkadot", "xcdot"), "UNI": ("unicorn-token", "unilapse", "uni-the-wonder-dog"),
    "APT": ("apidae",), "ARB": ("arb-protocol",), "SHIB": ("shiba-inu-wormhole", "shibwifhatcoin"),
    "PEPE": ("newpepe", "pepebrc"), "USDC": ("bridged-usdc", "beam-bridged-usdc-beam"),
}  # fmt: skip


def coin_id(asset: str) -> str:
    """The id of the coin that a ticker is known for."""
    return IDS.get(asset, asset.lower())


def asset_of(coin: str) -> str:
    """The ticker a coin is known for; a namesake is known for none, so that its id is no market's."""
    return {named: asset for asset, named in IDS.items()}.get(coin, coin.upper())


def coins(assets: Iterable[str]) -> list[dict[str, str]]:
    """`/coins/list`: each asset's coin and its namesakes, by id."""
    ids = {coin: asset for asset in assets for coin in (coin_id(asset), *_NAMESAKES.get(asset, ()))}
    return [{"id": coin, "symbol": ids[coin].lower(), "name": coin.replace("-", " ").title()} for coin in sorted(ids)]
