"""Two sources' candles of the same time compared: what differs beyond what is usual is recognised and named. Pure.

Tolerances follow what is compared. Two venues trade one price within a few per mille, but in a crash each has a price
of its own for minutes: what is allowed grows with the smaller of both ranges around a candle, so that a source's own
wrong candle does not excuse itself. A composite index is in dollars where ours may be in a stable coin, and closes when
it is sampled. Volumes belong to a venue: across venues only their unit is judged, by order of magnitude.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from fetcher.clock import format_utc
from fetcher.crosscheck_time import moved, repeated, shifts, still_runs
from fetcher.crosscheck_volume import is_thin, own_unit, quiet, unit_between
from fetcher.model import CUT_SHORT, HOUR, MINUTE, OFF_GRID

if TYPE_CHECKING:
    from typing import TypeAlias

    from fetcher.model import Rows, Timeframe

    Floats: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.float64]]"
    Mask: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.bool_]]"

VENUE, INDEX = "venue", "index"  # kinds of source: one that trades, one that averages those that do

PRICE = "price"  # beyond tolerance, for no reason that can be named
STALE = "stale"  # their newest candles are missing, or repeat one another, while ours move
FROZEN = "frozen"  # one of both repeats one candle while the other moves
FACTOR = "factor"  # prices differ by a power of ten: cents, thousands, satoshi
INVERTED = "inverted"  # prices are the other way round: quote in base
SHIFTED = "shifted"  # the same candles at another time: close stamps, time zones, daylight saving
VOLUME_UNIT = "volume_unit"  # volumes in another unit: base and quote currency swapped, lots, satoshi
KINDS = (PRICE, STALE, FROZEN, FACTOR, INVERTED, SHIFTED, VOLUME_UNIT)

ENOUGH = 10  # candles in common, below which nothing is said

_FROZEN_ROWS, _STALE_ROWS, _LACKING_ROWS = 8, 5, 20
_MOVES = 0.002  # what the other has to move (log) for a price that stands still to be strange
_QUIET_ROWS, _QUIET_MS, _QUIET_MOVES = 100, 6 * HOUR, 0.01  # the same where no trade is claimed: real in thin markets
_ALONE = 2.0  # fewer than _TOGETHER candles in a row have to be so many times beyond tolerance
_TOGETHER = 3
_POWER_FIT = 0.1  # (log) how near to a power of ten, or to 1/price, at most


class Disagreement(Struct, frozen=True):
    """What differs in `[start_ms, end_ms)` (ms UTC), in `rows` candles, in words.

    `worst`: of `price` the largest deviation (0.05 = 5 %), of `factor` theirs / ours, of `shifted` ms that theirs are
    late, of `volume_unit` the median ratio that gave it away, of `inverted` the median of theirs × ours, of `stale` and
    `frozen` how far the other one moved (0.05 = 5 %).
    """

    kind: str
    start_ms: int
    end_ms: int
    rows: int
    message: str
    worst: float


def compare(
    ours: Rows, theirs: Rows, timeframe: Timeframe, ours_kind: str, theirs_kind: str,
    *, names: tuple[str, str] = ("ours", "theirs"), newest: bool = True,
) -> list[Disagreement]:  # fmt: skip
    """Everything that two sources' validated candles (dtype CANDLE, ascending, unique) disagree about, one per kind.

    `names` are the sources for the sentences; `newest`: whether the window ends now, so that a missing end is staleness
    and not a halt. Fewer than ENOUGH candles in common say nothing, but for a newest end that is missing.
    """
    two = _Two(timeframe, names, _base_tolerance(timeframe, INDEX in (ours_kind, theirs_kind)))
    found = two.lacking(ours, theirs) if newest else []
    if not two.inverted_all(ours, theirs):
        late, theirs = two.shifted(ours, theirs)
        found += late
    common, mine, other = np.intersect1d(ours["open_time"], theirs["open_time"], return_indices=True)
    if len(common) < ENOUGH:
        return found
    o, t = ours[mine], theirs[other]
    still_theirs, their_mask = two.still(t, o, names[1], stale=newest)
    still_ours, our_mask = two.still(o, t, names[0], stale=False)
    found += still_theirs + still_ours
    usable = ~(quiet(o) | quiet(t) | their_mask | our_mask)
    usable &= ((o["flags"] | t["flags"]) & (CUT_SHORT | OFF_GRID)) == 0  # a halt's close is of another time
    venues = ours_kind == theirs_kind == VENUE
    prices = two.prices(o, t, usable, 2.0 if venues and is_thin(o, t) else 1.0)
    found += prices
    if not {FACTOR, INVERTED} & {each.kind for each in prices}:
        found += two.volumes(o, t, venues=venues)
    return found


def in_common(ours: Rows, theirs: Rows) -> int:
    """How many candles two sources have at the same open time."""
    return len(np.intersect1d(ours["open_time"], theirs["open_time"]))


class _Two(Struct, frozen=True):
    """Two sources at one timeframe: their names, and the tolerance (log) of a calm market."""

    timeframe: Timeframe
    names: tuple[str, str]
    base: float

    def lacking(self, ours: Rows, theirs: Rows) -> list[Disagreement]:
        last = int(theirs["open_time"][-1]) if len(theirs) else -1
        tail = ours[ours["open_time"] > last]
        span = _span(tail)
        sparse = len(theirs) > 0 and len(theirs) < 0.8 * (len(ours) - len(tail))  # leaves out candles without trades
        many = len(tail) >= _LACKING_ROWS and (len(theirs) == 0 or not sparse) and span > 0
        if not (many or (len(tail) >= _STALE_ROWS and not sparse and span > max(_MOVES, self.base))):
            return []
        text = f"{self.names[1]} lacks the newest {len(tail)} candles, in which {self.names[0]} moved {span:.2%}"
        return [self._told(STALE, tail["open_time"], text, span)]

    def shifted(self, ours: Rows, theirs: Rows) -> tuple[list[Disagreement], Rows]:
        """Shifts by their size, and their rows put where they fit."""
        found, placed = [], theirs.copy()
        late = shifts(ours, theirs, self.timeframe)
        for ms in dict.fromkeys(each.ms for each in late):
            parts = [slice(each.first, each.last) for each in late if each.ms == ms]
            for part in parts:
                placed["open_time"][part] = moved(theirs["open_time"][part], self.timeframe, -ms)
            times = np.concatenate([theirs["open_time"][part] for part in parts])
            found.append(self._told(SHIFTED, times, f"{self.names[1]} {_shift_words(ms, self.timeframe)}", ms))
        if late:
            _, first = np.unique(placed["open_time"], return_index=True)
            placed = placed[first]
        return found, placed

    def inverted_all(self, ours: Rows, theirs: Rows) -> bool:
        """Whether their prices move against ours throughout: their shape then fits at wrong times only."""
        _, mine, other = np.intersect1d(ours["open_time"], theirs["open_time"], return_indices=True)
        if len(mine) < ENOUGH:
            return False
        a, b = np.log(ours["close"][mine]), np.log(theirs["close"][other])
        return bool(abs(np.median(a + b)) < _POWER_FIT < abs(np.median(a - b)))

    def still(self, rows: Rows, other: Rows, name: str, *, stale: bool) -> tuple[list[Disagreement], Mask]:
        """Runs in which `rows` repeat one candle while `other`, at the same times, moves; and which rows those are."""
        mask, parts, worst, at_end = np.zeros(len(rows), dtype=np.bool_), [], 0.0, False
        for first, last in still_runs(rows, _STALE_ROWS if stale else _FROZEN_ROWS):
            ends = stale and last == len(rows)
            span = _span(other[first:last])
            silent = bool(quiet(rows[first + 1 : last]).all())
            long_quiet = last - first >= _QUIET_ROWS and (last - first) * self.timeframe.ms >= _QUIET_MS
            alive = 2 * int(repeated(other[first:last]).sum()) < last - first
            strange = long_quiet and span > _QUIET_MOVES if silent else alive and span > _MOVES
            if strange and (ends or last - first >= _FROZEN_ROWS):
                mask[first:last], worst, at_end = True, max(worst, span), at_end or ends
                parts.append(rows["open_time"][first:last])
        if not parts:
            return [], mask
        times = np.concatenate(parts)
        text = f"{name} repeats one candle {len(times)} times while the other moves {worst:.2%}"
        return [self._told(STALE if at_end else FROZEN, times, text, worst)], mask

    def prices(self, o: Rows, t: Rows, usable: Mask, wider: float) -> list[Disagreement]:
        o, t = o[usable], t[usable]
        if len(o) < ENOUGH:
            return []
        apart = np.log(t["close"]) - np.log(o["close"])
        opens = np.log(t["open"]) - np.log(o["open"])
        loose = _swing_share(self.timeframe) * np.minimum(_swing(o), _swing(t))
        allowed = self.base * wider + loose
        deviation = np.maximum(np.abs(apart), np.abs(opens))
        beyond = _in_runs(deviation > allowed, _TOGETHER) | (deviation > _ALONE * allowed)
        power = np.rint(apart / np.log(10))
        fit = np.minimum(allowed, _POWER_FIT)
        by_power = beyond & (power != 0) & (np.abs(apart - power * np.log(10)) <= fit)
        turned = np.log(t["close"]) + np.log(o["close"])
        by_turn = beyond & (np.abs(turned) <= fit)
        both = by_power & by_turn  # prices near 10^(n/2): only the one that stays constant is the reason
        if both.any():
            turns = _spread(turned[both]) < _spread(apart[both])
            by_power, by_turn = by_power & ~(both & turns), by_turn & ~(both & (not turns))
        found = self._factors(o, apart, power, by_power)
        if by_turn.any():
            text = f"{self.names[1]} gives 1/price: the pair is the other way round"
            found.append(self._told(INVERTED, o["open_time"][by_turn], text, float(np.exp(np.median(turned[by_turn])))))
        named = by_power | by_turn
        return found + self._plain(o, t, (deviation, beyond & ~named, loose, wider), ~named)

    def _factors(self, o: Rows, apart: Floats, power: Floats, which: Mask) -> list[Disagreement]:
        found = []
        for exponent in np.unique(power[which]):
            mine = which & (power == exponent)
            factor = float(np.exp(np.median(apart[mine])))
            text = f"prices of {self.names[1]} are {10.0**exponent:g} times those of {self.names[0]}: another unit"
            found.append(self._told(FACTOR, o["open_time"][mine], text, factor))
        return found

    def _plain(self, o: Rows, t: Rows, judged: tuple[Floats, Mask, Floats, float], rest: Mask) -> list[Disagreement]:
        deviation, beyond, loose, wider = judged
        if beyond.any():
            place = int(np.argmax(np.where(beyond, deviation, 0.0)))
            ratio = float(np.expm1(deviation[place]))
            text = (
                f"prices of {self.names[1]} differ in {int(beyond.sum())} of {len(o)} candles, most at "
                f"{format_utc(int(o['open_time'][place]))} by {ratio:.2%} (close {t['close'][place]:.10g} against "
                f"{o['close'][place]:.10g})"
            )
            return [self._told(PRICE, o["open_time"][beyond], text, ratio)]
        if int(rest.sum()) < 2 * ENOUGH:
            return []
        for name in ("close", "open", "high", "low"):
            bias = float(np.median(np.log(t[name][rest]) - np.log(o[name][rest])))
            slack = 0.0 if name in {"close", "open"} else float(np.median(loose[rest]))
            if abs(bias) > self.base * wider + slack:
                text = f"{name} of {self.names[1]} is {np.expm1(bias):+.2%} away from {self.names[0]}, all the time"
                return [self._told(PRICE, o["open_time"][rest], text, float(np.expm1(abs(bias))))]
        return []

    def volumes(self, o: Rows, t: Rows, *, venues: bool) -> list[Disagreement]:
        """Volumes in another unit: within a source against its own prices, between two venues by order of magnitude."""
        for rows, name in ((t, self.names[1]), (o, self.names[0])):
            strange = own_unit(rows, self.base)
            if strange is not None:
                text = f"quote volume by volume of {name} is no price of its candles: {strange.reason}"
                return [self._told(VOLUME_UNIT, rows["open_time"], text, strange.ratio)]
        strange = unit_between(o, t) if venues else None
        if strange is None:
            return []
        text = f"volumes of {self.names[1]} are {strange.ratio:.3g} times those of {self.names[0]}: {strange.reason}"
        return [self._told(VOLUME_UNIT, o["open_time"], text, strange.ratio)]

    def _told(self, kind: str, times: Floats, text: str, worst: float) -> Disagreement:
        first, last = int(np.min(times)), int(np.max(times))
        return Disagreement(kind, first, self.timeframe.grid(first).next(last), len(times), text, float(worst))


def _base_tolerance(timeframe: Timeframe, by_index: bool) -> float:  # noqa: FBT001 - private, named at its one call
    steps = (0.025, 0.02) if by_index else (0.005, 0.003)
    if timeframe.ms < 5 * MINUTE and not by_index:
        return 0.008
    return steps[0] if timeframe.ms < HOUR else steps[1]


def _swing_share(timeframe: Timeframe) -> float:
    """How much of the range around a candle two sources' closes may be apart: they differ by seconds, not by days."""
    if timeframe.ms < 5 * MINUTE:
        return 1.0
    return 0.5 if timeframe.ms < HOUR else 0.25


