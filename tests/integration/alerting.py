"""A world with a webhook, in which runs happen at moments that the test chooses: sandbox and program show the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fetcher.cli import main
from tests.databases import current

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from fetcher.sandbox.control import SandboxControl
    from tests.integration.webhooks import Webhooks

KEYS = {"GECKO_KEY": "a-key-of-no-worth"}
CONFIG = """\
database_url: {database}
sources:
  binance: {{client: binance, base_urls: ['{url}'], archive_url: null, timeout: 2s}}
  coingecko: {{client: coingecko, base_url: '{url}/coingecko/api/v3', plan: demo, api_key_env: GECKO_KEY}}
markets: [{{symbols: [BTC/USDT], timeframes: [{timeframe}], start: {start}, sources: [{source}]}}]
run: {{time_budget: 10m}}
alerts: {{{alerts}}}
"""


@dataclass
class AlertWorld:
    """Each method is one use of the program, as cron makes it: nothing is kept in between but the database."""

    sandbox: SandboxControl
    hooks: Webhooks
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]
    said: list[str] = field(default_factory=list)

    def configure(
        self, alerts: str = "", timeframe: str = "1m", source: str = "binance", start: str = "2026-06-01"
    ) -> None:
        """Write the configuration, and tell the program of the webhook."""
        text = CONFIG.format(
            database=current().url(self.folder), url=self.sandbox.url, alerts=alerts, timeframe=timeframe,
            source=source, start=start,
        )  # fmt: skip
        (self.folder / "config.yaml").write_text(text, encoding="utf-8")
        self.monkeypatch.setenv("FETCHER_ALERTS", self.hooks.target)
        for name, value in KEYS.items():
            self.monkeypatch.setenv(name, value)

    def at(self, moment: str, *words: str) -> int:
        """Do a command, or one run, at a time of the 1st of June, or of any day; its exit code."""
        written = moment if "T" in moment else f"2026-06-01T{moment}:00Z"
        self.sandbox.configure(clock=written)
        self.monkeypatch.setenv("FETCHER_CLOCK", f"{written} x20")  # waits between tries last a moment
        self.capfd.readouterr()
        code = main(["--config", str(self.folder / "config.yaml"), *words])
        out, err = self.capfd.readouterr()
        self.said.append(out + err)
        return code

    def told(self) -> list[str]:
        """The lines of all messages so far; what was told is forgotten."""
        lines = [line for body in self.hooks.bodies() for line in body.splitlines()]
        self.hooks.messages.clear()
        return lines
