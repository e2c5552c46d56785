"""SQL never holds what a user or a source said: it goes beside the statement, as a parameter."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, event

from fetcher.clock import Clock, parse_utc
from fetcher.outcome import Outcome
from fetcher.sandbox.control import spawn_sandbox
from tests.integration.commands import NOW, CommandLine

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
HOSTILE_SYMBOL, HOSTILE_SOURCE = "X');DROP--%S%(A)S:A/USDT", "bin';--%s%(a)s:a"
CONFIG = """\
database_url: {database}
sources:
  "{source}": {{client: binance, base_urls: ['{url}'], archive_url: null, symbols: {{"{symbol}": BTCUSDT}}}}
markets:
  - {{symbols: ["{symbol}"], timeframes: [1h], start: 2026-05-30, sources: ["{source}"]}}
"""
RUNS_SQL = {"execute", "executemany", "exec_driver_sql", "copy", "text", "_do"}
BUILT = {
    "db/candles.py": "names of columns",
    "db/images.py": "names of ours: of columns, of what is attached",
    "db/copying.py": "names of columns and of a table of ours",
    "db/counting.py": "whole numbers: times and ids",
    "db/checks.py": "a number of ours",
    "db/postgresql.py": "a transaction's number, as the server gave it",
    "db/roles.py": "the name of a role, quoted by the dialect: no database takes it as a parameter",
    "db/sqlite.py": "numbers of ours",
    "db/transfer.py": "names of our tables",
    "db/views.py": "names of our views",
}
"""Where a statement is put together, and of what: everything else is written out whole or made by SQLAlchemy."""


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    """A market and a source whose names would be statements, if anybody let them."""
    with spawn_sandbox("--clock", NOW) as sandbox:
        made = CommandLine(sandbox, tmp_path)
        made.config_path.write_text(
            CONFIG.format(database=made.database_url, source=HOSTILE_SOURCE, url=sandbox.url, symbol=HOSTILE_SYMBOL),
            encoding="utf-8",
        )
        yield made


@pytest.mark.usefixtures("database")
def test_names_that_would_be_statements_are_names(line: CommandLine) -> None:
    """A run, an audit with a repair, and what reads: on either database, and none of them in a statement."""
    statements: list[str] = []

    def hear(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        line.sandbox.script("bad_ohlc", 1)
        assert line.run(20, clock=Clock(parse_utc(NOW))).outcome is Outcome.OK
    finally:
        event.remove(Engine, "before_cursor_execute", hear)
    assert len(statements) > 20
    assert not [each for each in statements if "DROP--" in each or "bin'" in each]
    for words in ("status", "gaps", "jobs", "sources", "quarantine", "audit", "db log"):
        said = line.command(*words.split())
        assert said.code == 0, said
    assert HOSTILE_SYMBOL in line.command("status").out
    refused = line.command("quarantine", "--reason", "x'; DROP TABLE candles; --")
    assert (refused.code, "no row was refused for" in refused.err) == (2, True)
    assert line.query("SELECT DISTINCT symbol, source FROM klines") == [(HOSTILE_SYMBOL, HOSTILE_SOURCE)]


@pytest.mark.parametrize("folder", ["db", "fetcher"])
def test_statements_are_written_out(folder: str) -> None:
    """No statement is put together of pieces but in the files named above, whose pieces are ours."""
    found = {
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "sandbox" not in path.parts and any(map(is_built, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found <= BUILT.keys()


@pytest.mark.parametrize(
    ("call", "built"),
    [
        ("conn.execute(text(f'SELECT {x}'))", True),
        ("conn.exec_driver_sql('SELECT ' + x)", True),
        ("cursor.execute('SELECT %s' % x)", True),
        ("cursor.execute('SELECT {}'.format(x))", True),
        ("cursor.execute(statement)", True),
        ("conn.execute(text('SELECT :x'), {'x': x})", False),
        ("conn.execute(select(a).where(b == x))", False),
    ],
)
def test_what_is_put_together_is_seen(call: str, *, built: bool) -> None:
    """The look at the source can fail."""
    assert any(map(is_built, ast.walk(ast.parse(call)))) is built


def is_built(node: ast.AST) -> bool:
    """Whether a call runs text as SQL that is not written out there: a name stands for something put together."""
    if not isinstance(node, ast.Call) or not node.args:
        return False
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name not in RUNS_SQL:
        return False
    statement = node.args[0]
    if isinstance(statement, ast.Name):  # SQLAlchemy's own statements are named too, in a few words of theirs
        return name != "execute" or statement.id in {"statement", "sql"}
    return isinstance(statement, (ast.JoinedStr, ast.BinOp)) or (
        isinstance(statement, ast.Call) and getattr(statement.func, "attr", "") in {"format", "join"}
    )
