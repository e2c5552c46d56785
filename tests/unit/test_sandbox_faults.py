"""Each fault shows its defect, leaves alone what it cannot spoil, and comes by chance, seed or script."""

from __future__ import annotations

import json
import math
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.clock import parse_utc
from fetcher.errors import ConfigError
from fetcher.model import HOUR, Timeframe
from fetcher.sandbox import render
from fetcher.sandbox.answer import Answer, Asked
from fetcher.sandbox.binance import KLINES
from fetcher.sandbox.fault_plan import FaultPlan, Script, check_chances
from fetcher.sandbox.faults import FAULT, FAULTS, TRANSIENT, Scene, Severity
from fetcher.sandbox.generated import GeneratedMarket
from fetcher.sandbox.market import Span

if TYPE_CHECKING:
    from collections.abc import Callable

START = parse_utc("2024-03-05")
NOW = parse_utc("2024-04-01T00:30")
ASKED = Asked("BTCUSDT", Timeframe("1h"), Span(START, START + 48 * HOUR - 1, 1000))
WEIGHT = {"x-mbx-used-weight-1m": "2"}


def good() -> Answer:
    """A page of 48 true hours."""
    rows = GeneratedMarket().page(ASKED.symbol, ASKED.timeframe, ASKED.span, NOW)
    return Answer(200, render.klines(rows), WEIGHT, rows=len(rows), asked=ASKED)


TRUE: list[Any] = json.loads(good().body)


def spoiled(name: str, seed: int = 0) -> Answer:
    """The good page after one fault."""
    scene = Scene(Random(seed), Severity(hang_seconds=7, latency_seconds=2, retry_after=3), NOW)
    return FAULT[name](good(), scene)


def rows_of(answer: Answer) -> list[Any]:
    """The page a client would decode."""
    rows: list[Any] = json.loads(answer.body)
    return rows


def changed(answer: Answer) -> list[tuple[Any, Any]]:
    """The rows that are no longer as they were, with what they were."""
    return [(now, was) for now, was in zip(rows_of(answer), TRUE, strict=True) if now != was]


def _status(answer: Answer) -> bool:
    return answer.status != 200


def _rate_limited(answer: Answer) -> bool:
    return answer.headers["Retry-After"] == "3" and json.loads(answer.body)["code"] == -1003


def _opens(answer: Answer) -> list[int]:
    return [row[0] for row in rows_of(answer)]


