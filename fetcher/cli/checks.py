"""What `doctor` looks at on this machine, each as one check with its sentence (sources: source_checks.py)."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from msgspec import Struct

from db import state
from db.checks import writable
from db.engine import database_file, reading, shown, writing
from fetcher.cli.show import utc
from fetcher.owners import is_dead
from fetcher.runbook import RUN_LOCK
from fetcher.targets import problems_of, read_targets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from fetcher.app import App
    from fetcher.sections import Alerts

LEAST_FREE_BYTES = 500_000_000
_GIGABYTE = 1e9


class Check(Struct, frozen=True):
    """One thing looked at: whether it is well, and in words."""

    name: str
    ok: bool
    message: str


def database_checks(app: App) -> Iterator[Check]:
    """Is the database sound, at this version's schema, and can it be written."""
    problems = app.manager.check()
    url = shown(app.engine.url)
    yield Check("database", ok=not problems, message="; ".join(problems) or f"{url} is sound and up to date")
    with writing(app.engine) as connection:
        writable(connection)  # raises DatabaseProblem where it cannot be
        yield Check("writing", ok=True, message="the database can be written")


def disk_check(engine: Engine) -> Check:
    """Is there room to grow."""
    file = database_file(engine)
    if file is None:
        return Check("disk", ok=True, message="the database is on a server")
    free = shutil.disk_usage(_folder(file)).free
    return Check("disk", ok=free >= LEAST_FREE_BYTES, message=f"{free / _GIGABYTE:,.1f} GB free in {_folder(file)}")


def lock_check(app: App) -> Check:
    """Who holds the run lock; nothing is wrong with anybody who does."""
    with reading(app.engine) as connection:
        holder = state.lock_holder(connection, RUN_LOCK)
    if holder is None:
        return Check("run lock", ok=True, message="no run is under way")
    if is_dead(holder.owner):
        message = f"held by a run that died ({holder.owner}); the next run takes it over"
    else:
        message = f"a run is under way ({holder.owner}), until {utc(holder.until_ms)} at most"
    return Check("run lock", ok=True, message=message)


def alerts_checks(settings: Alerts) -> Iterator[Check]:
    """Can those who are to be told of alerts be told at all; nothing where nobody is."""
    problems, (targets, _) = problems_of(settings), read_targets(settings)
    if targets:
        from fetcher.observe.alerts.sending import UNREADABLE, is_readable  # noqa: PLC0415 (loads a hundred services)

        problems += [f"{target.name}: {UNREADABLE}" for target in targets if not is_readable(target)]
    for problem in problems:
        yield Check("alerts", ok=False, message=problem.removeprefix("alerts: "))
    if targets and not problems:
        names = ", ".join(target.name for target in targets)
        yield Check("alerts", ok=True, message=f"told are {names}; `alerts test` sends each a message")


def _folder(file: Path) -> Path:
    return file.resolve().parent
