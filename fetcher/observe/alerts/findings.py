"""What is found wrong at one look; fetcher/observe/alerts/telling.py decides who hears of it, and when."""

from __future__ import annotations

from msgspec import Struct


class Finding(Struct, frozen=True):
    """One thing that is wrong now.

    `key` names kind and subject, so that the same thing has the same key in every process. `level` says how bad it is,
    in the kind's own unit; twice as bad is news. It is told once it has lasted `after_ms`; where it is `stuck`, once
    its level has not fallen for so long. `urgent` ones are told in quiet hours too. `host`: the machine that it is
    about; None: any machine on the same database would find it.
    """

    key: str
    kind: str
    message: str
    level: int = 1
    after_ms: int = 0
    urgent: bool = False
    stuck: bool = False
    host: str | None = None
