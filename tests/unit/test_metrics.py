"""The metrics as Prometheus is told them: names, labels and values; the prose, rules and dashboard that go by them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest  # noqa: TID253 (a test may wait)
from prometheus_client.parser import text_string_to_metric_families  # noqa: TID253 (a test may wait)

from db.health import Spell
from db.intervals import Interval
from db.quarantine import Held
from db.state import RunRow
from fetcher.endpoints import RESTING, UNKNOWN, EndpointState
from fetcher.model import HOUR, MINUTE, Series, Timeframe
from fetcher.observe.exporter import DATABASE_UP, Numbers
from fetcher.observe.metrics import metrics
from fetcher.sections import Goals
from fetcher.standing import standing
from fetcher.vitals import Vitals

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "cron" / "prometheus"
METRICS = metrics(Goals())
LABELS = {metric.name: set(metric.labels) for metric in METRICS} | {DATABASE_UP: set()}
SCRAPED = {"instance", "job"}  # labels that Prometheus adds
OTHERS = {"process_resident_memory_bytes"}  # of the library
NOW = 100 * HOUR
SPELL = Spell(100, 1, 0.99, 80.0, 310.0, 100.0)
SERIES = Series(1, "BTC/USDT", Timeframe("1h"), 0, ("binance",), listed_ms=0, closed_until_ms=100 * HOUR)
VITALS = Vitals(
    NOW,
    (
        standing(
            SERIES,
            [Interval(0, 90 * HOUR, "stored", 90, 1, "rest"), Interval(90 * HOUR, 92 * HOUR, "stored", 1, 2, "rest")],
            [], {1: "binance", 2: "okx"}, NOW,
        ),
        standing(replace(SERIES, id=2, symbol="ETH/USDT", closed_until_ms=None), [], [], {}, NOW),
    ),
    (
        EndpointState(
            "binance http://a", "binance", RESTING, "429", NOW + MINUTE, "half-open", 120, 2, used=40, weight_limit=600,
            pool="binance", hour=SPELL, day=SPELL,
        ),
        EndpointState("binance http://b", "binance", "reachable", used=40, weight_limit=600, pool="binance"),
        EndpointState("okx", "okx", UNKNOWN),
    ),
    {("gap", "queued"): 3, ("tail", "failed"): 1},
    NOW - 5000,
    19, 1,
    {"frozen": Held(7, 2)},
    (
        RunRow(3, "run", NOW - 1000, "host", 1, None, None, None),
        RunRow(2, "run", NOW - 3000, "host", 1, NOW - 2000, "partial", 1),
        RunRow(1, "backfill", 1000, "host", 1, 61_000, "ok", 0),
    ),
    NOW - 7000,
)  # fmt: skip


def told(vitals: Vitals | None = VITALS) -> dict[str, dict[tuple[str, ...], float]]:
    """What a scrape says: name → values of the labels, sorted by the labels' names → number."""
    registry = CollectorRegistry()
    registry.register(Numbers(lambda: vitals, Goals))
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            key = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[key] = sample.value
    return found


