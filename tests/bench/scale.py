"""`scale`: whether looking costs more where there are two hundred times the rows, and what an audit costs.

`status`, `gaps` and planning are measured inside one process, imports and connecting left out: in whole processes,
which are shown beside them, a start of half a second would hide any growth. PostgreSQL is looked at after a VACUUM, as
its own housekeeping leaves a table within minutes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

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


def scale(size: Size, say: Say) -> list[Figure]:
    """What looking at few rows and at many costs, on both databases."""
    figures = []
    with spawn_sandbox("--clock", _STAND_STILL, *UNLIMITED) as sandbox:
        for kind in KINDS:
            seen = {}
            for rows in (size.scale_few, size.scale_many):
                with opened(kind) as place:
                    seen[rows] = _seen(place, sandbox, rows, size, say)
            figures += _figures(kind, seen)
    return figures


def _seen(place: Place, sandbox: SandboxControl, rows: int, size: Size, say: Say) -> dict[str, Any]:
    say(f"scale: {rows:,} rows into {place.kind}")
    filled = fill(place, rows)
    _tidy(place)
    say(f"scale: looking at {filled.rows:,} rows in {filled.intervals} intervals on {place.kind}")
    with stage(sandbox.url, place, filled.markets) as here:
        told: dict[str, Any] = json.loads(run("-m", "tests.bench.looking", str(here.config), str(size.repeats)).printed)
        for word in _COMMANDS:
            told[f"{word} whole"] = [here.fetcher(word) for _ in range(size.repeats)]
    return told


def _tidy(place: Place) -> None:
    if place.kind == POSTGRESQL:
        engine = open_engine(place.url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM (ANALYZE)")
        engine.dispose()
    place.settle()


def _figures(kind: str, seen: dict[int, dict[str, Any]]) -> list[Figure]:
    (few, little), (many, much) = seen.items()
    name, beside = f"on {kind}, {many:,} rows", f"of {few:,} rows"
    figures = []
    for look in _LOOKS:
        for clock in ("wall", "cpu"):
            limit = Limit(beside, _ms(little[look][clock]), _SAME if clock == "wall" else Goal())
            figures.append(Figure(f"{look} {name}, in process: {clock}", "ms", _ms(much[look][clock]), (limit,)))
    for word in _COMMANDS:
        there: Sequence[Ran] = much[f"{word} whole"]
        here: Sequence[Ran] = little[f"{word} whole"]
        for clock in ("wall", "cpu"):
            limit = Limit(beside, [getattr(ran, clock) for ran in here])
            values = [getattr(ran, clock) for ran in there]
            figures.append(Figure(f"{word} {name}, whole process: {clock}", "s", values, (limit,)))
    grouped = Limit("min, max, count GROUP BY series_id", much["grouped"]["wall"], _AUDIT)
    figures.append(Figure(f"audit {name}, in process: wall", "s", much["audit"]["wall"], (grouped,)))
    return figures


def _ms(seconds: Sequence[float]) -> list[float]:
    return [each * 1000 for each in seconds]
