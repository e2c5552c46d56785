"""The judge of every page: named checks over columns; each row received is kept, refused with a reason, or live.

A check sees the rows that all earlier ones left. The order matters: what is still live is put aside before its values
are looked at, and a row that is broken by itself does not make a sound one with the same open time doubtful.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from msgspec import Struct

from fetcher.model import ANOMALY, CANDLE, CUT_SHORT, DAY, MINUTE, OFF_GRID, FixedGrid, empty_rows
from fetcher.wire import PAYLOAD_CHARACTERS, UNKNOWN_TIME

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from fetcher.model import Grid, Rows, Slots, Window
    from fetcher.wire import WirePage

Mask: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.bool_]]"

ANOMALOUS_RATIO = 3.0
ANSWER_MS = MINUTE  # candles that began while the answer was made: the clock is proven for when it was asked
_ROUNDING = 1 + 1e-9
_FIRST_TRADE, _FAR_FUTURE = 14_000 * DAY, 48_000 * DAY  # 2008 … 2101: seconds fall far before it, µs far behind


class Asked(Struct, frozen=True):
    """What a page is judged by: the series' grid, the window asked for, and the source's own clock (ms UTC).

    `proven_ms` is the latest moment that the source's clock had surely reached; None = its clock is unknown.
    """

    grid: Grid
    window: Window
    proven_ms: int | None


class Refused(Struct, frozen=True):
    """One row that is not stored: its open time (ms UTC) where readable, the check that it failed, itself as JSON."""

    open_time: int | None
    reason: str
    payload: str


class Verdict(Struct, frozen=True):
    """What became of a page; every row received is in exactly one place.

    `rows`: dtype CANDLE, ascending and unique on the grid, flags set. `off_grid`: dtype CANDLE, sound rows with open
    times beside the grid, which a second answer must confirm (`snap`). `live`: how many rows were not closed yet.
    """

    rows: Rows
    off_grid: Rows
    refused: tuple[Refused, ...]
    live: int


def _time_unit(rows: Rows, _: Asked) -> Mask:
    times: Slots = rows["open_time"]
    return (times < _FIRST_TRADE) | (times >= _FAR_FUTURE)


def _live(rows: Rows, asked: Asked) -> Mask:
    if asked.proven_ms is None:
        return np.ones(len(rows), dtype=np.bool_)
    slots, current = _slots_and_current(rows, asked.grid, asked.proven_ms)
    just_begun = rows["open_time"] <= asked.proven_ms + ANSWER_MS
    bad: Mask = (slots == current) | ((slots > current) & just_begun)
    return bad


def _future(rows: Rows, asked: Asked) -> Mask:
    if asked.proven_ms is None:
        return np.zeros(len(rows), dtype=np.bool_)
    slots, current = _slots_and_current(rows, asked.grid, asked.proven_ms)
    return slots > current


def _slots_and_current(rows: Rows, grid: Grid, proven_ms: int) -> tuple[Slots, Slots]:
    """Each row's slot and the slot being formed at `proven_ms`, on the row's own grid: an off-grid one closes later."""
    slots = grid.floor_all(rows["open_time"])
    shift = rows["open_time"] - slots
    return slots, grid.floor_all(proven_ms - shift)


def _inside_window(rows: Rows, asked: Asked) -> Mask:
    times: Slots = rows["open_time"]
    return (times < asked.window.start) | (times >= asked.window.end)


def _finite(rows: Rows, _: Asked) -> Mask:
    bad = np.zeros(len(rows), dtype=np.bool_)
    for price in ("open", "high", "low", "close"):
        bad |= ~np.isfinite(rows[price])
    for amount in ("volume", "quote_volume", "taker_base", "taker_quote"):
        bad |= np.isinf(rows[amount])  # NaN there means that the source does not tell
    return bad


def _positive_price(rows: Rows, _: Asked) -> Mask:
    return ~((rows["low"] > 0) & (rows["high"] > 0) & (rows["open"] > 0) & (rows["close"] > 0))


def _ohlc_order(rows: Rows, _: Asked) -> Mask:
    top, bottom = np.maximum(rows["open"], rows["close"]), np.minimum(rows["open"], rows["close"])
    bad: Mask = (rows["high"] < top) | (rows["low"] > bottom)
    return bad


def _volume_sign(rows: Rows, _: Asked) -> Mask:
    bad: Mask = rows["trades"] < -1  # -1: the source does not tell
    for amount in ("volume", "quote_volume", "taker_base", "taker_quote"):
        bad |= rows[amount] < 0
    return bad


def _taker_share(rows: Rows, _: Asked) -> Mask:
    # Holds in all 330,000 recorded rows; the tolerance is for venues that add floats up.
    base: Mask = rows["taker_base"] > rows["volume"] * _ROUNDING
    return base | (rows["taker_quote"] > rows["quote_volume"] * _ROUNDING)


def _conflict(rows: Rows, _: Asked) -> Mask:
    bad = np.zeros(len(rows), dtype=np.bool_)
    if not _repeated(rows).any():
        return bad
    for time in np.unique(rows["open_time"][_repeated(rows)]):
        group = rows["open_time"] == time
        bad |= group & (len({row.tobytes() for row in rows[group]}) > 1)
    return bad


def _repeated(rows: Rows, _: Asked | None = None) -> Mask:
    bad = np.zeros(len(rows), dtype=np.bool_)
    bad[1:] = rows["open_time"][1:] == rows["open_time"][:-1]
    return bad


def _off_grid(rows: Rows, asked: Asked) -> Mask:
    times: Slots = rows["open_time"]
    bad: Mask = asked.grid.floor_all(times) != times
    return bad


CHECKS: dict[str, Callable[[Rows, Asked], Mask]] = {
    "time_unit": _time_unit,
    "live": _live,
    "future": _future,
    "inside_window": _inside_window,
    "finite": _finite,
    "positive_price": _positive_price,
    "ohlc_order": _ohlc_order,
    "volume_sign": _volume_sign,
    "taker_share": _taker_share,
    "conflict": _conflict,
    "duplicate": _repeated,
    "off_grid": _off_grid,
}
"""Name → mask of the rows that fail, given rows ascending by open time; the name is the reason in quarantine."""


class DataValidator:
    """Sorts a page's rows into storable, off the grid, refused and live; remembers nothing between pages."""

    def check(self, page: WirePage, grid: Grid, window: Window, proven_ms: int | None) -> Verdict:
        """Judge `page`, asked for `window`, by the source's clock `proven_ms` (ms UTC; None: nothing is closed)."""
        asked = Asked(grid, window, proven_ms)
        refused = [Refused(row.open_time, row.reason, row.payload) for row in page.spoiled]
        rows, live, off_grid = _ascending(page.rows), 0, empty_rows()
        for name, check in CHECKS.items():
            bad = check(rows, asked)
            if not bad.any():
                continue
            failed, rows = rows[bad], rows[~bad]
            if name == "live":
                live = len(failed)
            elif name == "off_grid":
                off_grid = _as_candles(failed)
            else:
                refused.extend(_refuse(row, name) for row in failed)
        candles = _as_candles(rows)
        candles["flags"] = np.where(_is_cut_short(rows, grid), CUT_SHORT, 0) | np.where(_is_anomaly(rows), ANOMALY, 0)
        return Verdict(candles, off_grid, tuple(refused), live)


