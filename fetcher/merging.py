"""Which incoming candles are written over those that are there: the better source wins. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from fetcher.model import ANOMALY, VALUE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.model import Rows
    from fetcher.validation import Mask


class Merge(Struct, frozen=True):
    """Incoming rows to `write`, old values `replaced` by them, and the rows `held`, which this source now backs."""

    write: Rows
    replaced: Rows
    held: Rows


def decide(existing: Rows, incoming: Rows, source_id: int, ranks: Mapping[int, int]) -> Merge:
    """Which incoming candles (dtype CANDLE, all from `source_id`) to write over the existing ones (CANDLE + source_id).

    A new slot is written; a better or the same source replaces what differs; a worse one never does. A source that
    the configuration no longer names is worse than any that it does. Pure.
    """
    if len(existing) == 0 or len(incoming) == 0:
        return Merge(incoming, existing[:0], incoming)
    places = np.searchsorted(existing["open_time"], incoming["open_time"])
    places = np.minimum(places, len(existing) - 1)
    known = existing["open_time"][places] == incoming["open_time"]
    there = existing[places]
    worst = len(ranks)
    incoming_rank = ranks.get(source_id, worst)
    rank_of = np.array([ranks.get(number, worst) for number in range(int(there["source_id"].max()) + 1)])
    their_rank = rank_of[there["source_id"]]
    outranked = known & (their_rank < incoming_rank)
    same = known & (there["source_id"] == source_id) & _equal(there, incoming)
    write = ~outranked & ~same
    return Merge(incoming[write], there[write & known], incoming[~outranked])


def _equal(left: Rows, right: Rows) -> Mask:
    """Row by row whether two arrays hold the same candle; NaN equals NaN, and `anomaly` depends on the page's edge."""
    equal: Mask = (left["flags"] | ANOMALY) == (right["flags"] | ANOMALY)
    for column in VALUE_COLUMNS:
        a, b = left[column], right[column]
        equal &= (a == b) | ((a != a) & (b != b))  # noqa: PLR0124 (NaN is what differs from itself; trades are integers)
    return equal
