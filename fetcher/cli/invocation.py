"""What every command is given: the options before it, and from them configuration, clock, database and program."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fetcher.cli.signals import closing
from fetcher.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from fetcher.app import App
    from fetcher.config import Config


@dataclass(frozen=True)
class Invocation:
    """One call of the program; nothing is read before it is asked for."""

    config_option: Path | None = None
    as_json: bool = False
    verbosity: int = 0

    @property
    def config_path(self) -> Path:
        """The configuration file: as told, else the one in the current folder, else the one beside the program."""
        from fetcher.config import found_config  # noqa: PLC0415 (pydantic and yaml: --help and the sandbox need neither)

        return found_config() if self.config_option is None else self.config_option

    @cached_property
    def config(self) -> Config:
        """The checked configuration; raises ConfigError."""
        from fetcher.config import load  # noqa: PLC0415 (pydantic and yaml: --help and the sandbox need neither)
        from fetcher.masking import hide  # noqa: PLC0415 (with it)
        from fetcher.secrecy import secrets_of  # noqa: PLC0415 (with it)

        loaded = load(self.config_path)
        hide(secrets_of(loaded))
        return loaded

    @cached_property
    def clock(self) -> Clock:
        """The program's clock, or the one of FETCHER_CLOCK."""
        return Clock.from_environment()

    @contextmanager
    def app(self) -> Iterator[App]:
        """The program put together, and closed at the end."""
        from fetcher.app import build  # noqa: PLC0415 (the whole program: reading commands need a database alone)

        app = build(self.config, self.clock)
        try:
            yield app
        finally:
            with closing(self.clock):
                app.close()

    @contextmanager
    def database(self) -> Iterator[Engine]:
        """The database alone, created or upgraded where needed, and closed at the end."""
        from db.engine import open_engine  # noqa: PLC0415 (a fifth of a second)
        from db.manager import DatabaseManager  # noqa: PLC0415 (the same)

        engine = open_engine(self.config.database_url)
        try:
            DatabaseManager(engine, self.config.database_url).prepare()
            yield engine
        finally:
            engine.dispose()
