"""Goals: what the vitals are held against by default or by the configuration. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from fetcher.sections import Goals
    from fetcher.vitals import Vitals


class Goal(Struct, frozen=True):
    """One number and what is wanted of it: shares 0 … 1, times in seconds. None: nothing can be said yet."""

    name: str
    value: float | None
    wanted: float
    met: bool | None

    @property
    def sentence(self) -> str:
        """`API success 97.20 % (goal: at least 99 %)`."""
        words, at = _WORDS[self.name]
        return f"{words} {_shown(self.name, self.value)} (goal: {at} {_shown(self.name, self.wanted)})"


_WORDS = {
    "api_success": ("API success", "at least"),
    "response": ("mean response", "below"),
    "gap_recovery": ("gap recovery", "at least"),
    "completeness": ("completeness", "at least"),
}


def judged(vitals: Vitals, goals: Goals) -> tuple[Goal, ...]:
    """Each goal with its number as it is; completeness is missed as long as there are series without any candle."""
    response = None if vitals.response_ms is None else vitals.response_ms / 1000
    completeness = _at_least("completeness", vitals.completeness, goals.completeness)
    if vitals.unfetched:
        completeness = Goal("completeness", vitals.completeness, goals.completeness, goals.completeness == 0)
    return (
        _at_least("api_success", vitals.api_success, goals.api_success),
        Goal("response", response, goals.response, None if response is None else response < goals.response),
        _at_least("gap_recovery", vitals.gap_recovery, goals.gap_recovery),
        completeness,
    )


def _at_least(name: str, value: float | None, wanted: float) -> Goal:
    return Goal(name, value, wanted, None if value is None else value >= wanted)


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "unknown"
    if name == "response":
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    return f"{value:.0%}".replace("%", " %") if round(value, 2) == value else f"{int(value * 10_000) / 100:.2f} %"
