"""Each query of docs/sql-cookbook.md is run on both databases, on candles that a run fetched."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from db.engine import open_engine
from fetcher.sandbox.control import spawn_sandbox
from tests.databases import chosen
from tests.integration.commands import NOW
from tests.integration.world import ROOT, World, market, window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.databases import Databases

PAGE = (ROOT / "docs/sql-cookbook.md").read_text(encoding="utf-8")
DIALECTS = {"-- SQLite": "sqlite", "-- PostgreSQL": "postgresql"}
BLOCKS = {
    f"{title} {number}": block
    for title, section in re.findall(r"^#+ (.+)\n((?:(?!^#).*\n)+)", PAGE, re.MULTILINE)
    for number, block in enumerate(re.findall(r"^```sql\n(.+?)^```", section, re.MULTILINE | re.DOTALL))
}
DAY_MS = 1_780_185_600_000
EMPTY = {"What was replaced 0", "What was refused 0"}
"""Nothing was, in this world."""


@pytest.fixture(scope="module")
def world(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two markets of hours from an exchange with an outage, not up to the last close."""
    with chosen(databases), spawn_sandbox("--clock", NOW, "--outage", "2026-05-30T02:00/2026-05-30T05:00") as sandbox:
        made = World(sandbox, tmp_path_factory.mktemp("cookbook"))
        made.configure(market("BTC/USDT ETH/USDT", "1h", "2026-05-30"))
        made.backfill(window("2026-05-30T00:00Z", "2026-05-31T18:00Z"))
        yield made


def rows(world: World, block: str) -> list[tuple[Any, ...]]:
    """What a query answers; a statement that changes something is taken back, and answers how many rows it changed."""
    engine = open_engine(world.database_url)
    try:
        with engine.connect() as connection:  # nobody commits
            result = connection.exec_driver_sql(block, execution_options={"no_parameters": True})
            return [tuple(row) for row in result] if result.returns_rows else [(result.rowcount,)]
    finally:
        engine.dispose()


@pytest.mark.parametrize("title", BLOCKS)
def test_each_query_answers(world: World, title: str) -> None:
    """It is understood, and finds what is there."""
    block = BLOCKS[title]
    [first, *_] = block.splitlines()
    if DIALECTS.get(first, world.databases.name) != world.databases.name:
        return
    found = rows(world, block)
    assert bool(found) == (title not in EMPTY)


def test_the_answers_are_right(world: World) -> None:
    """Against numbers counted otherwise: buckets, holes, sums and what would be deleted."""
    times = world.rows("BTC/USDT", "1h")["open_time"]
    for title in ("Times in ms", "SQL cookbook"):
        assert all(value == DAY_MS for value in _numbers(world, title))
    [(candles,)] = rows(world, BLOCKS["From the exchange alone 0"])
    assert candles == len(times)
    buckets = rows(world, BLOCKS["Coarser candles from finer ones 0"])
    assert sum(int(bucket[-1]) for bucket in buckets) == len(times)
    assert {int(bucket[-1]) for bucket in buckets if bucket[0] >= DAY_MS} <= {4, 2}
    stored = rows(world, BLOCKS["How much is stored, and from whom 0"])
    assert {(row[0], row[2], int(row[3])) for row in stored} >= {("BTC/USDT", "binance", len(times))}
    [absent, *_] = rows(world, BLOCKS["What never existed, and on what evidence 0"])
    assert absent[3] - absent[2] == 3 * 3_600_000
    assert rows(world, BLOCKS["Delete a series' candles 0"]) == [(1,)]


def _numbers(world: World, title: str) -> list[int]:
    mine = [block for name, block in BLOCKS.items() if name.startswith(title)]
    return [
        int(rows(world, block)[0][0]) for block in mine
        if DIALECTS[block.splitlines()[0]] == world.databases.name
    ]  # fmt: skip
