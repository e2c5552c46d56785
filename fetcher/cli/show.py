"""How answers look: tables and lines for people, one JSON object for machines, times in UTC."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

import typer

from fetcher.clock import brief_utc
from fetcher.wire import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

LONGEST_CELL = 160
_LONG_TABLE = 200  # rows; nobody reads more of them folded, and drawing takes a third of a millisecond each
_ZERO_SECONDS = re.compile(r"(?<=T\d\d:\d\d):00Z\b")


def utc(ms: int | None) -> str:
    """`2026-04-30T04:00Z`, with whole seconds only where there are any; `-` for None."""
    return "-" if ms is None else brief_utc(ms)


def number(value: float | None) -> str:
    """An integer with thousands marked, a fraction with one place, `-` for None."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def plain(text: object, limit: int = LONGEST_CELL) -> str:
    """Anybody's text in one printable line of at most `limit` characters, times as `utc` writes them; `-` for None."""
    return "-" if text is None else excerpt(_ZERO_SECONDS.sub("Z", str(text)), limit)


def put_json(answer: Mapping[str, Any]) -> None:
    """Print one JSON object; what a terminal might obey is escaped in it as JSON has it."""
    text = json.dumps(answer, ensure_ascii=False, indent=2)
    if not text.replace("\n", "").isprintable():
        text = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    typer.echo(text)


def put_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows below their headings; columns whose heading begins with `#` are numbers, aligned right.

    On a terminal long cells are folded to its width; elsewhere, and in a long table, a row is a line.
    """
    cells = [[number(cell) if isinstance(cell, int) else plain(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and len(cells) <= _LONG_TABLE:
        _draw(columns, cells)
    else:
        typer.echo("\n".join(_lines(columns, cells)))


def _lines(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    table = [[column.removeprefix("#") for column in columns], *cells]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    for row in table:
        padded = []
        for column, cell, width in zip(columns, row, widths, strict=True):
            blanks = " " * (width - _width(cell))
            padded.append(blanks + cell if column.startswith("#") else cell + blanks)
        yield "  ".join(padded).rstrip()


def _width(text: str) -> int:
    """How many columns of a terminal the text takes: there are markets with Chinese names."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in {"W", "F"} else 1 for c in text
    )


def _draw(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 (a tenth of a second, for those who look at a table)
    from rich.table import Table  # noqa: PLC0415 (the same)
    from rich.text import Text  # noqa: PLC0415 (the same)

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            column.removeprefix("#"), justify="right" if column.startswith("#") else "left", overflow="fold"
        )
    for row in cells:
        table.add_row(*map(Text, row))
    console = Console()
    with console.capture() as drawn:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in drawn.get().splitlines()))
