"""`make install` and `make upgrade` of a real checkout with real packages, and what is left when an upgrade fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from db.schema import REVISIONS
from fetcher.sandbox.control import spawn_sandbox
from tests.integration.world import market

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetcher.sandbox.control import SandboxControl
    from tests.databases import Databases
    from tests.postgresql import Server

ROOT = Path(__file__).resolve().parents[2]
NOW = "2026-06-01T00:00:30Z"
MIGRATION = '''
"""A later schema."""
import sqlalchemy as sa
from alembic import op
revision = "9999"
down_revision = "{last}"
def upgrade():
    op.create_table("later", sa.Column("x", sa.Integer))
    {more}
'''

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
]


class Checkout:
    """A copy of this checkout with nothing but what the repository holds, in a folder with blanks."""

    def __init__(self, folder: Path, sandbox: SandboxControl, url: str, path: str) -> None:
        self.folder, self.sandbox, self._path = folder, sandbox, path
        self.config = folder / "config.yaml"
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607 (any git will do)
            cwd=ROOT, capture_output=True, check=True, text=True,
        ).stdout.split("\0")  # fmt: skip
        for name in listed:
            if name and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        self.config.write_text(
            f"database_url: {url}\nsources: {{binance: {{client: binance, base_urls: ['{sandbox.url}'], archive_url: "
            f"null}}}}\nmarkets:\n  {market('BTC/USDT', '1h', '2026-05-31')}\n",
            encoding="utf-8",
        )

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A target, as a user's shell would start it: not from the make that may run these tests."""
        kept = ("HOME", "PIP_", "XDG_", "SSL_", "http", "HTTP")  # whatever says where packages are
        environment = {name: value for name, value in os.environ.items() if name.startswith(kept)}
        ended = subprocess.run(
            ["make", *words],  # noqa: S607 (any make will do)
            cwd=self.folder, env=environment | {"PATH": self._path, "FETCHER_CLOCK": NOW}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        print(ended.stderr, ended.stdout)
        return ended

    def answer(self, *words: str) -> dict[str, object]:
        """What a command of the program answers."""
        ended = subprocess.run(
            [".venv/bin/python", "-m", "fetcher", "--json", *words],
            cwd=self.folder, env={"FETCHER_CLOCK": NOW}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        found: dict[str, object] = json.loads(ended.stdout)
        return found

    def environment(self) -> tuple[int, str]:
        """What tells one environment from another: its folder, and the packages in it."""
        packages = subprocess.run(
            [".venv/bin/python", "-m", "pip", "freeze"], cwd=self.folder, capture_output=True, text=True, check=True
        ).stdout
        return (self.folder / ".venv").stat().st_ino, packages

    def next_version(self, migration: str = "pass") -> None:
        """Make this the next version of the program, with a migration of its own."""
        later = self.folder / "db/migrations/versions/9999_later.py"
        later.write_text(MIGRATION.format(last=REVISIONS[-1], more=migration), encoding="utf-8")
        schema = self.folder / "db/schema.py"
        text = schema.read_text(encoding="utf-8").replace(f'"{REVISIONS[-1]}")', f'"{REVISIONS[-1]}", "9999")', 1)
        assert '"9999")' in text
        schema.write_text(text, encoding="utf-8")

    def without_next_version(self) -> None:
        """Go back to the code of before."""
        (self.folder / "db/migrations/versions/9999_later.py").unlink()
        shutil.copy(ROOT / "db/schema.py", self.folder / "db/schema.py")

    def state(self) -> tuple[object, ...]:
        """What an upgrade that fails must leave: environment, configuration, what is stored, no leftovers."""
        left = [path.name for path in (*self.folder.glob(".venv.new"), *self.folder.rglob("*.part"))]
        return self.environment(), self.config.read_bytes(), self.answer("status")["total"], left


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxControl]:
    """An exchange."""
    with spawn_sandbox("--clock", NOW) as running:
        yield running


@pytest.fixture
def checkout(tmp_path: Path, sandbox: SandboxControl, database: Databases, postgresql: Server) -> Checkout:
    """A checkout whose database is an SQLite file or one of PostgreSQL, with a first run in it."""
    folder = tmp_path / "a b"
    folder.mkdir()
    made = Checkout(folder, sandbox, database.url(folder), f"{postgresql.bin}:/usr/local/bin:/usr/bin:/bin")
    first = made.make("install")
    assert first.returncode == 0
    assert "ok   database" in first.stderr
    assert made.make("run").returncode == 0
    return made


def test_upgrades_and_the_way_back_from_those_that_fail(
    checkout: Checkout, database: Databases, postgresql: Server
) -> None:
    """Nothing to do; broken packages; a broken migration; one that spoils the database; a good one; an example."""
    before = checkout.state()
    again = checkout.make("upgrade")
    assert again.returncode == 0
    assert "Making" not in again.stderr
    assert checkout.state() == before

    pins = checkout.folder / "requirements.txt"
    good, written = pins.read_bytes(), pins.stat().st_mtime
    pins.write_bytes(good + b"candle-fetcher==9999\n")
    failed = checkout.make("upgrade")
    assert failed.returncode == 2
    assert "FAILED: the packages cannot be installed, see above; nothing was changed." in failed.stderr
    assert checkout.state() == before

    pins.write_bytes(good)
    os.utime(pins, (written, written))
    checkout.next_version("raise RuntimeError('this migration is broken')")
    failed = checkout.make("upgrade")
    assert failed.returncode == 2
    assert re.search("FAILED: .*this migration is broken.*; database and .venv are as they were", failed.stderr)
    assert not list(checkout.folder.rglob("*.before-9999"))
    checkout.without_next_version()
    assert checkout.state() == before

    checkout.next_version("op.drop_table('quarantine')")
    failed = checkout.make("upgrade")
    assert failed.returncode == 2
    assert "FAILED: the upgraded database is not well; " in failed.stderr
    [copy] = checkout.folder.rglob("*.before-9999")
    if database.name == "postgresql":
        assert f"restore its dump {copy} with pg_restore into an empty database" in failed.stderr
        checkout.config.write_text(
            checkout.config.read_text(encoding="utf-8").replace(
                database.url(checkout.folder), postgresql.url(postgresql.restored(copy))
            ),
            encoding="utf-8",
        )
    checkout.without_next_version()
    assert checkout.state()[2:] == before[2:]
    copy.unlink()

    checkout.next_version()
    if database.name == "sqlite":
        pins.touch()  # as with other packages: they take a while
    done = checkout.make("upgrade")
    assert done.returncode == 0
    assert f"Upgraded the database from {REVISIONS[-1]} to 9999; as it was: " in done.stderr
    assert len(list(checkout.folder.rglob("*.before-9999"))) == 1
    assert (checkout.folder / ".venv.old/bin/python").exists() is (database.name == "sqlite")
    assert checkout.state()[2:] == before[2:]
    pip = subprocess.run([checkout.folder / ".venv/bin/pip", "--version"], capture_output=True, text=True, check=True)
    assert f"{checkout.folder}/.venv/lib" in pip.stdout, "scripts know where they are now"

    example, mine = checkout.config.read_bytes(), checkout.folder / "my own" / "market.yaml"
    for _ in range(2):
        assert checkout.make("install", f"CONFIG={mine}").returncode == 0
        assert mine.read_bytes().startswith(example)
        mine.write_bytes(example + b"# mine\n")


def test_an_installed_package_needs_no_checkout(tmp_path: Path, sandbox: SandboxControl) -> None:
    """As the README says, in an environment of its own: its line makes a run from nothing, in another folder."""
    (tmp_path / "checkout").mkdir()
    checkout = Checkout(tmp_path / "checkout", sandbox, "sqlite:///market.db", "")
    home, market_folder = tmp_path / "candles", tmp_path / "my market"
    market_folder.mkdir()
    shutil.copy(checkout.config, market_folder)
    subprocess.run([shutil.which("python3") or "python3", "-m", "venv", home], check=True)
    subprocess.run(
        [home / "bin/pip", "install", "--quiet", "-r", "requirements.txt", "."], cwd=checkout.folder, check=True
    )
    shutil.rmtree(checkout.folder)
    printed = subprocess.run(
        [home / "bin/fetcher", "--config", market_folder / "config.yaml", "cron", "print"],
        cwd="/", env={}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    line = next(line for line in printed.splitlines() if line.startswith("* * * * * "))
    command = line.removeprefix("* * * * * ").replace(r"\%", "%")
    ended = subprocess.run(
        ["/bin/sh", "-c", command], cwd="/", env={"FETCHER_CLOCK": NOW}, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert "BTC/USDT 1h  complete until" in (market_folder / "logs/cron.log").read_text(encoding="utf-8")
    words = ["--config", str(market_folder / "config.yaml"), "cron", "systemd", "--to", str(tmp_path / "units")]
    subprocess.run([home / "bin/fetcher", *words], cwd="/", env={}, check=True)
    assert f"ExecStart={home}/bin/python " in (tmp_path / "units/candle-fetcher.service").read_text(encoding="utf-8")
