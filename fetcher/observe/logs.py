"""Logs on stderr: lines for people or one JSON object a line, in the program's own time, without secrets."""

from __future__ import annotations

import logging
import secrets
import sys
import threading
from typing import TYPE_CHECKING, TextIO

from fetcher.masking import hide
from fetcher.observe.lines import LOG, MARK, JsonLines, TextLines
from fetcher.secrecy import secrets_of

if TYPE_CHECKING:
    from fetcher.clock import Clock
    from fetcher.config import Config

_QUIETER, _LOUDER = -1, 1
_QUIET_LIBRARIES = ("urllib3", "requests", "asyncio", "charset_normalizer")
"""What they warn of (a connection that broke, a pool that is full) is told by our own account of each request."""


def set_up(config: Config, clock: Clock, verbosity: int = 0) -> str:
    """Send the log to stderr as the configuration says; returns the id that marks this process's first lines.

    `verbosity` above 0 means debug, below 0 warnings only. Libraries' warnings, Python's own, and whatever a thread
    dies of become lines like all others.
    """
    hide(secrets_of(config))
    MARK.text = secrets.token_hex(3)
    handler = _Stderr()
    formatter = JsonLines if config.logging.format == "json" else TextLines
    handler.setFormatter(formatter(clock, None, ()))
    root = logging.getLogger()
    for logger in (LOG, root):
        logger.handlers[:] = [*(each for each in logger.handlers if not isinstance(each, _Stderr)), handler]
    LOG.propagate = False
    LOG.setLevel(level_of(config.logging.level, verbosity))
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)  # noqa: FBT003 (the library's)
    threading.excepthook = _log_dead_thread
    return MARK.text


def level_of(configured: str, verbosity: int) -> int:
    """The level to log at: the configured one, or what -v and -q ask for."""
    if verbosity >= _LOUDER:
        return logging.DEBUG
    if verbosity <= _QUIETER:
        return logging.WARNING
    return logging.getLevelNamesMapping()[configured.upper()]


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is now, so that lines and progress bars do not overwrite each other."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _log_dead_thread(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread else "?"
    LOG.error("thread %s died of an unexpected %s: %s", name, args.exc_type.__name__, args.exc_value)
