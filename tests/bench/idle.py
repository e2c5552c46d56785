"""`idle`: what a run costs that finds nothing to do, as cron starts it every minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.sandbox.control import spawn_sandbox
from tests.bench.figures import Figure, Goal, Limit
from tests.bench.places import KINDS, POSTGRESQL, SQLITE, opened
from tests.bench.size import COINS, UNLIMITED
from tests.bench.stage import market, run, stage

if TYPE_CHECKING:
    from fetcher.sandbox.control import SandboxControl
    from tests.bench.size import Say, Size

_STAND_STILL = "2026-06-01T00:00:30Z"
_IMPORTS = "import numpy, pydantic, requests, sqlalchemy.dialects.{}, typer, yaml"
_PACKAGES = {SQLITE: _IMPORTS.format("sqlite"), POSTGRESQL: f"{_IMPORTS.format('postgresql')}, psycopg"}
_GOALS = {SQLITE: Goal(at_most=0.6), POSTGRESQL: Goal(at_most=0.7)}  # seconds of CPU


def idle(size: Size, say: Say) -> list[Figure]:
    """The whole process of a run over 50 up-to-date series with nothing due."""
    figures = []
    with spawn_sandbox("--clock", _STAND_STILL, *UNLIMITED) as sandbox:
        for kind in KINDS:
            say(f"a run with nothing due on {kind}: 50 series, {size.repeats} times")
            figures += _on(kind, sandbox, size)
    return figures


def _on(kind: str, sandbox: SandboxControl, size: Size) -> list[Figure]:
    with (
        opened(kind) as place,
        stage(sandbox.url, place, [market(COINS[:25], ["1h", "1d"], "2026-05-01")]) as here,
    ):
        here.fetcher("-q")
        here.fetcher("-q")  # the first may have gone on learning; this one makes the .pyc files of all that follow
        sandbox.clear_log()
        runs = [here.fetcher("-q") for _ in range(size.repeats)]
        asked = sandbox.log()
    if [entry["path"] for entry in asked] != ["/api/v3/time"] * size.repeats:
        raise RuntimeError(f"a run with nothing due asked more than the time: {asked}")
    starts = [run("-c", _PACKAGES[kind]) for _ in range(size.repeats)]
    empty = [run("-c", "pass") for _ in range(size.repeats)]
    return [
        Figure(
            f"nothing due, 50 series, {kind}, whole process: CPU", "s", [ran.cpu for ran in runs],
            (
                Limit("importing its packages", [ran.cpu for ran in starts]),
                Limit("python -c pass", [ran.cpu for ran in empty]),
            ),
            _GOALS[kind],
        ),
        Figure(
            f"nothing due, 50 series, {kind}, whole process: wall", "s", [ran.wall for ran in runs],
            (Limit("importing its packages", [ran.wall for ran in starts]),),
        ),
    ]  # fmt: skip
