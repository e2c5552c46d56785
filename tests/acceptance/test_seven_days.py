"""Seven simulated days of the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.days import MOST, Script, live

if TYPE_CHECKING:
    from pathlib import Path

SEVEN_DAYS = Script(
    hours=168, speed=480, binance_down=(20.0, 23.5), two_down=(90.0, 92.0), outage=(50.0, 53.0), restart=36.0,
    kill=60.0, bad_configuration=72.0, good_configuration=73.0, jump=110.0,
)  # fmt: skip


@pytest.mark.timeout(3600)
def test_seven_days(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Complete, right, healed, as few requests as can be, and within its memory."""
    report = live(tmp_path, SEVEN_DAYS, 7)
    with capsys.disabled():
        print(f"\n{report}")
    assert report.ratio <= MOST, report
    late = report.resident[len(report.resident) * 7 // 10 :]  # the last process is four days old at the end
    assert max(late) <= 1.05 * late[0], report
