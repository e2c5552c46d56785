"""A market replayed from recordings: `SYMBOL-TIMEFRAME.csv.gz`, served as the exact decimals that were recorded.

Columns: open_time_ms, open, high, low, close, volume, close_time_ms, quote_volume, trades, taker_base, taker_quote; the
last five may be empty (the candle then ends regularly, the rest is served as zero). Rows ascend by open time.
"""

from __future__ import annotations

import gzip
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fetcher.errors import ConfigError
from fetcher.model import DAY, TIMEFRAMES, Grid, Timeframe, Window
from fetcher.sandbox import symbols
from fetcher.sandbox.market import (
    AMOUNTS,
    PRICES,
    TRUTH,
    UNIT,
    Listing,
    Market,
    aggregate,
    no_rows,
    regular_ends,
)

if TYPE_CHECKING:
    from pathlib import Path

    from fetcher.model import Rows
    from fetcher.sandbox.noise import Whole

COLUMNS = (
    "open_time_ms", "open", "high", "low", "close", "volume", "close_time_ms", "quote_volume", "trades", "taker_base",
    "taker_quote",
)  # fmt: skip
_COUNTS = ("open_time_ms", "close_time_ms", "trades")
_OPTIONAL = COLUMNS[6:]
_DIGITS = dict.fromkeys(PRICES, 10)  # of the whole part: prices are one int64 in 1e-8 units


class RecordedMarket(Market):
    """Candles from the recordings in a folder; a timeframe without a file is added up from the next finer one."""

    def __init__(self, tables: dict[tuple[str, str], Rows]) -> None:
        super().__init__()
        self._tables = tables
        self._summed = lru_cache(maxsize=64)(self._add_up)

    @classmethod
    def load(cls, folder: Path) -> RecordedMarket:
        """Read every recording; ConfigError names the file and line that cannot be used."""
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no folder; give one with SYMBOL-TIMEFRAME.csv.gz files")
        tables = {}
        for path in sorted(folder.glob("*.csv.gz")):
            symbol, _, timeframe = path.name.removesuffix(".csv.gz").rpartition("-")
            if not symbol or timeframe not in TIMEFRAMES:
                raise ConfigError(f"{path} is not named SYMBOL-TIMEFRAME.csv.gz, like BTCUSDT-1h.csv.gz")
            tables[symbol, timeframe] = _read(path, Timeframe(timeframe))
        if not tables:
            raise ConfigError(f"{folder} holds no SYMBOL-TIMEFRAME.csv.gz file")
        return cls(tables)

    def twin(self) -> RecordedMarket:
        """The same recordings for another venue, to be restated on its own."""
        return RecordedMarket(self._tables)

    def symbols(self) -> tuple[Listing, ...]:
        return tuple(listing for name in sorted({s for s, _ in self._tables}) if (listing := self.listing(name)))

    def listing(self, symbol: str) -> Listing | None:
        if not any(name == symbol for name, _ in self._tables):
            return None
        base, quote = symbols.split(symbol) or (symbol, "USDT")
        return Listing(symbol, base, quote, self._first(symbol))

    def _first(self, symbol: str) -> int:
        finest = [name for name in TIMEFRAMES if (symbol, name) in self._tables]
        firsts = [int(self._tables[symbol, name]["slot"][0]) for name in finest if name not in {"1w", "1M"}]
        return min(firsts) if firsts else int(self._tables[symbol, finest[0]]["slot"][0])

    def grid(self, symbol: str, timeframe: Timeframe) -> Grid:
        if not timeframe.anchored_by_series:
            return timeframe.grid()
        own = self._tables.get((symbol, timeframe.name))
        return timeframe.grid(int(own["slot"][0]) if own is not None else self._first(symbol) // DAY * DAY)

    def lifetime(self, symbol: str, timeframe: Timeframe) -> Window:
        rows = self._rows(symbol, timeframe)
        if not len(rows):
            return Window(0, 0)
        return Window(int(rows["slot"][0]), self.grid(symbol, timeframe).next(int(rows["slot"][-1])))

    def child(self, symbol: str, timeframe: Timeframe) -> Timeframe | None:
        """The coarsest recorded timeframe that adds up to this one; None where this one is recorded or none fits."""
        if (symbol, timeframe.name) in self._tables:
            return None
        finer = TIMEFRAMES[: TIMEFRAMES.index(timeframe.name)]
        fits = [name for name in finer if (symbol, name) in self._tables and _nests(Timeframe(name), timeframe)]
        return Timeframe(fits[-1]) if fits else None

    def finished(self, symbol: str, timeframe: Timeframe, window: Window) -> Rows:
        rows = self._rows(symbol, timeframe)
        first, last = np.searchsorted(rows["slot"], (window.start, window.end))
        return rows[first:last]

    def _rows(self, symbol: str, timeframe: Timeframe) -> Rows:
        recorded = self._tables.get((symbol, timeframe.name))
        return self._summed(symbol, timeframe) if recorded is None else recorded

    def _add_up(self, symbol: str, timeframe: Timeframe) -> Rows:
        child = self.child(symbol, timeframe)
        if child is None:
            return no_rows()
        grid, children = self.grid(symbol, timeframe), self._tables[symbol, child.name]
        rows = aggregate(children, grid.floor_all(children["slot"]))
        rows["end"][-1] = grid.next(int(rows["slot"][-1])) - 1  # a recording ends, the market did not halt
        return rows


def _nests(finer: Timeframe, coarser: Timeframe) -> bool:
    return finer.ms <= DAY and (coarser.name == "1M" or coarser.ms % finer.ms == 0)


def _read(path: Path, timeframe: Timeframe) -> Rows:
    try:
        with gzip.open(path) as file:
            lines = file.read().splitlines()
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path} cannot be read as gzip: {error}") from None
    if not lines or lines[0].decode("utf-8", "replace") != ",".join(COLUMNS):
        raise ConfigError(f"{path}: the first line has to be {','.join(COLUMNS)}")
    cells = [line.split(b",") for line in lines[1:]]
    for number, row in enumerate(cells, 2):
        if len(row) != len(COLUMNS):
            raise ConfigError(f"{path}, line {number}: {len(row)} columns instead of {len(COLUMNS)}")
    if not cells:
        raise ConfigError(f"{path} holds no candle; remove the file")
    texts = zip(COLUMNS, zip(*cells, strict=True), strict=True)
    columns = {name: _numbers(path, name, np.array(column)) for name, column in texts}
    opened = columns["open_time_ms"][0]
    late = np.flatnonzero(np.diff(opened) <= 0)
    if len(late):
        raise ConfigError(f"{path}, line {late[0] + 3}: open times have to ascend")
    grid = timeframe.grid(int(opened[0]))
    rows = np.zeros(len(opened), dtype=TRUTH)
    rows["slot"] = grid.floor_all(opened)
    rows["shift"] = opened - rows["slot"]
    closed = columns["close_time_ms"][0]
    rows["end"] = np.where(closed > 0, closed - rows["shift"], regular_ends(timeframe, grid, rows["slot"]))
    rows["trades"] = columns["trades"][0]
    for name in PRICES:
        rows[name] = columns[name][0] * UNIT + columns[name][1]
    for name in AMOUNTS:
        rows[name]["whole"], rows[name]["part"] = columns[name]
    return rows


