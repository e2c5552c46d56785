"""Quiet hours: a span of each day, by the clocks of a place, in which nobody wants to be woken."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from msgspec import Struct

_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)(?:\s+(\S+))?")


class QuietHours(Struct, frozen=True):
    """From one minute of the day to another (0 … 1439, the second left out), over midnight where it is the smaller."""

    start: int
    end: int
    zone: str

    def cover(self, now_ms: int) -> bool:
        """Whether it is quiet at a moment (ms UTC)."""
        from zoneinfo import ZoneInfo  # noqa: PLC0415 (for those who want quiet hours)

        there = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(self.zone))
        minute = there.hour * 60 + there.minute
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def parse_quiet_hours(value: object) -> QuietHours | None:
    """Read `22:00-07:00 Europe/Berlin` (UTC where no place is named); ValueError for anything else."""
    if value is None or isinstance(value, QuietHours):
        return value
    match = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} are no quiet hours; write them like '22:00-07:00 Europe/Berlin'")
    start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if start == end:
        raise ValueError(f"{value!r} are no quiet hours: they end when they begin")
    zone = match[5] or "UTC"
    from zoneinfo import ZoneInfo  # noqa: PLC0415 (the same)

    try:
        ZoneInfo(zone)
    except (OSError, ValueError):  # a path that leads out of the time zones, or to a folder of them
        raise ValueError(f"there is no time zone {zone!r}; write one like Europe/Berlin") from None
    except KeyError:  # the library's own error of a zone that it does not find
        raise ValueError(
            f"there is no time zone {zone!r} on this machine; write one like Europe/Berlin, or install tzdata"
        ) from None
    return QuietHours(start, end, zone)
