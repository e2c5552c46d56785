"""What no run could fetch, told from configuration and environment alone: no library is loaded, nobody asked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fetcher.clients import client_class
from fetcher.clients.keys import read_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.config import Config, SourceSettings


def missing_keys(config: Config, environment: Mapping[str, str] = os.environ) -> list[str]:
    """A sentence for each variable or file that a source wants its key from and that holds none."""
    return [
        f"sources.{name}: {sentence}"
        for name, source in config.sources.items()
        if source.client == "coingecko"
        for sentence in read_keys(source.key_names, environment)[1].values()
    ]


def unoffered(config: Config) -> list[str]:
    """A sentence for each timeframe that none of a series' sources has, as far as that is known beforehand."""
    found: dict[str, list[str]] = {}
    for wanted in config.series():
        offers = [_offered(config.sources[name]) for name in wanted.sources]
        if all(offered is not None and wanted.timeframe.name not in offered for offered in offers):
            whose = f"{', '.join(wanted.sources)}: no {wanted.timeframe} candles there"
            found.setdefault(whose, []).append(wanted.symbol)
    return [f"{', '.join(symbols)} cannot be fetched from {whose}." for whose, symbols in found.items()]


def _offered(source: SourceSettings) -> frozenset[str] | None:
    return client_class(source.client).offers(source)
