"""Where the body of an answer keeps its candles, cell by cell: what lets one fault spoil every vendor's format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

Row: TypeAlias = "list[Any]"


def _is_rows(document: Any) -> list[Row]:
    return [list(row) for row in document]


def _replaced(_document: Any, rows: list[Row]) -> Any:
    return rows


class Layout(Struct, frozen=True):
    """The places of a row's cells; `volume` and `end` (the close time) are None where a row has none.

    `cells` is how many of them a client reads, `unit` the ms of one step of their times. `take` and `put` find the rows
    in a decoded body and put others in their place; rows are handled oldest first, whatever the order on the wire.
    """

    cells: int
    open: int = 1
    high: int = 2
    low: int = 3
    close: int = 4
    volume: int | None = 5
    end: int | None = None
    unit: int = 1
    times_as_text: bool = False
    numbers_as_text: bool = True
    newest_first: bool = False
    take: Callable[[Any], list[Row]] = _is_rows
    put: Callable[[Any, list[Row]], Any] = _replaced

    def rows(self, document: Any) -> list[Row]:
        """Copies of the body's rows, oldest first."""
        rows = self.take(document)
        return rows[::-1] if self.newest_first else rows

    def body(self, document: Any, rows: list[Row]) -> Any:
        """The body with these rows (oldest first) instead of its own."""
        return self.put(document, rows[::-1] if self.newest_first else rows)

    @property
    def times(self) -> tuple[int, ...]:
        """The places of times."""
        return (0,) if self.end is None else (0, self.end)

    def number(self, value: float) -> str | float:
        """A price or volume as this format writes it."""
        return f"{value:.8f}" if self.numbers_as_text else value

    def in_units(self, row: Row, convert: Callable[[int], int]) -> Row:
        """The row with each time (in the format's own unit) converted."""
        changed = list(row)
        for at in self.times:
            told = convert(int(changed[at]))
            changed[at] = str(told) if self.times_as_text else told
        return changed

    def moved(self, row: Row, ms: int) -> Row:
        """The row `ms` later, at least one unit where `ms` is not 0."""
        steps = ms // self.unit or (1 if ms else 0)
        return self.in_units(row, lambda time: time + steps)

    def time_ms(self, row: Row) -> int:
        """The row's time in ms."""
        return int(row[0]) * self.unit


BINANCE_ROWS = Layout(cells=11, end=6)
