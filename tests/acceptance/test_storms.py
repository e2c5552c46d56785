"""Ten more storms, each over a longer stretch than in `make check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.storms import weather

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 110))
def test_every_fault_together(tmp_path: Path, seed: int) -> None:
    """Each transient fault at 3 %: complete, right, every refused row kept with its reason, nothing falsely absent."""
    weather(tmp_path, seed, days=30)