EXPECTED: dict[str, dict[tuple[str, ...], float]] = {
    "fetcher_database_up": {(): 1},
    "fetcher_vitals_timestamp_seconds": {(): 360_000},
    "fetcher_uptime_seconds": {(): 7},
    "fetcher_series_lag_seconds": {("BTC/USDT", "1h"): 8 * 3600},
    "fetcher_series_overdue_seconds": {("BTC/USDT", "1h"): 7 * 3600, ("ETH/USDT", "1h"): 99 * 3600},
    "fetcher_series_interval_seconds": {("BTC/USDT", "1h"): 3600, ("ETH/USDT", "1h"): 3600},
    "fetcher_series_completeness_ratio": {("BTC/USDT", "1h"): 0.92, ("ETH/USDT", "1h"): 0},
    "fetcher_series_candles": {("binance", "BTC/USDT", "1h"): 90, ("okx", "BTC/USDT", "1h"): 1},
    "fetcher_series_fallback_candles": {("BTC/USDT", "1h"): 1, ("ETH/USDT", "1h"): 0},
    "fetcher_series_unfetched": {(): 1},
    "fetcher_gap_recovery_ratio": {(): 0.95},
    "fetcher_api_success_ratio": {(): 0.99},
    "fetcher_api_response_seconds": {(): 0.1},
    "fetcher_goal": {("api_success",): 0.99, ("response",): 2, ("gap_recovery",): 0.95, ("completeness",): 1},
    "fetcher_goal_met": {("api_success",): 1, ("response",): 1, ("gap_recovery",): 1, ("completeness",): 0},
    "fetcher_oldest_job_age_seconds": {(): 5},
    "fetcher_requests_total": {
        ("binance http://a", "binance"): 120, ("binance http://b", "binance"): 0, ("okx", "okx"): 0,
    },
    "fetcher_request_errors_total": {
        ("binance http://a", "binance"): 2, ("binance http://b", "binance"): 0, ("okx", "okx"): 0,
    },
    "fetcher_request_success_ratio": {
        ("binance http://a", "binance", "1h"): 0.99, ("binance http://a", "binance", "24h"): 0.99,
    },
    "fetcher_request_duration_seconds": {
        ("binance http://a", "binance", stat, window): seconds
        for stat, seconds in (("mean", 0.1), ("p50", 0.08), ("p95", 0.31)) for window in ("1h", "24h")
    },
    "fetcher_endpoint_rest_seconds": {
        ("binance http://a", "binance"): 60, ("binance http://b", "binance"): 0, ("okx", "okx"): 0,
    },
    "fetcher_budget_used_weight": {("binance", "binance"): 40},
    "fetcher_budget_limit_weight": {("binance", "binance"): 600},
    "fetcher_quarantine_rows": {("frozen",): 7},
    "fetcher_quarantine_new_rows": {("frozen",): 2},
    "fetcher_run_start_timestamp_seconds": {("run",): 359_997, ("backfill",): 1},
    "fetcher_run_end_timestamp_seconds": {("run",): 359_998, ("backfill",): 61},
    "fetcher_run_duration_seconds": {("run",): 1, ("backfill",): 60},
    "fetcher_runs_failed_in_row": {(): 0},
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_a_metric_has_its_values(name: str) -> None:
    """In base units, one for each series, endpoint, reason or kind; what is not known is left out."""
    assert told()[name] == {labels: pytest.approx(value) for labels, value in EXPECTED[name].items()}


def test_slots_are_told_by_what_is_known_of_them() -> None:
    """They add up to what is expected; where nothing is known there are none."""
    slots = told()["fetcher_series_slots"]
    assert {labels[0]: n for labels, n in slots.items() if labels[1] == "BTC/USDT"} == {
        "stored": 91, "quiet": 1, "absent": 0, "queued": 0, "failed": 0, "unplanned": 8,
    }  # fmt: skip
    assert {n for labels, n in slots.items() if labels[1] == "ETH/USDT"} == {0}


def test_of_several_states_one_is_1() -> None:
    """For endpoints, breakers, and the end of the last run of each kind."""
    found = told()
    states = {labels for labels, on in found["fetcher_endpoint_state"].items() if on}
    assert {(source, state) for _, source, state in states} == {
        ("binance", "resting"), ("binance", "reachable"), ("okx", "unknown"),
    }  # fmt: skip
    assert len(found["fetcher_endpoint_state"]) == 3 * 4
    assert found["fetcher_breaker_state"]["binance http://a", "binance", "half-open"] == 1
    assert sum(found["fetcher_breaker_state"].values()) == 3
    outcomes = {labels for labels, on in found["fetcher_run_outcome"].items() if on}
    assert outcomes == {("run", "partial"), ("backfill", "ok")}


def test_every_kind_of_job_is_told_also_where_there_is_none() -> None:
    """A series of numbers that comes and goes cannot be added up or compared with an hour ago."""
    jobs = told()["fetcher_jobs"]
    assert len(jobs) == 5 * 3
    assert {labels: n for labels, n in jobs.items() if n} == {("gap", "queued"): 3, ("tail", "failed"): 1}


def test_without_the_database_only_that_is_told() -> None:
    """Old numbers would be taken for new ones."""
    assert told(None) == {"fetcher_database_up": {(): 0}}


def test_a_strangers_words_stay_inside_their_quotes() -> None:
    """A reason that nobody has thought of can break no line, and a thousand of them make no thousand series."""
    evil = 'x"} 1\nfetcher_database_up 0\\'
    strange = {f"{number:04d}": Held(1, 0) for number in range(1000)} | {evil: Held(9, 0)}
    rows = told(replace(VITALS, quarantine=strange))["fetcher_quarantine_rows"]
    assert rows[evil,] == 9
    assert len(rows) == 50


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_prometheus_conventions(metric: Any) -> None:
    """A prefix of our own, snake case, base units, and labels that Prometheus does not set itself."""
    assert re.fullmatch(r"fetcher(_[a-z]+)+", metric.name)
    assert not re.search(r"_(ms|milliseconds|minutes|hours|percent)(_|$)", metric.name)
    assert not set(metric.labels) & (SCRAPED | {"le", "quantile"})
    assert all(re.fullmatch(r"[a-z]+", label) for label in metric.labels)


def test_the_reference_is_what_is_exported() -> None:
    """docs/metrics.md has a row for each metric with its labels, and none for any other."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(fetcher_\w+)` \| ([^|]*)\|", text, re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == LABELS
    assert len(rows) == len(LABELS)


def unknown_words(expression: str) -> set[str]:
    """Metrics and labels of an expression that nobody exports; `name` or `name.label`."""
    wrong = {name for name in re.findall(r"\b(?:fetcher|process)_\w+", expression) if name not in {*LABELS, *OTHERS}}
    for name, selected in re.findall(r"\b(fetcher_\w+)\{([^}]*)\}", expression):
        asked = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', selected))
        wrong |= {f"{name}.{label}" for label in asked - LABELS.get(name, set()) - SCRAPED}
    return wrong


def group_labels(expression: str) -> set[str]:
    """The labels that an expression groups or joins by."""
    found = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    return {label.strip() for labels in found for label in labels.split(",")}


RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
QUERIES += [re.sub(r"label_values\((\w+), \w+\)", r"\1", each["definition"])
            for each in DASHBOARD["templating"]["list"] if "definition" in each]  # fmt: skip
EXPRESSIONS = [rule["expr"] for rule in RULES] + QUERIES


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_rules_and_dashboard_go_by_what_is_exported(expression: str) -> None:
    """A metric or label that nobody exports would be an alarm that never rings, a panel that stays empty."""
    assert unknown_words(expression) == set()
    used = {label for name in re.findall(r"fetcher_\w+", expression) for label in LABELS[name]} | SCRAPED
    assert group_labels(expression) <= used


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("fetcher_gone > 1", {"fetcher_gone"}),
        ('fetcher_jobs{state="failed"}', {"fetcher_jobs.state"}),
        ('sum(fetcher_jobs{status="failed",instance=~".*"})', set()),
    ],
)
def test_an_unknown_word_is_noticed(expression: str, words: set[str]) -> None:
    """The check itself can fail."""
    assert unknown_words(expression) == words


def test_texts_of_alerts_name_labels_that_they_have() -> None:
    """A template of a label that is not there says nothing at all."""
    for rule in RULES:
        named = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        used = {label for name in re.findall(r"fetcher_\w+", rule["expr"]) for label in LABELS[name]}
        assert named <= used - set(re.findall(r"without \((\w+)\)", rule["expr"])), rule["alert"]
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    """Ids are unique, panels lie beside each other in 24 columns, and variables that queries use are there."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = {(x, y) for x in columns for y in rows}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) - {"__rate_interval"} <= variables
    assert DASHBOARD["uid"]
    assert DASHBOARD["schemaVersion"] >= 36
