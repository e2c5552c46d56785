"""A backfill that is killed loses nothing that it had committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.kills import survive

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("database")


def test_ten_kills(tmp_path: Path) -> None:
    """Ten kill -9 at seeded moments, then one clean run: equal to the oracle, nothing fetched twice, nothing leased."""
    survive(tmp_path, seed=1, kills=10, days=60, most_seconds=0.5)
