"""How the vitals become numbers with labels: one function for each shape of metric. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.endpoints import RESTING
from fetcher.planner import PRIORITY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fetcher.endpoints import EndpointState
    from fetcher.standing import Standing
    from fetcher.vitals import Vitals

Sample = tuple[tuple[str, ...], float]
"""Values of the labels, in the metric's order, and the number."""

OUTCOMES = ("ok", "partial", "failed")
_MOST_REASONS = 50


def per_series(number: Callable[[Standing], float | None]) -> Callable[[Vitals], Iterator[Sample]]:
    """One sample for each series that has the number."""

    def samples(vitals: Vitals) -> Iterator[Sample]:
        for place in vitals.series:
            value = number(place)
            if value is not None:
                yield (place.series.symbol, place.series.timeframe.name), value

    return samples


def slots(vitals: Vitals) -> Iterator[Sample]:
    """Slots of each series by what is known of them."""
    for place in vitals.series:
        name = (place.series.symbol, place.series.timeframe.name)
        for state in ("stored", "quiet", "absent", "queued", "failed", "unplanned"):
            yield (*name, state), getattr(place, state)


def candles(vitals: Vitals) -> Iterator[Sample]:
    """Stored candles of each series by who served them."""
    for place in vitals.series:
        for source, rows in place.by_source.items():
            yield (place.series.symbol, place.series.timeframe.name, source), rows


def one(number: Callable[[Vitals], float | None]) -> Callable[[Vitals], Iterator[Sample]]:
    """One sample, where there is the number."""

    def samples(vitals: Vitals) -> Iterator[Sample]:
        value = number(vitals)
        if value is not None:
            yield (), value

    return samples


def jobs(vitals: Vitals) -> Iterator[Sample]:
    """Open jobs, also where there are none."""
    for kind in PRIORITY:
        for status in ("queued", "leased", "failed"):
            yield (kind, status), vitals.jobs.get((kind, status), 0)


def per_endpoint(number: Callable[[EndpointState], float | None]) -> Callable[[Vitals], Iterator[Sample]]:
    """One sample for each endpoint that has the number."""

    def samples(vitals: Vitals) -> Iterator[Sample]:
        for each in vitals.endpoints:
            value = number(each)
            if value is not None:
                yield (each.source, each.endpoint), value

    return samples


def one_of(
    states: Iterable[str], state: Callable[[EndpointState], str]
) -> Callable[[Vitals], Iterator[Sample]]:  # fmt: skip
    """For each endpoint and each state 1 where it is in that, else 0."""

    def samples(vitals: Vitals) -> Iterator[Sample]:
        for each in vitals.endpoints:
            for name in states:
                yield (each.source, each.endpoint, name), float(state(each) == name)

    return samples


def success(vitals: Vitals) -> Iterator[Sample]:
    """The share of good answers of each endpoint over an hour and a day."""
    for each in vitals.endpoints:
        for window, spell in (("1h", each.hour), ("24h", each.day)):
            if spell is not None:
                yield (each.source, each.endpoint, window), spell.success


def latency(vitals: Vitals) -> Iterator[Sample]:
    """Mean and percentiles of good answers of each endpoint over an hour and a day, in seconds."""
    for each in vitals.endpoints:
        for window, spell in (("1h", each.hour), ("24h", each.day)):
            stats = {} if spell is None else {"mean": spell.mean_ms, "p50": spell.p50_ms, "p95": spell.p95_ms}
            for stat, ms in stats.items():
                if ms is not None:
                    yield (each.source, each.endpoint, window, stat), ms / 1000


def budget(number: Callable[[EndpointState], float | None]) -> Callable[[Vitals], Iterator[Sample]]:
    """One sample for each pool, which several endpoints may draw on."""

    def samples(vitals: Vitals) -> Iterator[Sample]:
        pools = {(each.source, each.pool): number(each) for each in vitals.endpoints if each.weight_limit is not None}
        for (source, pool), value in pools.items():
            if pool is not None and value is not None:
                yield (source, pool), value

    return samples


def quarantine(vitals: Vitals, *, new: bool) -> Iterator[Sample]:
    """Refused rows of the most frequent reasons: all that are held, or the new ones."""
    most = sorted(vitals.quarantine.items(), key=lambda each: (-each[1].rows, each[0]))[:_MOST_REASONS]
    for reason, held in most:
        yield (reason,), held.new if new else held.rows


def runs(number: Callable[[int, int], float]) -> Callable[[Vitals], Iterator[Sample]]:
    """One sample for each kind of run that is over, from its begin and end (ms UTC)."""

    def samples(vitals: Vitals) -> Iterator[Sample]:
        for kind in sorted({run.kind for run in vitals.runs}):
            run = vitals.latest(kind)
            if run is not None and run.ended_ms is not None:
                yield (kind,), number(run.started_ms, run.ended_ms)

    return samples


def outcomes(vitals: Vitals) -> Iterator[Sample]:
    """For each kind of run 1 for how the last one ended, else 0."""
    for kind in sorted({run.kind for run in vitals.runs}):
        run = vitals.latest(kind)
        for outcome in OUTCOMES if run is not None else ():
            yield (kind, outcome), float(run is not None and run.outcome == outcome)


def rest(vitals: Vitals) -> Iterator[Sample]:
    """For how many seconds each endpoint is left alone from now on."""
    for each in vitals.endpoints:
        rests = each.until_ms is not None and each.state == RESTING
        yield (each.source, each.endpoint), max(0, (each.until_ms or 0) - vitals.now_ms) / 1000 if rests else 0