def _numbers(path: Path, name: str, texts: np.ndarray[tuple[int], np.dtype[np.bytes_]]) -> tuple[Whole, Whole]:
    """Decimal texts as exact integers: the whole part, and the rest in 1e-8 units; an empty text is 0."""
    whole, part, wholes, parts, points = np.zeros((5, len(texts)), dtype=np.int64)
    bad = np.zeros(len(texts), dtype=np.bool_)
    for letters in texts.view(np.uint8).reshape(len(texts), -1).T:
        number = letters.astype(np.int64) - ord("0")
        digit = (number >= 0) & (number <= 9)  # noqa: PLR2004 - the ten digits
        after = digit & (points > 0)
        before = digit & (points == 0)
        bad |= ~digit & (letters != ord(".")) & (letters != 0)
        points += letters == ord(".")
        wholes += before
        parts += after
        whole = np.where(before, whole * 10 + number, whole)
        part = np.where(after, part * 10 + number, part)
    places = 0 if name in _COUNTS else 8
    bad |= (points > 1) | (parts > places) | (wholes > _DIGITS.get(name, 18)) | ((points > 0) & (wholes + parts == 0))
    if name not in _OPTIONAL:
        bad |= wholes + parts == 0
    if bad.any():
        line = int(np.argmax(bad))
        raise ConfigError(
            f"{path}, line {line + 2}: {name} is {texts[line].decode('utf-8', 'replace')[:40]!r}, not a plain number "
            f"with at most {places} decimals"
        )
    return whole, part * 10 ** np.maximum(8 - parts, 0)
