"""A hundred kills of backfills on both databases, at moments that other seeds choose than in `make check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.kills import survive

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("seed", range(100, 105))
def test_a_hundred_kills(tmp_path: Path, seed: int) -> None:
    """Five backfills, each killed ten times and then left alone, are right to the last bit."""
    survive(tmp_path, seed=seed, kills=10, days=60, most_seconds=0.5)
