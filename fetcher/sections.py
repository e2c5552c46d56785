"""The configuration's sections that are about the program itself, not about sources and markets."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fetcher.values import Address, PromFile, Seconds, ShortSeconds


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


class Logging(Section):
    """How the program tells what it does: `text` for people, `json` for machines."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


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
