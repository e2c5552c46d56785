"""What people forget when something else than their shell starts the program. Pure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fetcher.observe.progress import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.config import Config

_MINUTE = 60


def key_variables(config: Config) -> list[str]:
    """The environment variables that sources want their keys from."""
    named = (variable for source in config.sources.values() for variable in getattr(source, "api_key_env", ()))
    return list(dict.fromkeys(named))


def forgotten(
    config: Config, known: Mapping[str, str] | None, minutes: int | None, mine: Mapping[str, str] = os.environ
) -> list[str]:
    """A sentence each, for a run every so many minutes (None: a daemon).

    `known` is the environment that cron's lines have, None for systemd's units; `mine` that of the shell.
    """
    notes = []
    if minutes is not None and config.run.time_budget > minutes * _MINUTE:
        budget = duration(config.run.time_budget)
        notes.append(
            f"run.time_budget is {budget}, longer than from one run to the next: who finds one at work leaves at once"
        )
    told = config.alerts
    own = ["FETCHER_DATABASE_URL", *told.to_env, *([told.ping_url_env] if told.ping_url_env else [])]
    here = [name for name in own if mine.get(name)]
    if known is None:
        return notes + [
            f"systemd does not know {name}: add a line {name}=… to fetcher.env, see the units" for name in here
        ]
    return notes + [
        f"cron does not know {name}: add a line {name}=… above the others with `crontab -e`"
        for name in [*key_variables(config), *here]
        if not known.get(name)
    ]
