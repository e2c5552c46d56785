"""Why candles of a range that was read are missing: as `gaps` tells it, and what only a reader meets. Pure.

Status besides those of `gaps`: `unwanted` (before the configured start), `lost` (stored once, and gone since).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fetcher.cli.gaps import reasons
from fetcher.gaps import GapDetector
from fetcher.model import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.intervals import Interval
    from db.jobs import JobRow
    from fetcher.model import Series

UNWANTED, LOST = "unwanted", "lost"


def explained(
    series: Series, missing: Sequence[Window], covered: Sequence[Interval], open_jobs: Sequence[JobRow]
) -> list[dict[str, Any]]:
    """The missing windows as `gaps` has them, cut where the reason changes."""
    known = [Window(each.start_ms, each.end_ms) for each in covered]
    detector = GapDetector(series.grid)
    found = []
    for window in missing:
        uncovered = detector.missing(window, known)
        lost = detector.missing(window, uncovered)
        before = Window(window.start, max(window.start, min(window.end, series.wanted_start_ms)))
        for part in sorted((*lost, *(cut for gap in uncovered for cut in _cut(detector, gap, before.end)))):
            if part in lost:
                why = [{"status": LOST, "jobs": 0, "reason": None}]
            elif part.end <= series.grid.ceil(before.end) and before:
                why = [{"status": UNWANTED, "jobs": 0, "reason": None}]
            else:
                why = reasons(part, open_jobs)
            found.append(
                {
                    "symbol": series.symbol,
                    "timeframe": series.timeframe.name,
                    "start_ms": part.start,
                    "end_ms": part.end,
                    "missing": series.grid.count(part),
                    "why": why,
                }
            )
    return found


def _cut(detector: GapDetector, gap: Window, at: int) -> list[Window]:
    """A gap in two where the configured start lies inside."""
    middle = min(max(at, gap.start), gap.end)
    return [
        trimmed for part in (Window(gap.start, middle), Window(middle, gap.end)) if (trimmed := detector.trim(part))
    ]
