"""A day of failures on every source, with the best of them away for a third of it, costs little and loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fetcher.model import HOUR
from tests.integration.source_storms import MOST, Storm, blow

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")


def test_a_day_of_storm(tmp_path: Path) -> None:
    """Complete, right, healed, within every limit, and at most MOST times the requests that had to be."""
    assert blow(tmp_path, Storm(("BTC", "ETH", "SOL", "ADA"), 24, HOUR), seed=1) <= MOST
