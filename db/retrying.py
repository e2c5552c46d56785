"""A transaction done again where its connection broke and nothing of it was kept: servers restart, and fail over."""

from __future__ import annotations

from functools import wraps
from threading import Event
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from db.errors import DatabaseLost

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

P = ParamSpec("P")
T = TypeVar("T")

PAUSES = (0.0, 0.1, 0.4, 1.0, 2.0, 4.0, 8.0, 8.0)
"""Seconds between tries: who was cut off is back at once, a restart takes seconds, a failover half a minute."""


class Patience:
    """How long one engine's users wait for a server that is gone: once to the end of PAUSES, not each of them anew."""

    def __init__(self, stop: Event | None) -> None:
        self._stop = stop or Event()
        self._is_used_up = False

    def wait(self, tries: int) -> bool:
        """Wait before trying again after so many tries; False when there is no point in it any more."""
        if self._is_used_up or tries >= len(PAUSES):
            self._is_used_up = True
            return False
        return tries == 0 or not self._stop.wait(PAUSES[tries])

    def renew(self) -> None:
        """Note that the server answers."""
        self._is_used_up = False


def retried(do: Callable[P, T]) -> Callable[P, T]:
    """Make a function or method that is one transaction, and changes nothing else, try again after DatabaseLost.

    Its first argument is the engine, or has it as `_engine`. What it asks of others meanwhile it asks again.
    """

    @wraps(do)
    def tried(*args: P.args, **kwargs: P.kwargs) -> T:
        tries = 0
        while True:
            try:
                done = do(*args, **kwargs)
            except DatabaseLost:
                if not patience_of(args[0]).wait(tries):
                    raise
                tries += 1
            else:
                patience_of(args[0]).renew()
                return done

    return tried


def patience_of(owner: Any) -> Patience:  # noqa: ANN401 - an engine, or whoever has one
    """The patience with the database of an engine, or of an object that has it as `_engine`."""
    engine: Engine = getattr(owner, "_engine", owner)
    found: Patience = engine.get_execution_options()["patience"]
    return found
