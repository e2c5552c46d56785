"""Proxies and keys as ways in: how each is named, and what shares a budget."""

from __future__ import annotations

import pytest

from fetcher.clients.base import endpoints_of
from fetcher.clients.ways import DIRECT, Way, ways

ONE, TWO = "http://me:hush@10.0.0.1:3128", "http://you:hush@10.0.0.2:3128"


def test_one_of_a_kind_is_not_named() -> None:
    """Databases know the endpoints of a source with one proxy, or none, and one key by the source and host alone."""
    assert ways() == (DIRECT,)
    assert [(way.name, way.pool, way.proxy) for way in ways([ONE])] == [("", "", ONE)]
    assert [(way.name, way.pool, way.key_env) for way in ways([None], ["KEY"])] == [("", "", "KEY")]


@pytest.mark.parametrize(
    ("proxies", "keys", "names", "pools"),
    [
        ([ONE, TWO], [], [" via 10.0.0.1:3128", " via 10.0.0.2:3128"], [" via 10.0.0.1:3128", " via 10.0.0.2:3128"]),
        ([None, ONE], [], ["", " via 10.0.0.1:3128"], ["", " via 10.0.0.1:3128"]),
        ([None], ["A", "B"], [" key A", " key B"], [" key A", " key B"]),
        ([None, ONE], ["A"], ["", " via 10.0.0.1:3128"], ["", ""]),
        (
            [None, ONE], ["A", "B"],
            [" key A", " key B", " via 10.0.0.1:3128 key A", " via 10.0.0.1:3128 key B"],
            [" key A", " key B", " key A", " key B"],
        ),
        (["http://a:x@h:1", "http://b:x@h:1"], [], [" via h:1", " via h:1 #2"], [" via h:1", " via h:1 #2"]),
    ],
)  # fmt: skip
def test_every_proxy_with_every_key(
    proxies: list[str | None], keys: list[str], names: list[str], pools: list[str]
) -> None:
    """Each proxy is an address with a budget of its own, but a key's calls are counted wherever it is used."""
    made = ways(proxies, keys)
    assert ([way.name for way in made], [way.pool for way in made]) == (names, pools)
    assert "hush" not in repr(made)


def test_mirrors_share_the_budget_of_their_way() -> None:
    """Hosts times proxies; the pool is the proxy's, whichever host is asked."""
    made = endpoints_of("binance", {"http://a": "http://a", "http://b": "http://b"}, ways([None, ONE]))
    assert [(each.key, each.pool) for each in made] == [
        ("binance http://a", "binance"),
        ("binance http://b", "binance"),
        ("binance http://a via 10.0.0.1:3128", "binance via 10.0.0.1:3128"),
        ("binance http://b via 10.0.0.1:3128", "binance via 10.0.0.1:3128"),
    ]
    assert len(set(made)) == 4
    assert "hush" not in repr(made)
    assert made[0].way == Way()
