"""Commands that are imported only when they are called: cron starts the program every minute."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

Command = Any  # typer brings its own copy of click, with no public name for its commands

COMMANDS = {
    "backfill": "fetcher.cli.backfill",
    "worker": "fetcher.cli.worker",
    "status": "fetcher.cli.status",
    "alerts": "fetcher.cli.alerts",
    "gaps": "fetcher.cli.gaps",
    "jobs": "fetcher.cli.jobs",
    "sources": "fetcher.cli.sources",
    "quarantine": "fetcher.cli.quarantine",
    "audit": "fetcher.cli.audit",
    "export": "fetcher.cli.export",
    "doctor": "fetcher.cli.doctor",
    "db": "fetcher.cli.database",
    "config": "fetcher.cli.config_check",
    "cron": "fetcher.cli.cron",
    "sandbox": "fetcher.cli.sandbox",
}
"""Each command and the module that offers it as `app`."""


class LazyCommands(MutableMapping[str, Command]):
    """The commands by name; looking one up imports it."""

    def __init__(self) -> None:
        self._loaded: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._loaded:
            command = typer.main.get_command(import_module(COMMANDS[name]).app)
            command.name = name
            self._loaded[name] = command
        return self._loaded[name]

    def __setitem__(self, name: str, command: Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyGroup(TyperGroup):
    """The program as typer sees it, with `LazyCommands`."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 (typer's own)
        super().__init__(**settings | {"commands": None})
        self.commands = LazyCommands()

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # noqa: ARG002 (typer's context is click's)
        """The commands' names, importing none."""
        return list(COMMANDS)


_FLAGS = {"--json", "-v", "-vv", "--verbose", "-q", "--quiet"}


def hoisted(words: list[str]) -> list[str]:
    """The arguments with the options that belong before the command moved there: people write them anywhere."""
    front: list[str] = []
    rest: list[str] = []
    waiting = iter(words)
    for word in waiting:
        if word == "--":
            rest += [word, *waiting]
        elif word in _FLAGS or word.startswith("--config="):
            front.append(word)
        elif word == "--config":
            front += [word, *([value] if (value := next(waiting, None)) is not None else [])]
        else:
            rest.append(word)
    return front + rest
