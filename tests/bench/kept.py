"""What a run of the bench leaves behind: small JSON with which the next run compares itself."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from typing import TYPE_CHECKING, Any

from fetcher.clock import Clock, format_utc

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.bench.figures import Figure


def read_medians(path: Path) -> dict[str, float]:
    """The medians that earlier runs left at `path`, by the figures' names; none where there were none."""
    return {name: float(kept["median"]) for name, kept in _read(path).items()}


def keep(path: Path, figures: Sequence[Figure]) -> None:
    """Leave every value measured; figures that this run did not measure stay as they were."""
    measured = format_utc(Clock().now_ms() // 1000 * 1000)
    new = {
        figure.name: {
            "median": round(figure.median, 4),
            "unit": figure.unit,
            "values": [round(value, 4) for value in figure.values],
            "limits": {limit.name: [round(value, 4) for value in limit.values] for limit in figure.limits},
            "measured": measured,
        }
        for figure in figures
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    document = {"machine": machine, "figures": _read(path) | new}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["figures"]
    except (OSError, ValueError, KeyError):
        return {}
    return found
