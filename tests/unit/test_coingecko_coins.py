"""From symbols to coin ids: sound where automatic, explicit where not, with a sentence that says what to set."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from fetcher.clients.base import Market
from fetcher.clients.coingecko_coins import _PLAIN, coin_id, in_parts
from fetcher.clients.coingecko_parse import parse_coins
from fetcher.errors import CannotServe, UnknownSymbol

if TYPE_CHECKING:
    from pathlib import Path

COINS = [
    Market("pepe", "PEPE/USD", trading=True),
    Market("wrapped-gem", "GEM/USD", trading=True),
    Market("gem", "GEM/USD", trading=True),
]


@pytest.mark.parametrize(
    ("symbol", "market_id", "parts"),
    [
        ("BTC/USDT", "bitcoin", ("bitcoin", "usd")),
        ("BTC/USDC", "bitcoin", ("bitcoin", "usd")),
        ("ETH/BTC", "ethereum/btc", ("ethereum", "btc")),
        ("PEPE/EUR", "pepe/eur", ("pepe", "eur")),
        ("GEM/USDT", "gem-of-old", ("gem-of-old", "usd")),
        ("GEM/BTC", "gem-of-old/btc", ("gem-of-old", "btc")),
        ("GEM/ETH", "gem/btc", ("gem", "btc")),
    ],
)
def test_a_symbol_becomes_a_coin_and_its_quote(symbol: str, market_id: str, parts: tuple[str, str]) -> None:
    """Configured, plain, or the only one; stable coins are dollars, other quotes are their own."""
    configured = {"GEM/USDT": "gem-of-old", "GEM/BTC": "gem-of-old", "GEM/ETH": "gem/btc"}
    assert coin_id("coingecko", symbol, configured, COINS) == market_id
    assert in_parts(market_id) == parts


def test_a_shared_ticker_names_its_coins() -> None:
    """The most likely id first, and the very key to set."""
    with pytest.raises(
        UnknownSymbol, match=r"2 coins .* GEM: gem, wrapped-gem; set sources\.gecko\.symbols: \{GEM/USD"
    ):
        coin_id("gecko", "GEM/USDT", {}, COINS)


def test_many_candidates_are_capped() -> None:
    """Ten are shown, the rest counted; what a stranger named steers no terminal."""
    coins = [Market(f"gem-{number}\x1b[2J", "GEM/USD", trading=True) for number in range(44)]
    with pytest.raises(UnknownSymbol, match=r"44 coins .* and 34 more; set") as caught:
        coin_id("gecko", "GEM/USDT", {}, coins)
    assert str(caught.value).count("gem-") == 10
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("symbol", "sentence"),
    [("NOPE/USDT", "no coin with the ticker NOPE; .* set sources.gecko.symbols"), ("BTC/FDUSD", "nothing in FDUSD")],
)
def test_what_it_does_not_list_is_unknown(symbol: str, sentence: str) -> None:
    """A coin or a quote that it does not have."""
    with pytest.raises(UnknownSymbol, match=sentence):
        coin_id("gecko", symbol, {}, COINS)


def test_without_a_list_only_the_plain_ones_are_known() -> None:
    """A list that cannot be had is no proof that a coin is unknown: ask again later."""
    assert coin_id("gecko", "ETH/USDT", {}, None) == "ethereum"
    with pytest.raises(CannotServe, match="no coin list now") as caught:
        coin_id("gecko", "PEPE/USDT", {}, None)
    assert not isinstance(caught.value, UnknownSymbol)


def test_the_plain_ids_are_listed_under_their_tickers(shared_data: Path) -> None:
    """Every literal of the table stands in the recorded list, by that ticker."""
    folder = shared_data / "responses" / "coingecko"
    coins = {
        (coin.id, coin.symbol)
        for coin in parse_coins(gzip.decompress((folder / "coins_list_full.json.gz").read_bytes()))
    }
    assert [ticker for ticker, each in _PLAIN.items() if (each, f"{ticker}/USD") not in coins] == []
