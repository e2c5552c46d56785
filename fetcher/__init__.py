"""Keeps a database of OHLCV candles complete, correct and explained."""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know better; while `typing` is loaded Ctrl-C would still be a traceback
if TYPE_CHECKING:
    from fetcher.frames import MissingCandles, read_candles

__all__ = ["MissingCandles", "read_candles"]


def __getattr__(name: str) -> object:
    """What others may import, loaded when it is asked for: a run needs none of it."""
    if name in __all__:
        from fetcher import frames  # noqa: PLC0415 - the database and pandas, for who reads

        return getattr(frames, name)
    raise AttributeError(f"module 'fetcher' has no attribute {name!r}")
