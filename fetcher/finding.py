"""What an audit tells of a series: one thing that is not as it is said to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from fetcher.model import Series


class Finding(Struct, frozen=True):
    """One thing that is not as it was thought: `rows` candles or slots of a series in `[start_ms, end_ms)` (ms UTC).

    `repairable`: whether taking back what coverage says of it mends it; no candle is ever deleted or invented for it.
    """

    series: Series
    kind: str
    start_ms: int
    end_ms: int
    rows: int
    message: str
    repairable: bool
    repaired: bool = False
