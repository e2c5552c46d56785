"""What every test can ask for: recorded data, a fresh database, a clock that is set and turned by hand."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from db.engine import open_engine
from db.manager import DatabaseManager
from fetcher import masking
from fetcher.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.postgresql import Server

# Modules of assertions that several tests share fail as readably as the tests' own.
pytest.register_assert_rewrite(
    "tests.contract.client_contract", "tests.integration.days", "tests.integration.source_storms"
)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _no_secrets_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test hid is no secret of the next."""
    monkeypatch.setattr(masking, "_hidden", [])


# `make coverage` tells child processes by this variable what to measure; tests give most of theirs a bare environment.
_MEASURED = "COVERAGE_PROCESS_CONFIG"
if _MEASURED in os.environ:
    _start = subprocess.Popen.__init__

    def _start_measured(self: Any, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("env") is not None:
            kwargs["env"] = {**kwargs["env"], _MEASURED: os.environ[_MEASURED]}
        _start(self, *args, **kwargs)

    subprocess.Popen.__init__ = _start_measured  # type: ignore[method-assign]  # for every child


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded market data, which is no part of the project; skips where it is absent."""
    if not (SHARED_DATA / "INDEX.md").is_file():
        pytest.skip("the recorded data (../shared/data beside the checkout) is not here")
    return SHARED_DATA


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A fresh, prepared SQLite database in the test's own folder."""
    url = f"sqlite:///{tmp_path / 'market.db'}"
    opened = open_engine(url)
    DatabaseManager(opened, url).prepare()
    yield opened
    opened.dispose()


@pytest.fixture
def clock() -> Clock:
    """The program's clock as users have it: real time, real speed."""
    return Clock()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server of this worker's own: it starts in half a second, and nobody else's tests disturb it."""
    from tests.postgresql import serving  # noqa: PLC0415 - the driver, for those who need a server

    with serving() as server:
        yield server