def _swing(rows: Rows) -> Floats:
    """The range (log) of each row and both beside it: shape (n,)."""
    high, low = np.pad(rows["high"], 1, mode="edge"), np.pad(rows["low"], 1, mode="edge")
    top = np.maximum(np.maximum(high[:-2], high[1:-1]), high[2:])
    bottom = np.minimum(np.minimum(low[:-2], low[1:-1]), low[2:])
    swing: Floats = np.log(top) - np.log(bottom)
    return swing


def _span(rows: Rows) -> float:
    """How far the closes range (log)."""
    return float(np.log(rows["close"].max()) - np.log(rows["close"].min())) if len(rows) else 0.0


def _spread(values: Floats) -> float:
    return float(np.median(np.abs(values - np.median(values))))


def _in_runs(mask: Mask, least: int) -> Mask:
    """The mask without its runs of fewer than `least`."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    kept = np.zeros(len(mask), dtype=np.bool_)
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        kept[first:last] = last - first >= least
    return kept


def _shift_words(ms: int, timeframe: Timeframe) -> str:
    direction = "late" if ms > 0 else "early"
    if abs(ms) == timeframe.ms:
        cause = "the time of its close?" if ms > 0 else "counted from the candle before?"
        also = ", or an hour of daylight saving" if abs(ms) == HOUR else ""
        return f"stamps its candles one candle {direction}: {cause[:-1]}{also}?"
    return f"stamps its candles {abs(ms) / HOUR:g} h {direction}: another time zone or daylight saving?"
