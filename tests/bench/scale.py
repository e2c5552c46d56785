"""`scale`: whether looking costs more where there are two hundred times the rows, and what an audit costs.

`status`, `gaps` and planning are measured inside one process, imports and connecting left out: in whole processes,
which are shown beside them, a start of half a second would hide any growth. PostgreSQL is looked at after a VACUUM, as
its own housekeeping leaves a table within minutes.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from db.engine import open_engine
from fetcher.sandbox.control import spawn_sandbox
from tests.bench.figures import Figure, Goal, Limit
from tests.bench.filling import fill
from tests.bench.places import KINDS, POSTGRESQL, opened
from tests.bench.size import UNLIMITED
from tests.bench.stage import run, stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.sandbox.control import SandboxControl
    from tests.bench.places import Place
    from tests.bench.size import Say, Size
    from tests.bench.stage import Ran

_STAND_STILL = "2026-06-01T00:00:30Z"
_SAME = Goal(at_most=1.15)
_AUDIT = Goal(at_most=1.5)
_LOOKS = ("status", "gaps", "planning")
_COMMANDS = ("status", "gaps")


@dataclass(frozen=True, slots=True)
class Seen:
    """One database: its size, the seconds of each look from inside by clock, and whole processes by command."""

    rows: int
    intervals: int
    looks: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    whole: dict[str, list[Ran]] = field(default_factory=dict)


def scale(size: Size, say: Say) -> list[Figure]:
    """What looking at few rows and at many costs, on both databases."""
    figures = []
    with spawn_sandbox("--clock", _STAND_STILL, *UNLIMITED) as sandbox:
        for kind in KINDS:
            with opened(kind) as place:
                seen = _seen(sandbox, (place.beside(), place), size, say)
            figures += _figures(kind, seen)
    return figures


def _seen(sandbox: SandboxControl, places: tuple[Place, Place], size: Size, say: Say) -> list[Seen]:
    """What was seen of few rows, then of many; both are looked at in turns."""
    with ExitStack() as stack:
        stages, seen = [], []
        for place, rows in zip(places, (size.scale_few, size.scale_many), strict=True):
            say(f"scale: {rows:,} rows into {place.kind}")
            place.empty()
            filled = fill(place, rows)
            _tidy(place)
            stages.append(stack.enter_context(stage(sandbox.url, place, filled.markets)))
            seen.append(Seen(filled.rows, filled.intervals))
        say(f"scale: looking at {' and '.join(f'{each.rows:,}' for each in seen)} rows on {places[0].kind}")
        configs = [str(here.config) for here in stages]
        for each, looks in zip(
            seen, json.loads(run("-m", "tests.bench.looking", str(size.repeats), *configs).printed), strict=True
        ):
            each.looks.update(looks)
        for word in _COMMANDS:
            for here, each in [*zip(stages, seen, strict=True)] * size.repeats:
                each.whole.setdefault(word, []).append(here.fetcher(word))
    return seen


def _tidy(place: Place) -> None:
    if place.kind == POSTGRESQL:
        engine = open_engine(place.url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM (ANALYZE)")
        engine.dispose()
    place.settle()


def _figures(kind: str, seen: list[Seen]) -> list[Figure]:
    few, many = seen
    name, beside = f"on {kind}, {many.rows:,} rows", f"of {few.rows:,} rows, as many intervals ({many.intervals})"
    figures = []
    for look in _LOOKS:
        for clock in ("wall", "cpu"):
            limit = Limit(beside, _ms(few.looks[look][clock]), _SAME if clock == "wall" else Goal())
            figures.append(Figure(f"{look} {name}, in process: {clock}", "ms", _ms(many.looks[look][clock]), (limit,)))
    for word in _COMMANDS:
        for clock in ("wall", "cpu"):
            limit = Limit(beside, [getattr(ran, clock) for ran in few.whole[word]])
            values = [getattr(ran, clock) for ran in many.whole[word]]
            figures.append(Figure(f"{word} {name}, whole process: {clock}", "s", values, (limit,)))
    grouped = Limit("min, max, count GROUP BY series_id", many.looks["grouped"]["wall"], _AUDIT)
    figures.append(Figure(f"audit {name}, in process: wall", "s", many.looks["audit"]["wall"], (grouped,)))
    return figures


def _ms(seconds: Sequence[float]) -> list[float]:
    return [each * 1000 for each in seconds]
