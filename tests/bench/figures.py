"""Figures and the limits beside them: medians, ratios, what is to be reached, and the table of it all."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_NAME, _VALUE, _SPREAD, _RATIO, _GOAL = 56, 17, 24, 10, 18
_WHOLE = 50  # from here on decimals say nothing


@dataclass(frozen=True, slots=True)
class Limit:
    """What the same machine does at most in the same run, in the unit of the figure it stands beside."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured several times, with the limits it is judged by; `at_least` and `at_most` are to be reached."""

    name: str
    unit: str
    values: Sequence[float]
    limits: Sequence[Limit] = field(default_factory=tuple)
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        """The middle of the measured values."""
        return median(self.values)

    @property
    def verdict(self) -> str:
        """`reached` or `MISSED`, with the goal; empty where there is none."""
        if self.at_least is not None:
            return f"{'reached' if self.median >= self.at_least else 'MISSED'} ≥ {_number(self.at_least)}"
        if self.at_most is not None:
            return f"{'reached' if self.median <= self.at_most else 'MISSED'} ≤ {_number(self.at_most)}"
        return ""


def table(figures: Sequence[Figure], before: Mapping[str, float], *, judged: bool) -> str:
    """The figures as text, each followed by its limits; `before` holds the medians of an earlier run, by name.

    Goals are shown where `judged`: they are set for full sizes.
    """
    lines = [_line("", "median", "min … max", "ratio", "to reach", "before")]
    for figure in figures:
        earlier = before.get(figure.name)
        change = "" if earlier is None else f"{_number(earlier)} ({figure.median / earlier - 1:+.0%})"
        value = f"{_number(figure.median)} {figure.unit}"
        verdict = figure.verdict if judged else ""
        lines.append(_line(figure.name, value, _spread(figure.values), "", verdict, change))
        for limit in figure.limits:
            ratio = figure.median / median(limit.values)
            lines.append(
                _line(
                    f"    beside {limit.name}",
                    f"{_number(median(limit.values))} {figure.unit}",
                    _spread(limit.values),
                    f"{ratio:.2f} ×",
                    "",
                    "",
                )
            )
    return "\n".join(lines)


def read_medians(path: Path) -> dict[str, float]:
    """The medians that an earlier run left at `path`; none where there was none."""
    try:
        found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))["medians"]
    except (OSError, ValueError, KeyError):
        return {}
    return found


def write_medians(path: Path, figures: Sequence[Figure]) -> None:
    """Leave the medians, with every value measured, for the next run to compare with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "medians": {figure.name: figure.median for figure in figures},
        "values": {figure.name: list(figure.values) for figure in figures},
        "limits": {f.name: {limit.name: list(limit.values) for limit in f.limits} for f in figures},
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _line(name: str, value: str, spread: str, ratio: str, goal: str, before: str) -> str:
    cells = f"{name:<{_NAME}}{value:>{_VALUE}}{spread:>{_SPREAD}}{ratio:>{_RATIO}}   {goal:<{_GOAL}}{before}"
    return cells.rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _WHOLE else f"{value:.2f}"


def _spread(values: Sequence[float]) -> str:
    return f"{_number(min(values))} … {_number(max(values))}" if len(values) > 1 else ""
