"""The configuration's sections that are about the program itself, not about sources and markets."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fetcher.values import Seconds, ShortSeconds


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
