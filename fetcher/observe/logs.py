"""Logs on stderr: lines for people or one JSON object a line, in the program's own time, without secrets."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import sys
from typing import TYPE_CHECKING, TextIO
from urllib.parse import unquote, urlsplit

from fetcher.clock import format_utc
from fetcher.events import Attempt, CrossChecked, JobEnded, PageStored, Planned
from fetcher.observe.alerts.targets import secrets_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fetcher.clock import Clock
    from fetcher.config import Config
    from fetcher.events import Fact

LOG = logging.getLogger("fetcher")
_QUIETER, _LOUDER = -1, 1
_TOLD = 1_000  # reasons that are remembered as told
_SHORT_SECRET = 4  # a shorter one is hidden only where it stands alone: it occurs inside other words by chance


def set_up(config: Config, clock: Clock, verbosity: int = 0) -> str:
    """Send the program's log to stderr as the configuration says; returns the id that marks this run's lines.

    `verbosity` above 0 means debug, below 0 warnings only.
    """
    run_id = secrets.token_hex(3)
    hidden = secrets_of(config)
    handler = _Stderr()
    formatter = JsonLines if config.logging.format == "json" else TextLines
    handler.setFormatter(formatter(clock, run_id, hidden))
    LOG.handlers[:] = [handler]
    LOG.propagate = False
    LOG.setLevel(level_of(config.logging.level, verbosity))
    return run_id


def level_of(configured: str, verbosity: int) -> int:
    """The level to log at: the configured one, or what -v and -q ask for."""
    if verbosity >= _LOUDER:
        return logging.DEBUG
    if verbosity <= _QUIETER:
        return logging.WARNING
    return logging.getLevelNamesMapping()[configured.upper()]


def secrets_of(config: Config, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What no line may hold: users and passwords of proxies and of the database, as written and decoded; every key.

    Nor addresses of those who are told of alerts, whole or in parts.
    """
    urls = [config.database_url, *(proxy for source in config.sources.values() for proxy in source.proxy if proxy)]
    variables = (
        env for source in config.sources.values() if source.client == "coingecko" for env in source.api_key_env
    )
    found = {environment.get(env, "").strip() for env in variables} | secrets_in(config.alerts, environment)
    for url in urls:
        userinfo = urlsplit(url).netloc.rpartition("@")[0]
        password = userinfo.partition(":")[2]
        found |= {userinfo, password, unquote(password)}
    return tuple(sorted((text for text in found if text), key=len, reverse=True))


class FactLog:
    """A listener that writes down what happens: trouble as warnings, what passes by itself at info or debug.

    When a source fails, hundreds of jobs say the same: each reason is told once, and again for every job at debug.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[str, str | None], None] = {}  # in the order of telling
        self._refused: dict[tuple[str, str], int] = {}

    def __call__(self, fact: Fact) -> None:
        """Hear a fact."""
        if isinstance(fact, JobEnded):
            self._log_job(fact)
            return
        _log(fact)
        if isinstance(fact, PageStored) and fact.refused:
            self._log_refused(fact)

    def close(self) -> None:
        """Sum up what was told only once, where there was more of it."""
        for (series, source), rows in self._refused.items():
            if rows:
                LOG.warning("%s: %d more rows from %s went to quarantine; see `quarantine`", series, rows, source)
        self._refused.clear()

    def _log_refused(self, fact: PageStored) -> None:
        """Warn of the first page of a series and source with refused rows; the others are counted until the end."""
        key = (fact.series, fact.source)
        level = logging.DEBUG if key in self._refused else logging.WARNING
        words = "%s: %d rows from %s went to quarantine; see `quarantine`"
        LOG.log(level, words, fact.series, fact.refused, fact.source)
        self._refused[key] = self._refused[key] + fact.refused if key in self._refused else 0

    def _log_job(self, fact: JobEnded) -> None:
        window = f"{fact.series} {fact.kind} {format_utc(fact.start_ms)} … {format_utc(fact.end_ms)}"
        if fact.status == "done":
            LOG.debug("job %d (%s) is done", fact.job_id, window)
            return
        level, words = (logging.WARNING, "was given up") if fact.status == "failed" else (logging.INFO, "waits")
        if (fact.status, fact.error) in self._told:
            level = logging.DEBUG
        self._told[fact.status, fact.error] = None
        if len(self._told) > _TOLD:  # a daemon hears of new ones for years
            del self._told[next(iter(self._told))]
        LOG.log(level, "job %d (%s) %s: %s", fact.job_id, window, words, fact.error)


def _log(fact: Fact) -> None:
    match fact:
        case Attempt(outcome="ok"):
            LOG.debug("%s answered %s in %d ms", fact.endpoint, fact.purpose, round(fact.seconds * 1000))
        case Attempt():
            LOG.debug("%s failed %s: %s (%s)", fact.endpoint, fact.purpose, fact.message, fact.outcome)
        case Planned():
            LOG.debug("planned %d jobs for %d candles", fact.jobs, fact.slots)
        case PageStored():
            _log_page(fact)
        case CrossChecked(kinds=()):
            LOG.debug("%s: %s agrees", fact.series, fact.source)
        case CrossChecked(kinds=("not_compared",)):
            LOG.debug("%s", fact.message)
        case CrossChecked():
            LOG.warning("%s disagrees (%s): %s", fact.source, ", ".join(fact.kinds), fact.message)


def _log_page(fact: PageStored) -> None:
    LOG.debug("%s: %d candles from %s committed", fact.series, fact.rows, fact.source)
    for start, end in fact.absent:
        LOG.info("%s: %s … %s is proven absent", fact.series, format_utc(start), format_utc(end))


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is now, so that lines and progress bars do not overwrite each other."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class TextLines(logging.Formatter):
    """`2026-06-01T00:00:00Z 3f2a9c info: …`, one line a record."""

    def __init__(self, clock: Clock, run_id: str, hidden: Iterable[str]) -> None:
        super().__init__()
        self._clock = clock
        self._run_id = run_id
        self._hidden = tuple(hidden)

    def format(self, record: logging.LogRecord) -> str:
        """The line, in the program's time."""
        now = self._clock.now_ms()
        message = one_line(record.getMessage(), self._hidden)
        return f"{format_utc(now - now % 1000)} {self._run_id} {record.levelname.lower()}: {message}"


class JsonLines(TextLines):
    """One object a line: time (UTC), time_ms, level, run, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The object as text, in the program's time."""
        now = self._clock.now_ms()
        return json.dumps(
            {
                "time": format_utc(now),
                "time_ms": now,
                "level": record.levelname.lower(),
                "run": self._run_id,
                "message": one_line(record.getMessage(), self._hidden),
            },
            ensure_ascii=False,
        )


def one_line(text: str, hidden: Iterable[str] = ()) -> str:
    """The text without secrets and with everything unprintable escaped: a stranger's words cannot forge a line."""
    for secret in hidden:
        text = text.replace(secret, "***") if len(secret) >= _SHORT_SECRET else _without_word(text, secret)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _without_word(text: str, secret: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
