"""How a line of the log looks: text for people, one JSON object for machines; neither holds a secret or a trick."""

from __future__ import annotations

import json
import logging
from types import MappingProxyType
from typing import TYPE_CHECKING

from fetcher.clock import format_utc
from fetcher.masking import masked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fetcher.clock import Clock

LOG = logging.getLogger("fetcher")

FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "time": "UTC, as text",
        "time_ms": "the same in ms",
        "level": "`debug`, `info`, `warning`, `error`",
        "run": "marks the lines of one run: `log_id` in the table `runs`",
        "message": "the line that people read",
        "logger": "of a library's line: its name",
        "event": "what happened, see below; not of lines that are for people only, like progress",
        "kind": "of a job: `tail`, `gap`, `backfill`, `heal`, `recheck`; of a run: `run`, `daemon`, `backfill`…",
        "series": "like `BTC/USDT 1h`",
        "source": "who was asked, or served",
        "endpoint": "the way by which it was asked",
        "purpose": "of a request: what for",
        "outcome": "of a request: `ok` or the name of the error; of a run: `ok`, `partial`, `failed`",
        "error": "in words, where something failed; else null",
        "seconds": "how long it took",
        "job": "its id in the table `jobs`",
        "status": "of a job: `done`, `queued` (again), `failed` (given up)",
        "start_ms": "of a window, ms UTC",
        "end_ms": "of a window, ms UTC, not inside any more",
        "jobs": "how many were planned",
        "slots": "how many candles they are to bring",
        "rows": "candles received and kept; of `restated` those changed, of `pruned` rows that went",
        "refused": "rows that went to quarantine",
        "absent": "slots proven to hold no candle",
        "restated": "candles that their source gave otherwise than before",
        "missing": "slots that are neither stored nor proven absent yet",
        "waiting": "jobs in the queue",
        "failed": "jobs given up",
        "kinds": "what two sources disagree about",
        "exit_code": "of a run",
        "tables": "rows that were pruned, by table",
    }
)
"""Every key that a line can have, and what it means: docs/logs.md tells the same."""

EVENTS: Mapping[str, str] = MappingProxyType(
    {
        "run_began": "a run began",
        "planned": "missing windows became jobs",
        "request": "one request, as it went",
        "page": "candles were committed",
        "absent": "a window was proven to hold no candles",
        "refused": "rows went to quarantine",
        "restated": "a source changed closed candles; the old values are in `revisions`",
        "job": "a job ended, or was put back",
        "compared": "two sources were compared",
        "series": "what a run brought of a series that got something or lacks something",
        "run_ended": "a run ended",
        "pruned": "old rows were deleted",
        "exposed": "a file with a secret can be read by others",
    }
)
"""Every `event`."""


class RunMark:
    """What marks the lines of the run under way; shared by all handlers of the process."""

    def __init__(self) -> None:
        self.text = "-"


MARK = RunMark()


def say(level: int, event: str, words: str, *args: object, **fields: object) -> None:
    """Log a line of the program's own: `words % args` for people, event and fields (of FIELDS) for machines."""
    LOG.log(level, words, *args, extra={"event": event, "fields": fields})


class TextLines(logging.Formatter):
    """`2026-06-01T00:00:00Z 3f2a9c info: …`, one line a record; a library's name stands before what it says."""

    def __init__(self, clock: Clock, run_id: str | None, hidden: Iterable[str]) -> None:
        super().__init__()
        self._clock = clock
        self._run_id = run_id
        self._hidden = tuple(hidden)

    def format(self, record: logging.LogRecord) -> str:
        """The line, in the program's time."""
        now = self._clock.now_ms()
        name = f"{record.name}: " if is_foreign(record) else ""
        message = self.shown(f"{name}{words_of(record)}")
        return f"{format_utc(now - now % 1000)} {self.run} {record.levelname.lower()}: {message}"

    @property
    def run(self) -> str:
        """What marks the run's lines."""
        return MARK.text if self._run_id is None else self._run_id

    def shown(self, text: str) -> str:
        """Anybody's text as it may be told."""
        return one_line(text, self._hidden)


class JsonLines(TextLines):
    """One object a line, with keys of FIELDS."""

    def format(self, record: logging.LogRecord) -> str:
        """The object as text, in the program's time."""
        now = self._clock.now_ms()
        told: dict[str, object] = {
            "time": format_utc(now),
            "time_ms": now,
            "level": record.levelname.lower(),
            "run": self.run,
            "message": self.shown(words_of(record)),
        }
        if is_foreign(record):
            told["logger"] = record.name
        event = getattr(record, "event", None)
        if event is not None:
            told["event"] = event
            told |= {name: self._value(value) for name, value in getattr(record, "fields", {}).items()}
        return json.dumps(told, ensure_ascii=False)

    def _value(self, value: object) -> object:
        if isinstance(value, str):
            return self.shown(value)
        if isinstance(value, (list, tuple)):
            return [self._value(each) for each in value]
        return value


def is_foreign(record: logging.LogRecord) -> bool:
    """Whether a library logged it."""
    return record.name.partition(".")[0] != LOG.name


def words_of(record: logging.LogRecord) -> str:
    """What a record says, with the last line of a traceback that it carries; a library may format it wrongly."""
    try:
        text = record.getMessage()
    except (TypeError, ValueError):
        text = f"{record.msg} {record.args}"
    error = record.exc_info[1] if record.exc_info else None
    return text if error is None else f"{text}: {type(error).__name__}: {error}"


def one_line(text: str, hidden: Iterable[str] = ()) -> str:
    """The text without secrets and with everything unprintable escaped: a stranger's words cannot forge a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in masked(text, hidden))
