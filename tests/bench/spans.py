"""One backfill measured from all sides: from inside, as a whole process, and the limits of writing and of fetching."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING

from tests.bench import raw
from tests.bench.figures import Figure, Goal, Limit
from tests.bench.places import count_rows, stored_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from db.candles import Rows
    from tests.bench.stage import Stage

_NONE: Mapping[str, Callable[[], float]] = MappingProxyType({})


@dataclass(slots=True)
class Span:
    """A window of a stage's series, and what was measured of it: rows a second, one value for each repetition.

    `inside` is from the first request to the last commit, `outside` the whole process of the real command, `cpu` the
    seconds of CPU that this spent for a million rows.
    """

    label: str
    here: Stage
    start: str
    end: str
    rows: int = 0
    inside: list[float] = field(default_factory=list)
    outside: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    limits: dict[str, list[float]] = field(default_factory=dict)
    whole_limits: dict[str, list[float]] = field(default_factory=dict)

    def warm(self) -> Rows:
        """Backfill once, so that everything is rendered, compiled and cached that can be; the rows that came."""
        self.here.backfill(self.start, self.end)
        rows = stored_rows(self.here.place)
        self.rows = len(rows)
        return rows

    def measure(
        self, repeats: int, commits: Sequence[Rows], beside: Mapping[str, Callable[[], float]] = _NONE,
        whole: Mapping[str, Callable[[], float]] = _NONE,
    ) -> None:  # fmt: skip
        """Measure limits and program in turns; `beside`: limits of fetching, `whole`: of processes, in rows/s."""
        limits = {**raw.ways(self.here.place, commits), **beside}
        for _ in range(repeats):
            for name, limit in limits.items():
                self.limits.setdefault(name, []).append(limit())
            self.measure_inside()
            for name, limit in whole.items():
                self.whole_limits.setdefault(name, []).append(limit())
            ran = self.here.whole_backfill(self.start, self.end)
            self._check(count_rows(self.here.place))
            self.outside.append(self.rows / ran.wall)
            self.cpu.append(ran.cpu / self.rows * 1_000_000)

    def measure_inside(self) -> None:
        """Measure the program once from inside."""
        told, _ = self.here.backfill(self.start, self.end)
        self._check(told["rows"])
        self.inside.append(told["rows"] / told["seconds"])

    def figures(
        self, *, inside: Goal | None = None, outside: Goal | None = None, share: float | None = None
    ) -> list[Figure]:
        """Both ways to look at it, each to be at least `share` of the first limit, beside the others."""
        first, *others = self.limits.items()
        limits = [
            Limit(f"{first[0]} ({self.rows:,} rows)", first[1], Goal(at_least=share)),
            *(Limit(name, values) for name, values in others),
        ]
        whole = [limits[0], *(Limit(name, values) for name, values in self.whole_limits.items())]
        return [
            Figure(f"{self.label}, first request → last commit", "rows/s", self.inside, limits, inside or Goal()),
            Figure(f"{self.label}, whole process", "rows/s", self.outside, whole, outside or Goal()),
            Figure(f"{self.label}, whole process: CPU for a million rows", "s", self.cpu),
        ]

    @property
    def speed(self) -> float:
        """Rows a second from inside: the median."""
        return median(self.inside)

    def _check(self, came: int) -> None:
        if came != self.rows:
            raise RuntimeError(f"{self.label}: {came:,} of {self.rows:,} rows came")
