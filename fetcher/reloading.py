"""A configuration that changes under a running program: whether its file did, what changed, and the program anew."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from db.engine import shown
from db.errors import DatabaseProblem
from fetcher.app import build
from fetcher.errors import FetcherError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fetcher.app import App
    from fetcher.clock import Clock
    from fetcher.config import Config

CALM_SECONDS = 1.0  # on the wall, that a file must have stayed as it is: an editor may still be writing it
_TOLD = {"database_url", "sources", "markets"}  # more of them than that they changed
_Signature = tuple[int, int, int, int] | None


class WatchedFile:
    """Tells whether a file has another content than when it was last taken; one that is gone has changed, too."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._taken = self._signature()
        self._seen = self._taken
        self._since = 0.0

    def take(self) -> None:
        """It is read now, whatever comes of it."""
        self._taken = self._seen = self._signature()

    def has_changed(self) -> bool:
        """Whether it is another file by now, and has been so for a moment."""
        found, now = self._signature(), self._clock.elapsed()
        if found != self._seen:
            self._seen, self._since = found, now
        calm = self._clock.real_seconds(now - self._since) >= CALM_SECONDS
        return found != self._taken and calm

    def _signature(self) -> _Signature:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def rebuilt(app: App, config: Config) -> App:
    """The program for another configuration, which holds the run lock when the old one lets go of it.

    Raises FetcherError or DatabaseProblem where that cannot be; then the old one goes on as it is.
    """
    new = build(config, app.clock, instead_of=app, settle=True)
    try:
        new.fetcher.hold()
        new.fetcher.sync()
    except (FetcherError, DatabaseProblem):
        new.close()
        raise
    if config.database_url != app.config.database_url:
        with suppress(DatabaseProblem):  # it may be gone for good: then nobody misses the lock
            app.fetcher.let_go()
    app.close()
    return new


def changes(old: Config, new: Config) -> list[str]:
    """What is different, in words without secrets; empty where nothing is."""
    found = []
    if old.database_url != new.database_url:
        found.append(f"database_url is {shown(new.database_url)}")
    found += _differences("source", old.sources, new.sources)
    olds = {f"{each.symbol} {each.timeframe}": each for each in old.series()}
    news = {f"{each.symbol} {each.timeframe}": each for each in new.series()}
    found += _differences("series", olds, news)
    others = [name for name in type(new).model_fields if name not in _TOLD]
    return [*found, *(f"{name} changed" for name in others if getattr(old, name) != getattr(new, name))]


def _differences(kind: str, old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    ways = {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "changed": [name for name in new if name in old and old[name] != new[name]],
    }
    return [f"{kind} {how}: {', '.join(names)}" for how, names in ways.items() if names]
