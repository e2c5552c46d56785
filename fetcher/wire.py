"""What a source's page of candles looks like between a client, which decodes it, and the validator, which judges it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from fetcher.model import CANDLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.model import Rows

UNKNOWN_TIME = -1
PAYLOAD_CHARACTERS = 1000

WIRE = np.dtype([(name, CANDLE[name]) for name in CANDLE.names or () if name != "flags"] + [("close_time", "i8")])
"""A row as the source sent it: the columns of CANDLE without flags, then close_time (ms UTC, −1 = unknown)."""


class Spoiled(Struct, frozen=True):
    """A row that could not be decoded: `open_time` (ms UTC) where that much was readable, and its raw text, capped."""

    open_time: int | None
    reason: str
    payload: str


class WirePage(Struct, frozen=True):
    """One answer's candles, decoded and not yet judged.

    `rows` has shape (n,), dtype WIRE, in the source's order and units: prices in quote currency, volume and taker_base
    in base, quote_volume and taker_quote in quote currency; NaN and trades −1 mean that the source does not tell.
    `as_of_ms`: the newest moment (ms UTC) that the answer itself claims to know of, where the source says so.
    """

    rows: Rows
    spoiled: tuple[Spoiled, ...] = ()
    as_of_ms: int | None = None

    def __len__(self) -> int:
        return len(self.rows) + len(self.spoiled)


def empty_page() -> WirePage:
    """No candles at all."""
    return WirePage(np.empty(0, dtype=WIRE))


def excerpt(text: str | bytes, limit: int) -> str:
    """The first `limit` characters in one printable line: what a stranger sent must not steer a terminal or a log."""
    if isinstance(text, bytes):
        text = text[: 4 * limit].decode("utf-8", "backslashreplace")
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: limit + 1])
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def joined(parts: Sequence[WirePage]) -> WirePage:
    """Several answers about consecutive windows as one page."""
    if len(parts) == 1:
        return parts[0]
    known = [part.as_of_ms for part in parts if part.as_of_ms is not None]
    rows = np.concatenate([empty_page().rows, *(part.rows for part in parts)])
    return WirePage(rows, tuple(row for part in parts for row in part.spoiled), min(known, default=None))
