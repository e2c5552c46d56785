"""The configuration's sections that are about the program itself, not about sources and markets."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fetcher.values import Age, Seconds


class Section(BaseModel):
    """What every section is: an unknown key is an error, and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Run(Section):
    """One run: requests in flight per process, and how long a bare run may take (seconds)."""

    workers: int = Field(default=8, ge=1, le=256)
    time_budget: Seconds = 50.0


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
