"""From our symbols to CoinGecko's coin ids and quote currencies: tickers are not unique there, only ids are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.errors import CannotServe, UnknownSymbol
from fetcher.wire import excerpt
from fetcher.wording import few

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from fetcher.clients.base import Market

USD = "usd"
CANDIDATES_SHOWN = 10
_DOLLARS = frozenset({"USD", "USDT", "USDC", "BUSD"})
# Of /simple/supported_vs_currencies, those that markets are quoted in.
_QUOTES = frozenset({
    "AED", "ARS", "AUD", "BCH", "BDT", "BHD", "BMD", "BNB", "BRL", "BTC", "CAD", "CHF", "CLP", "CNY", "CZK", "DKK",
    "DOT", "EOS", "ETH", "EUR", "GBP", "HKD", "HUF", "IDR", "ILS", "INR", "JPY", "KRW", "KWD", "LINK", "LKR", "LTC",
    "MMK", "MXN", "MYR", "NGN", "NOK", "NZD", "PHP", "PKR", "PLN", "RUB", "SAR", "SEK", "SGD", "SOL", "THB", "TRY",
    "TWD", "UAH", "VND", "XLM", "XRP", "YFI", "ZAR",
})  # fmt: skip
# Tickers whose plain meaning nobody disputes, though bridged, pegged or joke coins carry most of them too
# (5 ids are `eth`, 44 are `usdc`); ids as in the full /coins/list of the recorded answers.
_PLAIN = {
    "AAVE": "aave", "ADA": "cardano", "ALGO": "algorand", "APT": "aptos", "ARB": "arbitrum", "ATOM": "cosmos",
    "AVAX": "avalanche-2", "BCH": "bitcoin-cash", "BNB": "binancecoin", "BTC": "bitcoin", "DOGE": "dogecoin",
    "DOT": "polkadot", "ETC": "ethereum-classic", "ETH": "ethereum", "FIL": "filecoin", "HBAR": "hedera-hashgraph",
    "ICP": "internet-computer", "LINK": "chainlink", "LTC": "litecoin", "NEAR": "near", "OP": "optimism",
    "SHIB": "shiba-inu", "SOL": "solana", "SUI": "sui", "TON": "the-open-network", "TRX": "tron", "UNI": "uniswap",
    "USDC": "usd-coin", "USDT": "tether", "VET": "vechain", "XLM": "stellar", "XMR": "monero", "XRP": "ripple",
}  # fmt: skip


def coin_id(source: str, symbol: str, configured: Mapping[str, str], markets: Collection[Market] | None) -> str:
    """The market id of a symbol (`bitcoin`, or `ethereum/btc` for another quote than dollars).

    The configuration decides, else the plain meaning of a ticker, else the list where one coin alone has the ticker.
    UnknownSymbol where there is no such coin, or several: then it names them. CannotServe while `markets` (None) cannot
    be had. A USDT, USDC or BUSD quote is served by their USD.
    """
    base, _, quote = symbol.partition("/")
    key = f"sources.{source}.symbols"
    chosen = configured.get(symbol)
    if chosen is not None and "/" in chosen:
        return chosen
    if quote not in _DOLLARS | _QUOTES:
        raise UnknownSymbol(f"{source} quotes nothing in {quote}; {symbol} needs another source")
    coin = chosen or _PLAIN.get(base) or _only_one(source, symbol, key, markets)
    return coin if quote in _DOLLARS else f"{coin}/{quote.lower()}"


def in_parts(market_id: str) -> tuple[str, str]:
    """The coin id and the quote currency (`usd` where none is named) of a market id."""
    coin, _, quote = market_id.partition("/")
    return coin, quote or USD


def _only_one(source: str, symbol: str, key: str, markets: Collection[Market] | None) -> str:
    base = symbol.partition("/")[0]
    setting = f"set {key}: {{{symbol}: <id>}}"
    if markets is None:
        raise CannotServe(f"{source} has no coin list now, and {base} may mean several coins; wait, or {setting}")
    ids = sorted((m.id for m in markets if m.symbol.partition("/")[0] == base), key=lambda each: (len(each), each))
    if not ids:
        raise UnknownSymbol(f"{source} lists no coin with the ticker {base}; if it has another name there, {setting}")
    if len(ids) > 1:
        # The shortest first: what is bridged, pegged or wrapped says so in its id.
        shown = few([excerpt(each, 60) for each in ids], CANDIDATES_SHOWN)
        raise UnknownSymbol(f"{source} lists {len(ids)} coins with the ticker {base}: {shown}; {setting}")
    return ids[0]
