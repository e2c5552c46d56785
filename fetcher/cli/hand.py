"""Who is at the keyboard, for the record of changes made by hand."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from db.audit_log import Hand
from fetcher.clock import format_utc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from db.jobs import JobRow
    from fetcher.cli.invocation import Invocation
    from fetcher.model import Series

MOST_NAMED = 100  # of what a command changed; the others are counted


def hand(call: Invocation, action: str) -> Hand:
    """Whoever called this command, now."""
    return Hand(f"{_user()}@{socket.gethostname()}", action, call.clock.now_ms())


def job_words(job: JobRow, by_id: Mapping[int, Series]) -> str:
    """`17 BTC/USDT 1h gap 2026-03-01T00:00:00Z … 2026-03-02T00:00:00Z`."""
    return f"{job.id} {by_id[job.series_id]} {job.kind} {format_utc(job.start_ms)} … {format_utc(job.end_ms)}"


def _user() -> str:
    """The account's own name, not what the environment calls it; behind sudo also who called that."""
    import pwd  # noqa: PLC0415 (not on every system)

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an account
        name = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER")
    return f"{behind} as {name}" if behind else name
