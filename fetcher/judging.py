"""What an answer holds: its sound candles, and what is refused of it; rows off the grid are confirmed by another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fetcher.model import Window, empty_rows
from fetcher.validation import snap

if TYPE_CHECKING:
    from fetcher.model import Rows, Series
    from fetcher.router import APIRouter
    from fetcher.served import Served
    from fetcher.validation import DataValidator, Refused


class Judge:
    """Judges answers, asking their source once more where that is needed."""

    def __init__(self, router: APIRouter, validator: DataValidator) -> None:
        self._router = router
        self._validator = validator

    def page(self, series: Series, window: Window, served: Served) -> tuple[Rows, tuple[Refused, ...]]:
        """The candles (dtype CANDLE, ascending) that an answer about a window holds, and what is refused of it."""
        verdict = self._validator.check(served.page, series.grid, window, served.proven_ms)
        if len(verdict.off_grid) == 0:
            return verdict.rows, verdict.refused
        again = self._router.candles(series, window.start, window.end, only=served.source, partly=True)
        second = self._validator.check(again.page, series.grid, window, again.proven_ms)
        snapped, refused = snap(verdict.off_grid, second.off_grid, series.grid, verdict.rows["open_time"])
        rows = np.concatenate([verdict.rows, snapped])
        return rows[np.argsort(rows["open_time"], kind="stable")], (*verdict.refused, *second.refused, *refused)

    def nearest(
        self, series: Series, start: int | None, end: int | None, served: Served, inside: Window
    ) -> tuple[Rows, tuple[Refused, ...]]:
        """The candles that an answer to an open question holds: `start` or `end` is None.

        Beside `inside` a candle off the grid stands for its slot, since only its place matters; inside it is refused,
        as it would have to be confirmed.
        """
        anywhere = Window(start or 0, max(start or 0, end or served.proven_ms or 0))
        verdict = self._validator.check(served.page, series.grid, anywhere, served.proven_ms)
        late = verdict.off_grid.copy()
        within = (late["open_time"] >= inside.start) & (late["open_time"] < inside.end)
        _, refused = snap(late[within], empty_rows(), series.grid, ())
        late = late[~within]
        late["open_time"] = series.grid.floor_all(late["open_time"])
        return np.concatenate([verdict.rows, late]), (*verdict.refused, *refused)
