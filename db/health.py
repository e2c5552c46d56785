"""How each endpoint did hour by hour: requests, errors, and the latency of its good answers as a histogram.

Each function runs in the caller's transaction; those that write need `writing()`. Times are ms UTC. Buckets of latency
are spaced evenly by logarithm, four to a doubling, so that a percentile is known to within a tenth of itself.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct, field
from sqlalchemy import delete, select, update

from db.dialect import upsert
from db.schema import endpoint_hours, endpoint_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from db.breakers import Tally

_c = endpoint_hours.c

HOUR_MS = 3_600_000
KEPT_MS = 8 * 24 * HOUR_MS
_PER_DOUBLING = 4


class Spell(Struct, frozen=True):
    """How an endpoint did over a while: requests and errors, mean and percentiles of latency in ms (None: no answer).

    A while that begins inside an hour takes that hour's counts by the share that belongs to it.
    """

    requests: int
    errors: int
    success: float
    p50_ms: float | None
    p95_ms: float | None
    mean_ms: float | None = None


class _Sum(Struct):
    requests: float = 0.0
    errors: float = 0.0
    histogram: dict[int, float] = field(default_factory=dict)

    def spell(self) -> Spell:
        return Spell(
            math.ceil(self.requests),
            math.ceil(self.errors),
            1 - self.errors / self.requests,
            percentile(self.histogram, 0.5),
            percentile(self.histogram, 0.95),
            mean(self.histogram),
        )


def bucket(latency_ms: float) -> int:
    """The bucket of a latency: 0 for a millisecond and less, then four to a doubling."""
    return math.floor(_PER_DOUBLING * math.log2(max(latency_ms, 1.0)))


def percentile(histogram: Mapping[int, float], share: float) -> float | None:
    """The latency in ms that `share` (0 … 1) of the counted answers did not exceed; None where none is counted."""
    wanted = share * sum(histogram.values())
    reached = 0.0
    for place in sorted(histogram):
        reached += histogram[place]
        if reached >= wanted and reached > 0:
            return _middle(place)
    return None


def mean(histogram: Mapping[int, float]) -> float | None:
    """The mean latency in ms of the counted answers; None where none is counted."""
    counted = sum(histogram.values())
    return sum(_middle(place) * count for place, count in histogram.items()) / counted if counted else None


def _middle(place: int) -> float:
    """The latency in ms that stands for a bucket."""
    return float(2 ** ((place + 0.5) / _PER_DOUBLING))


def add(conn: Connection, endpoint: str, hour_ms: int, tally: Tally) -> None:
    """Count the outcomes of requests that ended in the hour which begins at `hour_ms`."""
    nothing = {"endpoint": endpoint, "hour_ms": hour_ms, "requests": 0, "errors": 0, "latency": "{}"}
    row = (_c.endpoint == endpoint) & (_c.hour_ms == hour_ms)
    # First the row, then its lock: two processes that begin an hour must not forget each other's histogram.
    conn.execute(
        upsert(conn, endpoint_hours).values(nothing).on_conflict_do_nothing(index_elements=["endpoint", "hour_ms"])
    )
    known = conn.execute(select(_c.latency).where(row).with_for_update()).scalar_one()
    histogram = Counter(_decoded(known))
    histogram.update(tally.latency)
    conn.execute(
        update(endpoint_hours)
        .where(row)
        .values(
            requests=_c.requests + tally.requests,
            errors=_c.errors + tally.errors,
            latency=json.dumps({str(place): histogram[place] for place in sorted(histogram)}, separators=(",", ":")),
        )
    )


def read(conn: Connection, since_ms: int) -> dict[str, Spell]:
    """How each endpoint did from `since_ms` on; endpoints that were not asked since are left out."""
    sums: dict[str, _Sum] = {}
    query = select(_c.endpoint, _c.hour_ms, _c.requests, _c.errors, _c.latency).where(_c.hour_ms > since_ms - HOUR_MS)
    for endpoint, hour_ms, requests, errors, latency in conn.execute(query.order_by(_c.endpoint)):
        share = min(1.0, (hour_ms + HOUR_MS - since_ms) / HOUR_MS)
        found = sums.setdefault(endpoint, _Sum())
        found.requests += requests * share
        found.errors += errors * share
        for place, count in _decoded(latency).items():
            found.histogram[place] = found.histogram.get(place, 0.0) + count * share
    return {endpoint: each.spell() for endpoint, each in sums.items() if each.requests > 0}


def budget_spans(conn: Connection) -> dict[str, int]:
    """How long the budget window of each endpoint lasts, ms, where that was noted."""
    state = endpoint_state.c
    rows = conn.execute(select(state.endpoint, state.window_span_ms).where(state.window_span_ms.is_not(None)))
    return {endpoint: span for endpoint, span in rows}  # noqa: C416 (dict() of rows loses their types)


def prune(conn: Connection, now_ms: int) -> int:
    """Delete the hours older than eight days; how many."""
    return conn.execute(delete(endpoint_hours).where(_c.hour_ms < now_ms - KEPT_MS)).rowcount


def _decoded(latency: str) -> dict[int, int]:
    return {int(place): count for place, count in json.loads(latency).items()}
