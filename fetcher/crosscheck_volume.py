"""Whether volumes are in the unit that they are said to be in. A venue's volumes are its own: their size says nothing.

Pure functions over candles (dtype CANDLE); NaN = the source does not tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from typing import TypeAlias

    from fetcher.model import Rows

    Mask: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.bool_]]"

_ENOUGH = 10
_NEARLY_ALL = 0.8  # the unit is wrong everywhere or nowhere
_TRADED = 0.9  # in markets thinner than that volumes are of any size
_THIN_SHARE, _QUIET_SHARE = 0.01, 0.05
_FAR, _STRANGE = 6.0, 3.5  # decades between the volumes of two venues that their size does not explain, or hardly
_AROUND_PRICE = (-1.2, 0.5)  # decades that their ratio may be off the price, when it is the price


class Unit(Struct, frozen=True):
    """A unit that is not what it should be: the median ratio that gave it away, and the likely reason."""

    ratio: float
    reason: str


def own_unit(rows: Rows, slack: float) -> Unit | None:
    """Quote volume by volume is a candle's mean price, within `slack` of its range, or they are not what they seem."""
    rows = rows[(rows["volume"] > 0) & (rows["quote_volume"] > 0)]
    if len(rows) < _ENOUGH:
        return None
    mean = rows["quote_volume"] / rows["volume"]
    low, high = rows["low"] * (1 - slack), rows["high"] * (1 + slack)
    if ((mean >= low) & (mean <= high)).mean() > 1 - _NEARLY_ALL:
        return None
    swapped = ((1 / mean >= low) & (1 / mean <= high)).mean() > _NEARLY_ALL
    reason = "base and quote are swapped" if swapped else "one of them is in another unit"
    return Unit(float(np.median(mean / rows["close"])), reason)


def unit_between(ours: Rows, theirs: Rows) -> Unit | None:
    """Base volumes of two venues that only another unit explains; rows side by side, of the same open times."""
    both = (ours["volume"] > 0) & (theirs["volume"] > 0)
    if int(both.sum()) < max(_ENOUGH, _TRADED * len(ours)):
        return None
    ratio = float(np.median(theirs["volume"][both] / ours["volume"][both]))
    decades, price = np.log10(ratio), np.log10(float(np.median(ours["close"][both])))
    # a small market has less volume, so that the ratio may fall short of the price, but hardly exceeds it
    if abs(decades) >= _STRANGE and _AROUND_PRICE[0] <= decades - price <= _AROUND_PRICE[1]:
        return Unit(ratio, "about the price, as if base and quote were swapped")
    return Unit(ratio, "more than the size of markets explains") if abs(decades) >= _FAR else None


def quiet(rows: Rows) -> Mask:
    """Rows that say themselves that nothing was traded: their price is an older one. Shape (n,)."""
    nothing: Mask = rows["volume"] == 0
    return nothing


def is_thin(ours: Rows, theirs: Rows) -> bool:
    """Whether one of both markets trades so little that its prices lag: rows side by side, of the same open times."""
    if max(quiet(ours).mean(), quiet(theirs).mean()) > _QUIET_SHARE:
        return True
    both = (ours["volume"] > 0) & (theirs["volume"] > 0)
    if not both.any():
        return False
    ratio = float(np.median(theirs["volume"][both] / ours["volume"][both]))
    return not _THIN_SHARE <= ratio <= 1 / _THIN_SHARE
