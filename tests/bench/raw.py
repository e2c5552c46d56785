"""The limit of writing: the same rows into the same table by the driver alone, in commits alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tests.bench.places import POSTGRESQL, engine_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from db.candles import Rows
    from tests.bench.places import Place

    Ways = dict[str, Callable[[], float]]


def by_month(rows: Rows) -> list[Rows]:
    """The rows of each month of each series: what the program commits at once of an archive."""
    month = rows["open_time"].astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    breaks = np.flatnonzero((np.diff(month) != 0) | (np.diff(rows["series_id"]) != 0)) + 1
    return np.split(rows, breaks)


def by_number(rows: Rows, number: int) -> list[Rows]:
    """So many rows at a time."""
    return [rows[start : start + number] for start in range(0, len(rows), number)]


def ways(place: Place, commits: Sequence[Rows]) -> Ways:
    """Ways to write these commits into an empty database beside `place`: by name, each answers rows a second.

    The first is the one that the program is judged by.
    """
    beside = place.beside()
    if place.kind == POSTGRESQL:
        from tests.bench.raw_postgresql import postgresql_ways  # noqa: PLC0415 - the driver

        made = postgresql_ways(commits)
    else:
        from tests.bench.raw_sqlite import sqlite_ways  # noqa: PLC0415 - as the other

        made = sqlite_ways(commits)
    number = sum(map(len, commits))

    def timed(write: Callable[[str], float]) -> float:
        beside.empty()
        with engine_of(beside):
            pass  # the program's tables
        beside.settle()
        return number / write(beside.url)

    return {name: lambda write=write: timed(write) for name, write in made.items()}  # type: ignore[misc]  # a lambda's default has no type
