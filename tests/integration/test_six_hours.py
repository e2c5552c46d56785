"""Six simulated hours of the daemon; seven days of them are in tests/acceptance/test_seven_days.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.days import MOST, Script, live

if TYPE_CHECKING:
    from pathlib import Path

SIX_HOURS = Script(
    hours=6, speed=360, binance_down=(0.8, 1.5), two_down=(4.0, 4.5), outage=(2.0, 2.5), restart=1.8, kill=2.8,
    bad_configuration=3.2, good_configuration=3.4, jump=3.7,
)  # fmt: skip


@pytest.mark.timeout(240)
def test_six_hours(tmp_path: Path) -> None:
    """Complete, right, healed, as few requests as can be, and within its memory."""
    report = live(tmp_path, SIX_HOURS, 6)
    assert report.ratio <= MOST, report
    assert report.resident[-1] <= report.resident[len(report.resident) // 2] + 40, report  # it still learns things
