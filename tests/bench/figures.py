"""Figures and the limits beside them: medians, ratios, what is to be reached, and the table of it all."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAME, _VALUE, _SPREAD, _RATIO, _GOAL = 68, 17, 24, 10, 18
_WHOLE = 50  # from here on decimals say nothing


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be reached; of a figure in its own unit, of a limit as the figure's share of it."""

    at_least: float | None = None
    at_most: float | None = None

    def is_missed(self, value: float) -> bool:
        """Whether a value does not do."""
        return (self.at_least is not None and value < self.at_least) or (
            self.at_most is not None and value > self.at_most
        )

    def verdict(self, value: float) -> str:
        """`reached` or `MISSED`, with the goal; empty where there is none."""
        word = "MISSED" if self.is_missed(value) else "reached"
        bounds = (("≥", self.at_least), ("≤", self.at_most))
        return " ".join(f"{word} {sign} {_number(bound)}" for sign, bound in bounds if bound is not None)


_NO_GOAL = Goal()


@dataclass(frozen=True, slots=True)
class Limit:
    """What the same machine does in the same run, in the unit of the figure it stands beside."""

    name: str
    values: Sequence[float]
    goal: Goal = _NO_GOAL


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured several times, with the limits it is judged by."""

    name: str
    unit: str
    values: Sequence[float]
    limits: Sequence[Limit] = field(default_factory=tuple)
    goal: Goal = _NO_GOAL

    @property
    def median(self) -> float:
        """The middle of the measured values."""
        return median(self.values)

    def ratio(self, limit: Limit) -> float:
        """The figure as a share of one of its limits."""
        return self.median / median(limit.values)

    @property
    def missed(self) -> list[str]:
        """The goals that were missed, as sentences."""
        own = [f"{self.name}: {self.goal.verdict(self.median)}"] if self.goal.is_missed(self.median) else []
        return own + [
            f"{self.name}, beside {limit.name}: {self.ratio(limit):.2f} ×, {limit.goal.verdict(self.ratio(limit))}"
            for limit in self.limits
            if limit.goal.is_missed(self.ratio(limit))
        ]


def table(figures: Sequence[Figure], before: Mapping[str, float], *, judged: bool) -> str:
    """The figures as text, each followed by its limits; `before` holds the medians of an earlier run, by name.

    Goals are shown where `judged`: they are set for full sizes.
    """
    lines = [_line("", "median", "min … max", "ratio", "to reach", "before")]
    for figure in figures:
        earlier = before.get(figure.name)
        value = f"{_number(figure.median)} {figure.unit}"
        verdict = figure.goal.verdict(figure.median) if judged else ""
        lines.append(_line(figure.name, value, _spread(figure.values), "", verdict, _change(figure.median, earlier)))
        for limit in figure.limits:
            ratio = figure.ratio(limit)
            value = f"{_number(median(limit.values))} {figure.unit}"
            verdict = limit.goal.verdict(ratio) if judged else ""
            lines.append(_line(f"    beside {limit.name}", value, _spread(limit.values), f"{ratio:.2f} ×", verdict, ""))
    return "\n".join(lines)


def _line(name: str, value: str, spread: str, ratio: str, goal: str, before: str) -> str:
    cells = f"{name:<{_NAME}}{value:>{_VALUE}}{spread:>{_SPREAD}}{ratio:>{_RATIO}}   {goal:<{_GOAL}}{before}"
    return cells.rstrip()


def _change(now: float, earlier: float | None) -> str:
    if earlier is None:
        return ""
    return f"{_number(earlier)} ({now / earlier - 1:+.0%})" if earlier else _number(earlier)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _WHOLE or value == 0 else f"{value:.2f}"


def _spread(values: Sequence[float]) -> str:
    return f"{_number(min(values))} … {_number(max(values))}" if len(values) > 1 else ""
