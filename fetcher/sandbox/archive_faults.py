"""What goes wrong with files of an archive, by name, and which files it happens to.

A fault of the contents makes another zip with a CHECKSUM that is right for it: only reading the file shows it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from msgspec import Struct, field

from fetcher.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from fetcher.model import Rows

RowFault: TypeAlias = "Callable[[Rows, Random], Rows]"

ONCE = "once:"
_HEADER = (
    b"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,"
    b"ignore\n"
)
_OTHER_ONE_IN = 100


def _truncated(rows: Rows, rng: Random) -> Rows:
    return rows[: rng.randrange(min(1, len(rows) - 1), len(rows))]


def _duplicated(rows: Rows, rng: Random) -> Rows:
    twice = rng.sample(range(len(rows)), min(len(rows), 1 + rng.randrange(3)))
    repeated: Rows = rows[np.sort(np.append(np.arange(len(rows)), twice))]
    return repeated


def _other_values(rows: Rows, rng: Random) -> Rows:
    """Closes at the low or the high instead: nothing about such a candle looks wrong."""
    other = rows.copy()
    for n in rng.sample(range(len(rows)), -(-len(rows) // _OTHER_ONE_IN)):
        close, low, high = (int(rows[name][n]) for name in ("close", "low", "high"))
        other["close"][n] = low if close != low else high if close != high else close + 1
        other["high"][n] = max(high, int(other["close"][n]))
    return other


def _cut_line(text: bytes) -> bytes:
    last = text.rfind(b"\n", 0, -1) + 1
    return text[: (last + len(text)) // 2]


IN_ROWS: dict[str, RowFault] = {"truncated": _truncated, "duplicated": _duplicated, "other_values": _other_values}
IN_TEXT: dict[str, Callable[[bytes], bytes]] = {"cut_line": _cut_line, "header": lambda text: _HEADER + text}
OF_ZIP = ("broken_zip", "not_zip")  # half of the bytes; a page of HTML: with the CHECKSUM of the right zip
OF_CHECKSUM = ("wrong_checksum", "no_checksum")  # the hash of something else; 404
MISSING = "missing"  # 404 for both, though published
FILE_FAULTS = (MISSING, *OF_CHECKSUM, *IN_ROWS, *IN_TEXT, *OF_ZIP)


def check_patterns(told: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Patterns of zip names by fault; ConfigError for an unknown fault or what is no list of patterns."""
    checked: dict[str, tuple[str, ...]] = {}
    for name, patterns in told.items():
        if name not in FILE_FAULTS:
            raise ConfigError(f"unknown fault of archive files {name!r}; one of {', '.join(FILE_FAULTS)}")
        if not isinstance(patterns, list | tuple) or not all(isinstance(text, str) and text for text in patterns):
            raise ConfigError(f"{patterns!r} is no list of file names for {name}; write it like ['*-2024-01-15.zip']")
        checked[name] = tuple(patterns)
    return checked


class FileFaults(Struct):
    """Which fault a file has: the first whose patterns name its zip (`*` and `?` stand for what they usually do).

    A pattern that starts with `once:` holds until the zip or its CHECKSUM is asked for a second time, whichever a
    client asks for first: fetching both once more gets both as they should be.
    """

    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _asked: dict[tuple[str, str, str], set[bool]] = field(default_factory=dict)
    _over: set[tuple[str, str, str]] = field(default_factory=set)

    def of(self, zip_name: str, *, checksum: bool, spend: bool = True) -> str | None:
        """The fault of the zip or its CHECKSUM; one that leaves this of the two as it is does not count.

        Without `spend` nothing is asked for, only looked at.
        """
        for fault, patterns in self.patterns.items():
            for pattern in patterns:
                if fnmatchcase(zip_name, pattern.removeprefix(ONCE)) and (
                    not pattern.startswith(ONCE) or self._first((fault, pattern, zip_name), checksum, spend=spend)
                ):
                    return None if fault in (OF_ZIP if checksum else OF_CHECKSUM) else fault
        return None

    def _first(self, key: tuple[str, str, str], part: bool, *, spend: bool) -> bool:  # noqa: FBT001 - which of two
        asked = self._asked.get(key, set())
        if key in self._over or part in asked:
            if spend:
                self._over.add(key)
            return False
        if spend:
            self._asked[key] = {*asked, part}
        return True
