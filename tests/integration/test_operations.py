"""What docs/operations.md says of backup and restore, done as it is written there, on either database."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from fetcher.sandbox.control import spawn_sandbox
from tests.databases import PostgreSQLServer
from tests.integration.commands import NOW, CommandLine
from tests.integration.world import ROOT, market

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.databases import Databases

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


@pytest.fixture
def line(database: Databases, tmp_path: Path) -> Iterator[CommandLine]:
    """A day of hours and an outage, fetched; the folder is where the page's commands are typed."""
    assert database.name
    with spawn_sandbox("--clock", NOW, "--outage", "2026-05-31T02:00/2026-05-31T05:00") as sandbox:
        made = CommandLine(sandbox, tmp_path)
        made.configure(market("BTC/USDT", "1h", "2026-05-31"))
        assert made.command().code == 0
        yield made


def block(first_word: str) -> str:
    """The commands of the page's block, in its section Restore, that begins with a word."""
    section = PAGE.partition("\n## Restore\n")[2].partition("\n## ")[0]
    blocks: list[str] = re.findall(r"(?:^    .+\n)+", section, re.MULTILINE)
    return next(each for each in blocks if each.strip().startswith(first_word))


def typed(line: CommandLine, commands: str, **environment: str) -> None:
    """Have a shell do them; each has to succeed."""
    words = ["/bin/sh", "-e", "-c", commands]
    ended = subprocess.run(words, cwd=line.folder, env=line.environment(**environment), check=False,
                           capture_output=True, text=True)  # fmt: skip
    assert ended.returncode == 0, ended


def test_a_backup_is_restored_as_the_page_says(line: CommandLine) -> None:
    """The database is lost; the restored one is the same, sound, and its next run asks for no candle."""
    databases = line.databases
    before = line.rows("BTC/USDT", "1h").tolist()
    absent = line.absent("BTC/USDT", "1h")
    url = {}
    if isinstance(databases, PostgreSQLServer):
        server = databases.server
        there = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "postgres"}
        path = f"{server.bin}{os.pathsep}{os.environ['PATH']}"
        assert line.command("db", "backup", "market.dump", PATH=path).code == 0
        if shutil.which("createdb", path=path) is None:  # not among the programs that come with the tests
            server.do("CREATE DATABASE market_again ENCODING 'UTF8' TEMPLATE template0")
        else:
            server.do("CREATE ROLE candles")
            typed(line, block("createdb").splitlines()[0], PATH=path, **there)
        typed(line, block("createdb").splitlines()[1], PATH=path, **there)
        url = {"FETCHER_DATABASE_URL": server.url("market_again")}
    else:
        assert line.command("db", "backup", "market-copy.db").code == 0
        (line.folder / "market.db").write_bytes(b"\xff" * 8192)
        typed(line, block("mv"))
    line.sandbox.clear_log()
    for command in re.findall(r"python -m fetcher(.*)", block("python")):
        said = line.command(*command.split(), **url)
        assert said.code == 0, said
    assert line.klines() == []
    if isinstance(databases, PostgreSQLServer):
        databases._names[line.folder] = "market_again"  # as if database_url named it now
    assert line.rows("BTC/USDT", "1h").tolist() == before
    assert line.absent("BTC/USDT", "1h") == absent
