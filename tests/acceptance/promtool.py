"""Prometheus' own programs: the system's where it has them, else those of Debian's package, unpacked beside the tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping


def programs(folder: Path) -> Path:
    """The folder that holds `prometheus` and `promtool`; skips where they are not here and cannot be got."""
    found = shutil.which("promtool")
    if found is not None:
        return Path(found).parent
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or dpkg is None:
        pytest.skip("promtool is not installed, and this system has no packages of Debian's")
    folder.chmod(0o755)
    got = subprocess.run([apt, "download", "prometheus"], cwd=folder, capture_output=True, text=True, check=False)
    packages = list(folder.glob("prometheus_*.deb"))
    if got.returncode or not packages:
        pytest.skip(f"promtool is not installed, and its package cannot be got: {got.stderr.strip()[-200:]}")
    subprocess.run([dpkg, "-x", packages[0], folder / "unpacked"], check=True, timeout=120)
    packages[0].unlink()
    return folder / "unpacked" / "usr" / "bin"


def ask(promtool: Path, *words: str, given: str | None = None) -> tuple[int, str]:
    """Exit code and words of promtool, which is given some text on its standard input."""
    said = subprocess.run(
        [promtool, *words], input=given, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return said.returncode, said.stdout + said.stderr


class Scenario:
    """An alert's life: series by name with their values a minute, a minute when it rings, one when it no longer does.

    Values are written as promtool wants them: `0x4 600x9` is five times 0, then ten times 600; `_x4` is nothing.
    """

    def __init__(self, series: Mapping[str, str], rings: int, is_over: int, quiet: int = 0) -> None:
        self.series = series
        self.rings = rings
        self.is_over = is_over
        self.quiet = quiet

    def as_test(self, alert: str) -> dict[str, object]:
        """The scenario as promtool's own kind of test."""
        firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in self.series.items()],
            "promql_expr_test": [
                {"expr": firing, "eval_time": f"{minute}m", "exp_samples": samples}
                for minute, samples in (
                    (self.quiet, []), (self.rings, [{"labels": "{}", "value": 1}]), (self.is_over, []),
                )
            ],
        }  # fmt: skip


_SERIES, _ENDPOINT = 'symbol="BTC/USDT",timeframe="1m"', 'source="okx",endpoint="okx ccxt:okx"'
_DAY = 'symbol="BTC/USDT",timeframe="1d"'
SCENARIOS = {
    "FetcherSilent": Scenario({"fetcher_database_up": "_x19 1x20"}, 15, 25),
    "FetcherNumbersOld": Scenario({"fetcher_vitals_timestamp_seconds": "0x29 1800x10"}, 22, 31),
    "FetcherDatabaseDown": Scenario({"fetcher_database_up": "0x9 1x9"}, 6, 12),
    "FetcherSeriesStale": Scenario(
        {
            f"fetcher_series_overdue_seconds{{{_SERIES}}}": "400x4 600x9 0x9",
            f"fetcher_series_interval_seconds{{{_SERIES}}}": "60x30",
            f"fetcher_series_overdue_seconds{{{_DAY}}}": "3800x30",
            f"fetcher_series_interval_seconds{{{_DAY}}}": "86400x30",
        }, 12, 18, 9,
    ),
    "FetcherSeriesNeverFetched": Scenario({"fetcher_series_unfetched": "1x69 0x9"}, 61, 73),
    "FetcherGapsGrow": Scenario(
        {
            f'fetcher_series_slots{{{_SERIES},state="queued"}}': "0x59 50x80",
            f'fetcher_series_slots{{{_SERIES},state="unplanned"}}': "0x59 50x80",
            f'fetcher_series_slots{{{_SERIES},state="stored"}}': "900+1x140",
            f'fetcher_series_slots{{{_DAY},state="queued"}}': "0x59 20x80",
        }, 95, 125, 80,
    ),
    "FetcherGoalMissed": Scenario({'fetcher_goal_met{goal="completeness"}': "0x39 1x9",
                                   'fetcher_goal_met{goal="response"}': "1x49"}, 31, 43, 20),
    "FetcherSourceFailing": Scenario(
        {
            f'fetcher_endpoint_state{{{_ENDPOINT},state="failing"}}': "0x4 1x4 0x40",
            f'fetcher_breaker_state{{{_ENDPOINT},state="open"}}': "0x9 1x11 0x30",
            f'fetcher_endpoint_state{{{_ENDPOINT},state="reachable"}}': "1x50",
        }, 21, 30, 18,
    ),
    "FetcherSourceBanned": Scenario({f"fetcher_endpoint_rest_seconds{{{_ENDPOINT}}}": "900x9 60x9"}, 6, 12),
    "FetcherBudgetUsedUp": Scenario(
        {'fetcher_budget_used_weight{source="okx",pool="okx"}': "590x34 10x9",
         'fetcher_budget_limit_weight{source="okx",pool="okx"}': "600x50"}, 31, 37, 20,
    ),
    "FetcherQuarantineBurst": Scenario(
        {'fetcher_quarantine_new_rows{reason="frozen"}': "0x1 60x4 0x9",
         'fetcher_quarantine_new_rows{reason="stale"}': "60x14"}, 4, 9,
    ),
    "FetcherJobsGivenUp": Scenario(
        {'fetcher_jobs{kind="gap",status="failed"}': "2x69 0x9", 'fetcher_jobs{kind="gap",status="queued"}': "9x90"},
        61, 73, 30,
    ),
    "FetcherRunsFail": Scenario({"fetcher_runs_failed_in_row": "4x1 5x4 0x9"}, 4, 9),
}  # fmt: skip
"""Each alert of cron/prometheus/rules.yml: when it rings, when not yet, and when it is over."""
