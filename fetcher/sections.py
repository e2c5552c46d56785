"""The configuration's sections that are about the program itself, not about sources and markets."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fetcher.values import Address, Age, Bytes, PromFile, Quiet, Seconds, SecretFile, ShortSeconds, Variable, Variables


class Section(BaseModel):
    """What every section is: an unknown key is an error, and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Run(Section):
    """One run: requests in flight per process, and how long a bare run may take (seconds)."""

    workers: int = Field(default=8, ge=1, le=256)
    time_budget: Seconds = 50.0


class Daemon(Section):
    """How long after a close (seconds) a candle is asked for, until that is learnt of its source; and how much later.

    The latter by chance, so that not everybody asks in the same second.
    """

    settle: ShortSeconds = 2.0
    jitter: ShortSeconds = 1.0


class Keep(Section):
    """How long records are kept that nothing depends on any more (seconds; None: for ever), and how many at most."""

    jobs: Age = 7 * 86400.0
    runs: Age = 90 * 86400.0
    audit_log: Age = 1825 * 86400.0
    revisions: Age = 730 * 86400.0
    revisions_rows: int | None = Field(default=1_000_000, ge=1_000)
    quarantine: Age = 365 * 86400.0
    quarantine_rows: int | None = Field(default=200_000, ge=1_000)


class Logging(Section):
    """How the program tells what it does: `text` for people, `json` for machines."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Alerts(Section):
    """Whom to tell what goes wrong, and when something does; addresses hold secrets, so they are never written here.

    Durations in seconds, `disk_free` in bytes, `quarantine_rows` in an hour, `stale_intervals` of a series' timeframe.
    """

    to_env: Variables = ("FETCHER_ALERTS",)
    to_file: SecretFile = None
    ping_url_env: Variable = "FETCHER_PING_URL"
    ping_url_file: SecretFile = None
    repeat: Seconds = 86_400.0
    calm: Seconds = 600.0
    quiet_hours: Quiet = None
    stale_intervals: int = Field(default=2, ge=1, le=10_000)
    stale_at_least: Seconds = 600.0
    gaps_after: Seconds = 6 * 3600.0
    source_after: Seconds = 900.0
    quarantine_rows: int = Field(default=100, ge=1)
    runs_failed: int = Field(default=3, ge=1, le=1_000)
    disk_free: Bytes = 10**9


class Metrics(Section):
    """Where Prometheus finds the numbers: an address that the daemon listens on, a file written after each run."""

    listen: Address | None = None
    textfile: PromFile | None = None


class Goals(Section):
    """What `status`, metrics and alert rules hold the numbers against: shares 0 … 1, the mean response in seconds."""

    api_success: float = Field(default=0.99, ge=0, le=1)
    response: Seconds = 2.0
    gap_recovery: float = Field(default=0.95, ge=0, le=1)
    completeness: float = Field(default=1.0, ge=0, le=1)