SHOWS: dict[str, Callable[[Answer], bool]] = {
    "status:500": lambda a: a.status == 500 and json.loads(a.body)["code"] == -1000,
    "status:502": lambda a: a.status == 502 and a.body.startswith(b"<html>"),
    "status:503": lambda a: a.status == 503 and json.loads(a.body)["code"] == -1008,
    "status:504": lambda a: a.status == 504 and a.content_type == "text/html",
    "status:429": lambda a: a.status == 429 and _rate_limited(a),
    "status:418": lambda a: a.status == 418 and _rate_limited(a) and str(NOW + 3000) in a.body.decode(),
    "status:403": lambda a: a.status == 403 and not a.headers,
    "status:451": lambda a: a.status == 451 and json.loads(a.body)["code"] == 0,
    "reset": lambda a: a.delivery == "reset",
    "hang": lambda a: a.delay == 7,
    "truncate": lambda a: a.delivery == "cut" and a.body == good().body,
    "cut_json": lambda a: good().body.startswith(a.body) and len(a.body) < len(good().body),
    "html": lambda a: a.status == 200 and a.content_type == "text/html" and b"<html>" in a.body,
    "empty": lambda a: a.body == b"[]",
    "empty_body": lambda a: a.status == 200 and a.body == b"",
    "wrong_types": lambda a: len(changed(a)) > 0,
    "nan": lambda a: all(any(math.isnan(float(cell)) for cell in now[1:5]) for now, _ in changed(a)),
    "duplicates": lambda a: len(rows_of(a)) > 48 and all(row in TRUE for row in rows_of(a)),
    "duplicates_differ": lambda a: (
        len(set(_opens(a))) == 48 < len(rows_of(a)) and any(r not in TRUE for r in rows_of(a))
    ),
    "shuffle": lambda a: rows_of(a) != TRUE and sorted(rows_of(a)) == TRUE,
    "off_grid": lambda a: all(0 < now[0] - was[0] < 31_000 and now[1:6] == was[1:6] for now, was in changed(a)),
    "future": lambda a: rows_of(a)[:48] == TRUE and all(opened > NOW for opened in _opens(a)[48:]),
    "seconds": lambda a: _opens(a) == [row[0] // 1000 for row in TRUE],
    "micros": lambda a: _opens(a) == [row[0] * 1000 for row in TRUE],
    "short": lambda a: rows_of(a) == TRUE[: len(rows_of(a))] and len(rows_of(a)) < 48,
    "left_out": lambda a: 0 < len(rows_of(a)) < 48 and all(row in TRUE for row in rows_of(a)),
    "outside": lambda a: rows_of(a)[1:] == TRUE and _opens(a)[0] < START and (_opens(a)[0] - START) % HOUR == 0,
    "bad_ohlc": lambda a: all(float(now[2]) < float(now[3]) for now, _ in changed(a)),
    "negative_volume": lambda a: all(float(now[5]) < 0 for now, _ in changed(a)),
    "latency": lambda a: a.delay == 2,
}


def test_every_fault_has_a_case() -> None:
    """A fault nobody looks at would be a fault nobody survives."""
    assert tuple(SHOWS) == FAULTS


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_shows_its_defect(name: str, seed: int) -> None:
    """The answer differs from the good one in just the promised way."""
    answer = spoiled(name, seed)
    assert answer != good()
    assert SHOWS[name](answer)
    assert answer.rows is None or answer.rows == len(rows_of(answer))


@pytest.mark.parametrize("name", ["status:500", "status:429", "empty", "nan", "left_out"])
def test_weight_headers_stay_on_what_the_exchange_itself_would_send(name: str) -> None:
    """Only a proxy's answers come without."""
    assert spoiled(name).headers["x-mbx-used-weight-1m"] == "2"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_rows_leaves_an_answer_without_rows_alone(name: str) -> None:
    """Nothing to spoil: the very same answer, so that the log can say that nothing happened."""
    bare = Answer(200, b'{"serverTime":1}', WEIGHT)
    answer = FAULT[name](bare, Scene(Random(0), Severity(), NOW))
    assert answer is bare or _status(answer) or answer.delay or answer.delivery != "whole" or answer.body != bare.body


def test_transient_faults_are_all_but_those_that_last() -> None:
    """What a storm test may use."""
    assert set(FAULTS) - set(TRANSIENT) == {"status:403", "status:418", "status:451", "hang"}


def test_chances_come_true_about_as_often_as_told_and_repeat_with_the_seed() -> None:
    """3 % each, at most one fault an answer."""

    def drawn(seed: int) -> list[str | None]:
        plan = FaultPlan(check_chances({"reset": 0.03, "html": 0.03}), rng=Random(seed))
        return [plan.spoil(KLINES, good_page, NOW)[1] for _ in range(3000)]

    good_page = good()
    names = drawn(1)
    assert names == drawn(1) != drawn(2)
    assert {name: 50 < names.count(name) < 140 for name in ("reset", "html")} == {"reset": True, "html": True}


def test_faults_keep_to_their_paths_and_to_good_answers() -> None:
    """Time requests and the exchange's own refusals are not spoiled unless asked for."""
    plan = FaultPlan({"html": 1.0})
    assert plan.spoil("/api/v3/time", Answer(200, b"{}"), NOW)[1] is None
    assert plan.spoil(KLINES, Answer(429, b"{}"), NOW)[1] is None
    plan.paths = ("/api/v3/time",)
    assert plan.spoil("/api/v3/time", Answer(200, b"{}"), NOW)[1] == "html"


def test_scripts_come_before_chances_in_the_order_they_were_queued() -> None:
    """The next two answers about one symbol, a good one, then chance again."""
    plan = FaultPlan({"empty": 1.0})
    plan.queue(Script("reset", 2, "BTCUSDT"))
    plan.queue(Script("html", 1, "ETHUSDT"))
    plan.queue(Script("none"))
    assert [plan.spoil(KLINES, good(), NOW)[1] for _ in range(4)] == ["reset", "reset", None, "empty"]
    assert [script.symbol for script in plan.scripts] == ["ETHUSDT"]


@pytest.mark.parametrize(
    ("chances", "sentence"),
    [({"nope": 0.1}, "unknown fault 'nope'"), ({"reset": 1.2}, "from 0 to 1"), ({"all": 0.5}, "add up to")],
)
def test_impossible_chances_are_refused(chances: dict[str, float], sentence: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigError, match=sentence):
        check_chances(chances)


def test_a_group_names_every_fault_in_it() -> None:
    """`transient` is shorter to write than its members."""
    assert check_chances({"transient": 0.03}) == dict.fromkeys(TRANSIENT, 0.03)
