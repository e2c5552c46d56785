"""What Prometheus is told: each metric, its labels and where its values come from. Pure; no library of theirs.

Names follow Prometheus' conventions: base units, `_total` for what only grows. Labels are words of the configuration or
of this program, never what a stranger sent: there are as many as series, endpoints and reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from fetcher.endpoints import FAILING, REACHABLE, RESTING, UNKNOWN
from fetcher.goals import judged
from fetcher.observe import samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fetcher.observe.samples import Sample
    from fetcher.sections import Goals
    from fetcher.vitals import Vitals

_SERIES = ("symbol", "timeframe")
_ENDPOINT = ("source", "endpoint")
_STATES = {REACHABLE: "reachable", FAILING: "failing", RESTING: "resting", UNKNOWN: "unknown"}


class Metric(Struct, frozen=True):
    """One metric: its name, what it says, the names of its labels, and its samples at a moment."""

    name: str
    help: str
    labels: tuple[str, ...]
    samples: Callable[[Vitals], Iterable[Sample]]

    @property
    def is_counter(self) -> bool:
        """Whether it only grows."""
        return self.name.endswith("_total")


def metrics(goals: Goals) -> tuple[Metric, ...]:
    """Every metric that is read from the database, in the order of docs/metrics.md."""

    def met(vitals: Vitals) -> Iterator[Sample]:
        for goal in judged(vitals, goals):
            if goal.met is not None:
                yield (goal.name,), float(goal.met)

    def wanted(vitals: Vitals) -> Iterator[Sample]:
        for goal in judged(vitals, goals):
            yield (goal.name,), goal.wanted

    return (
        Metric("fetcher_series_lag_seconds", "Age of the newest stored candle: now less its close.", _SERIES,
               samples.per_series(lambda p: None if p.lag_ms is None else p.lag_ms / 1000)),
        Metric("fetcher_series_overdue_seconds", "For how long the next candle could have been there.", _SERIES,
               samples.per_series(lambda p: p.overdue_ms / 1000)),
        Metric("fetcher_series_interval_seconds", "Length of a candle.", _SERIES,
               samples.per_series(lambda p: p.series.timeframe.ms / 1000)),
        Metric("fetcher_series_completeness_ratio", "Share of expected slots that are explained.", _SERIES,
               samples.per_series(lambda p: p.complete)),
        Metric("fetcher_series_slots", "Slots from the configured start to the last close, by what is known of them.",
               (*_SERIES, "state"), samples.slots),
        Metric("fetcher_series_candles", "Stored candles by who served them.", (*_SERIES, "source"), samples.candles),
        Metric("fetcher_series_fallback_candles", "Stored candles of others than the preferred source.", _SERIES,
               samples.per_series(lambda p: p.fallback_rows)),
        Metric("fetcher_series_unfetched", "Series of which nothing is known yet.", (),
               samples.one(lambda v: v.unfetched)),
        Metric("fetcher_completeness_ratio", "Share of the expected slots of all series that are explained.", (),
               samples.one(lambda v: v.completeness)),
        Metric("fetcher_gap_recovery_ratio", "Share of a week's jobs for gaps and history that were not given up.", (),
               samples.one(lambda v: v.gap_recovery)),
        Metric("fetcher_api_success_ratio", "Share of a day's requests to APIs that were answered well.", (),
               samples.one(lambda v: v.api_success)),
        Metric("fetcher_api_response_seconds", "Mean time to a good answer of an API, over a day.", (),
               samples.one(lambda v: None if v.response_ms is None else v.response_ms / 1000)),
        Metric("fetcher_goal", "What is wanted: a share, or seconds.", ("goal",), wanted),
        Metric("fetcher_goal_met", "1 where the goal is met, 0 where it is missed.", ("goal",), met),
        Metric("fetcher_jobs", "Open jobs by purpose and state.", ("kind", "status"), samples.jobs),
        Metric("fetcher_oldest_job_age_seconds", "Age of the oldest job that waits; 0 without any.", (),
               samples.one(lambda v: 0 if v.oldest_job_ms is None else max(0, v.now_ms - v.oldest_job_ms) / 1000)),
        Metric("fetcher_requests_total", "Requests sent.", _ENDPOINT, samples.per_endpoint(lambda e: e.requests)),
        Metric("fetcher_request_errors_total", "Requests that failed, for whatever reason.", _ENDPOINT,
               samples.per_endpoint(lambda e: e.errors)),
        Metric("fetcher_request_success_ratio", "Share of requests that were answered well.", (*_ENDPOINT, "window"),
               samples.success),
        Metric("fetcher_request_duration_seconds", "Time to a good answer.", (*_ENDPOINT, "window", "stat"),
               samples.latency),
        Metric("fetcher_endpoint_state", "1 for the state that the endpoint is in, else 0.", (*_ENDPOINT, "state"),
               samples.one_of(_STATES.values(), lambda e: _STATES[e.state])),
        Metric("fetcher_endpoint_rest_seconds", "For how long it is left alone from now on; 0: it may be asked.",
               _ENDPOINT, samples.rest),
        Metric("fetcher_breaker_state", "1 for the state that the circuit breaker is in, else 0.",
               (*_ENDPOINT, "state"), samples.one_of(("closed", "open", "half-open"), lambda e: e.breaker)),
        Metric("fetcher_budget_used_weight", "Request weight taken in the current budget window.", ("source", "pool"),
               samples.budget(lambda e: e.used)),
        Metric("fetcher_budget_limit_weight", "Request weight that a budget window allows.", ("source", "pool"),
               samples.budget(lambda e: e.weight_limit)),
        Metric("fetcher_quarantine_rows", "Refused rows that are held.", ("reason",),
               lambda v: samples.quarantine(v, new=False)),
        Metric("fetcher_quarantine_new_rows", "Refused rows first received in the last hour.", ("reason",),
               lambda v: samples.quarantine(v, new=True)),
        Metric("fetcher_run_start_timestamp_seconds", "When the last run that is over began.", ("kind",),
               samples.runs(lambda start, _: start / 1000)),
        Metric("fetcher_run_end_timestamp_seconds", "When the last run that is over ended.", ("kind",),
               samples.runs(lambda _, end: end / 1000)),
        Metric("fetcher_run_duration_seconds", "How long the last run that is over took.", ("kind",),
               samples.runs(lambda start, end: (end - start) / 1000)),
        Metric("fetcher_run_outcome", "1 for how the last run that is over ended, else 0.", ("kind", "outcome"),
               samples.outcomes),
        Metric("fetcher_runs_failed_in_row", "How many of the latest runs failed one after the other.", (),
               samples.one(lambda v: v.failed_in_row)),
        Metric("fetcher_uptime_seconds", "For how long the daemon has been up.", (),
               samples.one(lambda v: None if v.up_since_ms is None else max(0, v.now_ms - v.up_since_ms) / 1000)),
        Metric("fetcher_vitals_timestamp_seconds", "When these numbers were read.", (),
               samples.one(lambda v: v.now_ms / 1000)),
    )  # fmt: skip
