"""What a daemon tells of itself to others: since when it is up, and its metrics, by HTTP and in a file."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from db.errors import DatabaseProblem
from fetcher.errors import ConfigError
from fetcher.observe.lines import LOG
from fetcher.uptime import note_up
from fetcher.vitals import vitals_or_none

if TYPE_CHECKING:
    from fetcher.app import App
    from fetcher.daemon import StepResult
    from fetcher.observe.exporter import Endpoint, Textfile
    from fetcher.sections import Goals
    from fetcher.vitals import Vitals

NOTE_SECONDS = 86_400.0  # between two notes of since when it is up


class Metering:
    """Serves the metrics of the program, of whichever configuration; to be told of each step and each change."""

    def __init__(self, app: App) -> None:
        """Begin to listen, where that is configured; raises ConfigError where it is not possible."""
        self._app = app
        self._since_ms = app.clock.now_ms()
        self._noted_at: float | None = None
        self._address = app.config.metrics.listen
        self._endpoint = self._listen()
        self._textfile = self._file()

    def after(self, step: StepResult) -> None:
        """Write the file after a step."""
        now = self._app.clock.elapsed()
        if step.error is None and (self._noted_at is None or now - self._noted_at >= NOTE_SECONDS):
            with suppress(DatabaseProblem):  # which the next step tells
                note_up(self._app.engine, self._since_ms, self._app.clock.now_ms())
                self._noted_at = now
        if self._textfile is not None:
            self._textfile.write()

    def replaced(self, app: App) -> None:
        """Go on for a program of another configuration; where its address is no good the old one is kept."""
        self._app, self._noted_at = app, None
        self._textfile = self._file()
        if app.config.metrics.listen == self._address:
            return
        before = (self._endpoint, self._address)
        try:
            self._address = app.config.metrics.listen
            self._endpoint = self._listen()
        except ConfigError as refusal:
            self._endpoint, self._address = before
            LOG.error("%s; the address before stays", refusal)
            return
        if before[0] is not None:
            before[0].close()

    def close(self) -> None:
        """Stop listening."""
        if self._endpoint is not None:
            self._endpoint.close()

    def _listen(self) -> Endpoint | None:
        if self._address is None:
            return None
        from fetcher.observe.exporter import Endpoint  # noqa: PLC0415 (for who has metrics)

        endpoint = Endpoint(self._address, self._read, self._goals)
        LOG.info("metrics are at %s", endpoint.url)
        return endpoint

    def _file(self) -> Textfile | None:
        if self._app.config.metrics.textfile is None:
            return None
        from fetcher.observe.exporter import Newest, Textfile  # noqa: PLC0415 (for who has metrics)

        return Textfile(self._app.config.metrics.textfile, Newest(self._read), self._goals)

    def _read(self) -> Vitals | None:
        app = self._app
        return vitals_or_none(app.engine, app.config, app.clock.now_ms())

    def _goals(self) -> Goals:
        return self._app.config.goals
