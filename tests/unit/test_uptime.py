"""Since when a daemon is up, for however long it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from db import state
from db.engine import reading, writing
from fetcher.cli.metering import Metering
from fetcher.daemon import StepResult, Tally
from fetcher.housekeeping import Housekeeping
from fetcher.model import DAY
from fetcher.owners import own_name
from fetcher.runbook import RUN_LOCK
from fetcher.sections import Keep, Metrics
from fetcher.uptime import up_since
from tests.unit.test_clock import T0, HandClock

if TYPE_CHECKING:
    from sqlalchemy import Engine


def test_months_later_it_is_still_known(engine: Engine) -> None:
    """Although notes that nobody renews are pruned after three months."""
    clock = HandClock()
    with writing(engine) as connection:
        assert state.lock_acquire(connection, RUN_LOCK, own_name(), T0, T0 + 400 * DAY)
    app: Any = SimpleNamespace(clock=clock, engine=engine, config=SimpleNamespace(metrics=Metrics()))
    metering = Metering(app)
    for _ in range(200):
        clock.seconds += 86_400
        metering.after(StepResult(clock.now_ms(), 1.0, worked=True, tally=Tally()))
        Housekeeping(engine, clock, Keep(), cast("Any", lambda _fact: None)).tidy()
    with reading(engine) as connection:
        assert up_since(connection, clock.now_ms()) == T0


def test_a_note_of_another_process_says_nothing(engine: Engine) -> None:
    """Nor one that another version wrote."""
    with writing(engine) as connection:
        state.lock_acquire(connection, RUN_LOCK, own_name(), T0, T0 + DAY)
        assert up_since(connection, T0) is None
        for note in (f"{own_name()}1 {T0}", own_name(), ""):
            state.cache_put(connection, "daemon", note, T0)
            assert up_since(connection, T0) is None
