"""Longer storms over several sources than in `make check`: other seeds, more runs, more series."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fetcher.model import HOUR, MINUTE
from tests.integration.source_storms import MOST, Storm, blow

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(100, 103))
def test_three_days_of_storm(tmp_path: Path, seed: int) -> None:
    """Complete, right, healed, within every limit, and at most MOST times the requests that had to be."""
    assert blow(tmp_path, Storm(("BTC", "ETH", "SOL", "ADA", "XRP", "DOT"), 72, HOUR), seed) <= MOST


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(200, 202))
def test_a_storm_under_cron(tmp_path: Path, seed: int) -> None:
    """The same with a run every five minutes, where each finds little to do."""
    assert blow(tmp_path, Storm(("BTC", "ETH", "SOL", "ADA"), 12, 5 * MINUTE), seed) <= MOST
