"""The last resort against a run that hangs: cron starts the next one, but this one holds the run lock."""

from __future__ import annotations

import faulthandler
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

GRACE = 900.0
"""Seconds of the wall clock after its time budget in which a run that is well has long ended."""
_STDERR = 2


@contextmanager
def ending_what_hangs(seconds: float) -> Iterator[None]:
    """End this process where the block takes longer, with where each thread stood on stderr; committed work is safe.

    It is C that waits: no thread of Python's, which whatever hangs might keep from running.
    """
    faulthandler.dump_traceback_later(seconds, file=_STDERR, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
