"""The calendar of an exchange's archive: one file a month, one a day, and from when each can be expected. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from fetcher.model import DAY, HOUR, FixedGrid, MonthGrid, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

MONTHLY, DAILY = "monthly", "daily"
_DAYS, _MONTHS = FixedGrid(DAY), MonthGrid()
_MONDAYS = FixedGrid(7 * DAY, 4 * DAY)  # 1970-01-05 was one
DAY_COMES_AFTER = 9 * HOUR  # of the next day: dailies were seen to come between 02:50 and 08:40 UTC


class Period(Struct, frozen=True, order=True):
    """The calendar month or day (UTC) that one file is about; `start` is its first ms, UTC."""

    start: int
    kind: str

    @property
    def window(self) -> Window:
        """Its open times."""
        grid = _MONTHS if self.kind == MONTHLY else _DAYS
        return Window(self.start, grid.next(self.start))

    @property
    def expected_ms(self) -> int:
        """When its file is there, as a rule (ms UTC): of a day on the next morning, of a month on its first Monday.

        Some come days later (binance-public-data #321, #410): a file that is not there yet says nothing else.
        """
        end = self.window.end
        return (end if self.kind == DAILY else _MONDAYS.ceil(end)) + DAY_COMES_AFTER


def months(window: Window) -> list[Period]:
    """The months that a window touches, ascending."""
    return _periods(window, MONTHLY)


def days(window: Window) -> list[Period]:
    """The days that a window touches, ascending."""
    return _periods(window, DAILY)


def _periods(window: Window, kind: str) -> list[Period]:
    grid = _MONTHS if kind == MONTHLY else _DAYS
    if not window:
        return []
    return [Period(int(slot), kind) for slot in grid.slots(Window(grid.floor(window.start), window.end))]


def inside(period: Period, windows: Sequence[Window]) -> tuple[Window, ...]:
    """What of some windows lies in a period."""
    return tuple(part for window in windows if (part := window.intersect(period.window)))