def snap(candidates: Rows, confirmed: Rows, grid: Grid, taken: Collection[int]) -> tuple[Rows, tuple[Refused, ...]]:
    """Put off-grid rows that a second answer repeated exactly at their slots, where those are free.

    `candidates` and `confirmed` are the `off_grid` rows of two answers, `taken` the slots (ms UTC) that have a row.
    Every candidate is also refused as `off_grid`, with the open time it came with: quarantine keeps what was said.
    """
    said_again = {row.tobytes() for row in confirmed}
    occupied, placed = set(taken), []
    for row in candidates:
        slot = grid.floor(int(row["open_time"]))
        if row.tobytes() in said_again and slot not in occupied:
            occupied.add(slot)
            moved = row.copy()
            moved["open_time"] = slot
            moved["flags"] |= OFF_GRID
            placed.append(moved)
    rows = np.array(placed, dtype=CANDLE) if placed else empty_rows()
    return rows, tuple(_refuse(row, "off_grid") for row in candidates)


def _ascending(rows: Rows) -> Rows:
    times = rows["open_time"]
    return rows[np.argsort(times, kind="stable")] if (times[1:] < times[:-1]).any() else rows


def _as_candles(rows: Rows) -> Rows:
    candles = np.zeros(len(rows), dtype=CANDLE)
    for name in CANDLE.names or ():
        if name != "flags":
            candles[name] = rows[name]
    return candles


def _is_cut_short(rows: Rows, grid: Grid) -> Mask:
    slots: Slots = rows["open_time"]
    closes: Slots = rows["close_time"]
    ends = slots + grid.step if isinstance(grid, FixedGrid) else np.array([grid.next(int(s)) for s in slots], np.int64)
    cut: Mask = (closes != UNKNOWN_TIME) & (closes != ends - 1)
    return cut


def _is_anomaly(rows: Rows) -> Mask:
    """A range or a jump from the page's row before beyond threefold: listings, crashes and wrong rows all look so."""
    jumps = rows["high"] > ANOMALOUS_RATIO * rows["low"]
    opens, closes = rows["open"][1:], rows["close"][:-1]
    jumps[1:] |= (opens > ANOMALOUS_RATIO * closes) | (closes > ANOMALOUS_RATIO * opens)
    return jumps


def row_text(row: np.void) -> str:
    """A decoded row as JSON, as quarantine keeps it: its columns by name, capped."""
    cells = dict(zip(row.dtype.names or (), row.item(), strict=True))
    payload = json.dumps({name: _written(cell) for name, cell in cells.items()}, separators=(",", ":"))
    return payload[:PAYLOAD_CHARACTERS]


def _refuse(row: np.void, reason: str) -> Refused:
    return Refused(int(row["open_time"]), reason, row_text(row))


def _written(cell: float) -> float | str:
    return cell if math.isfinite(cell) else str(cell)  # JSON has no NaN
