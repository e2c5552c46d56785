"""docs/errors.md is true and whole: the program says each sentence, and each has a test that provokes it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from db import postgresql_errors, sqlite
from tests.unit.error_tests import TESTS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
ROW = re.compile(r'^\| <a id="(?P<id>[a-z-]+)"></a>(?P<says>.+?) \| (?P<code>[0-9–]+) \|', re.MULTILINE)
CODES = {"1", "2", "75", "130", "–"}
ENDS_THE_PROGRAM = {
    "ConfigError", "DatabaseLost", "DatabaseProblem", "DatabaseUnusable", "ExportFailed", "FetcherError",
    "InstallError", "RunLocked",
}  # fmt: skip
OF_VALUES = ("fetcher/config.py", "fetcher/values.py")
"""Where a ValueError is what the user reads."""
ELSEWHERE = ("cron/fetcher-cron.sh", "Makefile")
GAP = "…"
FEWEST_WORDS = 3


class Row(NamedTuple):
    """One error of the catalogue."""

    id: str
    says: str
    code: str


ROWS = [Row(*found) for found in ROW.findall(PAGE)]


def spoken(node: ast.AST) -> str:
    """The text of a literal, with `…` for what is filled in; empty for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in parts)
        case ast.BinOp(left=left, right=right):
            return spoken(left) + GAP + spoken(right)
        case _:
            return ""


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the program, and what installs it, but the sandbox, which is for trying things out."""
    yield "cron/install.py", ast.parse((ROOT / "cron/install.py").read_text(encoding="utf-8"))
    for top in ("fetcher", "db"):
        for path in sorted((ROOT / top).rglob("*.py")):
            if "sandbox" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


@cache
def everything_said() -> list[str]:
    """Every text of the program."""
    found = {spoken(node) for _, tree in modules() for node in ast.walk(tree)}
    return [*found, *((ROOT / name).read_text(encoding="utf-8") for name in ELSEWHERE)]


def complaints() -> dict[str, str]:
    """What ends the program or refuses a configuration, sentence by sentence, and the file that it is in."""
    found = {}
    for name, tree in modules():
        kinds = ENDS_THE_PROGRAM | ({"ValueError"} if name in OF_VALUES else set())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds and node.args:
                text = spoken(node.args[0])
                if len(re.findall(r"[a-z]{2,}", text)) >= FEWEST_WORDS:  # else it passes on what another said
                    found[text] = name
    tables = {**postgresql_errors._BY_STATE, **postgresql_errors._BY_WORDS}
    found |= {re.sub(r"\{\w+\}", GAP, said): "db/postgresql_errors.py" for _, said in tables.values()}
    told = (*sqlite._NOT_OURS.values(), *sqlite._GONE.values(), *sqlite._ADVICE.values())
    return found | dict.fromkeys(told, "db/sqlite.py")


def fits(row: Row, text: str) -> bool:
    """Whether a text is, or holds, what the row says."""
    return re.search(".*?".join(map(re.escape, row.says.split(GAP))), text, re.DOTALL) is not None


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_the_program_says_so(row: Row) -> None:
    """The sentence stands in the program, word for word."""
    assert any(fits(row, text) for text in everything_said()), f"nothing says {row.says!r}"
    assert row.code in CODES


COMPLAINTS = complaints()


@pytest.mark.parametrize("text", sorted(COMPLAINTS))
def test_what_the_program_says_is_explained(text: str) -> None:
    """Whoever adds an error adds its row."""
    assert any(fits(row, text) for row in ROWS), f"docs/errors.md has no row for what {COMPLAINTS[text]} says: {text!r}"


def test_each_row_has_its_test() -> None:
    """No row without, no test for a row that is gone, no row twice."""
    ids = [row.id for row in ROWS]
    assert len(ids) == len(set(ids)) == len(re.findall(r"<a id=", PAGE))
    assert set(ids) == TESTS.keys()


@pytest.mark.parametrize("node", sorted({node for nodes in TESTS.values() for node in nodes}))
def test_the_named_tests_exist(node: str) -> None:
    """A test that was renamed or deleted provokes nothing; in brackets: words of the case that is meant."""
    file, _, name = node.partition("::")
    name, _, case = name.partition("[")
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    defined = {each.name for each in ast.walk(ast.parse(text)) if isinstance(each, ast.FunctionDef)}
    assert name in defined
    assert case.removesuffix("]") in text


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_to_the_catalogue_lead_somewhere(page: Path) -> None:
    """Other pages name rows by their anchors."""
    anchors = re.findall(r"errors\.md#([a-z-]+)", page.read_text(encoding="utf-8"))
    assert set(anchors) <= {row.id for row in ROWS}
