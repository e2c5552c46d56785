"""What a generated market trades: well-known symbols, quote currencies, how fine and how large their numbers are."""

from __future__ import annotations

from functools import cache

from msgspec import Struct

from fetcher.sandbox.noise import key_of

QUOTES = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "EUR", "TRY", "BTC", "ETH", "BNB")

# rough dollars, so that a chart looks familiar; anything else gets a price from its name
_DOLLARS = {
    "BTC": 60_000.0, "ETH": 3_000.0, "BNB": 500.0, "SOL": 150.0, "XRP": 0.6, "ADA": 0.5, "DOGE": 0.12, "TRX": 0.12,
    "AVAX": 30.0, "DOT": 6.0, "LINK": 14.0, "LTC": 80.0, "BCH": 400.0, "XLM": 0.11, "ATOM": 8.0, "ETC": 22.0,
    "UNI": 8.0, "FIL": 5.0, "NEAR": 5.0, "APT": 8.0, "ARB": 0.9, "OP": 1.8, "SUI": 1.2, "AAVE": 100.0, "ALGO": 0.16,
    "VET": 0.03, "SHIB": 0.00002, "PEPE": 0.00001, "USDT": 1.0, "USDC": 1.0, "FDUSD": 1.0, "BUSD": 1.0, "TUSD": 1.0,
    "EUR": 1.1, "TRY": 0.03,
}  # fmt: skip
_COINS = tuple(_DOLLARS)[: tuple(_DOLLARS).index("USDT")]
WELL_KNOWN = (*(f"{coin}USDT" for coin in _COINS), "BTCUSDC", "ETHUSDC", "USDCUSDT", "ETHBTC", "BNBBTC", "SOLBTC")
_TURNOVER = 60_000.0  # dollars in an ordinary minute


class Scale(Struct, frozen=True):
    """The usual price in ticks and volume of a minute in lots, and the decimals of both (together at most 8)."""

    price: int
    price_places: int
    lots: int
    lot_places: int


def split(symbol: str) -> tuple[str, str] | None:
    """Base and quote currency of a symbol such as `BTCUSDT`; None when it ends in no known quote."""
    for quote in QUOTES:
        base = symbol.removesuffix(quote)
        if base and base != symbol:
            return base, quote
    return None


def _dollars(asset: str) -> float:
    known = _DOLLARS.get(asset)
    if known is not None:
        return known
    key = key_of("price", asset)
    return float((1 + key % 9) * 10 ** (key // 9 % 4)) / 10


@cache
def scale(base: str, quote: str) -> Scale:
    """How a pair's numbers are written: about six significant digits, never more than 8 decimals."""
    price = _dollars(base) / _dollars(quote)
    places = 2
    while places < 8 and price * 10**places < 100_000:  # noqa: PLR2004 - six digits and the exchange's 8 decimals
        places += 1
    lot_places = min(5, 8 - places)
    return Scale(
        max(1_000, round(price * 10**places)), places,
        max(4, round(_TURNOVER / _dollars(base) * 10**lot_places)), lot_places,
    )  # fmt: skip
