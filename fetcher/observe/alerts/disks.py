"""How much room is left where the program writes: its SQLite file, and the log that stderr goes to."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

_STDERR = 2


class Disk(Struct, frozen=True):
    """A disk by what is written to it; `free` are bytes that this user may still write."""

    what: str
    free: int


def disks(database_file: Path | None) -> tuple[Disk, ...]:
    """The disks that matter; a log on the database's own disk is not named again."""
    found: dict[int, Disk] = {}
    if database_file is not None:
        with suppress(OSError):
            folder = database_file.parent
            found[folder.stat().st_dev] = Disk("database", shutil.disk_usage(folder).free)
    with suppress(OSError, ValueError):
        log = os.fstat(_STDERR)
        if stat.S_ISREG(log.st_mode):  # cron's wrapper sends it there; a terminal or a pipe fills no disk
            room = os.fstatvfs(_STDERR)
            found.setdefault(log.st_dev, Disk("log", room.f_bavail * room.f_frsize))
    return tuple(found.values())
