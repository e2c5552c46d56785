"""Small parts of sentences: numbers of things, long lists cut short, and sentences without their moments. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z|\b1\d{12}\b")  # ours, or ms UTC as exchanges say


def counted(number: int, what: str) -> str:
    """`1 candle`, `1,440 candles`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def few(names: Sequence[str], most: int = 20) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def timeless(sentence: str) -> str:
    """The sentence without the moments that it names: the same for two that differ in nothing else."""
    return _MOMENT.sub("…", sentence)
