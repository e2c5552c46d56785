"""Which answer gets which fault: by chance, with a seed, or by a script of the next requests; at most one each."""

from __future__ import annotations

from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING

from msgspec import Struct, field

from fetcher.errors import ConfigError
from fetcher.sandbox.binance import KLINES
from fetcher.sandbox.faults import FAULT, FAULTS, TRANSIENT, Scene, Severity
from fetcher.sandbox.layout import BINANCE_ROWS
from fetcher.sandbox.refusals import complain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.sandbox.answer import Answer, Complaint
    from fetcher.sandbox.layout import Layout

NONE = "none"
"""A script's name for an answer left as it is."""
_GROUPS = {"transient": TRANSIENT, "all": FAULTS}


class Script(Struct):
    """The next `count` answers of `path` (`*` stands for anything) get `fault`; with a symbol only those about it.

    The symbol is the vendor's own name of the market, like `BTC-USDT` or `bitcoin`.
    """

    fault: str
    count: int = 1
    symbol: str | None = None
    path: str = KLINES


def check_chances(chances: Mapping[str, float]) -> dict[str, float]:
    """Chances by fault, groups (`transient`, `all`) written out; ConfigError for unknown names or sums above one."""
    checked: dict[str, float] = {}
    for name, chance in chances.items():
        if name not in FAULT and name not in _GROUPS:
            raise ConfigError(f"unknown fault {name!r}; one of {', '.join((*FAULTS, *_GROUPS))}")
        if not 0 <= chance <= 1:
            raise ConfigError(f"the chance of fault {name} is {chance}; give a number from 0 to 1")
        checked.update(dict.fromkeys(_GROUPS.get(name, (name,)), chance))
    if sum(checked.values()) > 1 + 1e-9:
        raise ConfigError(f"the chances of all faults add up to {sum(checked.values()):.2f}; at most 1 in total")
    return checked


class FaultPlan(Struct):
    """Chances, scripts and the paths they hold for (klines alone unless told otherwise), of one exchange's format."""

    chances: dict[str, float] = field(default_factory=dict)
    paths: tuple[str, ...] = (KLINES,)
    severity: Severity = field(default_factory=Severity)
    rng: Random = field(default_factory=lambda: Random(0))
    scripts: list[Script] = field(default_factory=list)
    layout: Layout = BINANCE_ROWS

    def queue(self, script: Script) -> None:
        """Add a script after those already waiting."""
        if script.fault != NONE and script.fault not in FAULT:
            raise ConfigError(f"unknown fault {script.fault!r}; one of {', '.join((NONE, *FAULTS))}")
        if script.count < 1:
            raise ConfigError(f"a script for {script.count} answers does nothing; count has to be at least 1")
        self.scripts.append(script)

    def spoil(
        self, path: str, answer: Answer, now_ms: int, complain: Complaint = complain
    ) -> tuple[Answer, str | None]:
        """The answer as it leaves, and the fault it got, if any; an exchange's own refusals are left alone.

        `complain` is how the exchange says that something failed.
        """
        if answer.status != 200:  # noqa: PLR2004 - the only good answer there is
            return answer, None
        name = self._choose(path, answer)
        if name is None:
            return answer, None
        spoiled = FAULT[name](answer, Scene(self.rng, self.severity, now_ms, self.layout, complain))
        return spoiled, None if spoiled is answer else name

    def _choose(self, path: str, answer: Answer) -> str | None:
        symbol = answer.asked.symbol if answer.asked else None
        for script in self.scripts:
            if fnmatchcase(path, script.path) and script.symbol in {None, symbol}:
                script.count -= 1
                if not script.count:
                    self.scripts.remove(script)
                return None if script.fault == NONE else script.fault
        if not self.chances or not any(fnmatchcase(path, pattern) for pattern in self.paths):
            return None
        drawn = self.rng.random()
        for name, chance in self.chances.items():
            drawn -= chance
            if drawn < 0:
                return name
        return None
