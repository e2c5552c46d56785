"""Keeps a database of OHLCV candles complete, correct and explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fetcher.frames import MissingCandles, read_candles

__all__ = ["MissingCandles", "read_candles"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever it is
    """What others may import, loaded when it is asked for: a run needs none of it."""
    if name in __all__:
        from fetcher import frames  # noqa: PLC0415 - the database and pandas, for who reads

        return getattr(frames, name)
    raise AttributeError(f"module 'fetcher' has no attribute {name!r}")
