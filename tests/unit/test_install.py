"""`make install` step by step, with a stand-in for Python: what is told, and what is left where a step fails.

With real packages and both databases: `tests/acceptance/test_install.py`.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("cron_install", ROOT / "cron/install.py")
assert _SPEC is not None
assert _SPEC.loader is not None
install: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(install)

# Plays the Python that makes environments, and the one inside them; answers with what lies in the folder $ANSWERS.
STAND_IN = """\
#!/bin/sh
case "$*" in
    "-m venv"*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" && printf '#!%s/bin/python\\n' "$4" >"$4/bin/pip" ;;
    "-m pip"*) name=pip ;;
    *--version) name=version ;;
    *"config check") name=config ;;
    *"db upgrade --dump "*) name=upgrade ;;
    *doctor) name=doctor ;;
esac
[ -z "${name-}" ] || [ ! -e "$ANSWERS/$name" ] || { cat "$ANSWERS/$name"; exit 1; }
[ -z "${name-}" ] || [ ! -e "$ANSWERS/$name.json" ] || cat "$ANSWERS/$name.json"
"""
WELL: dict[str, Any] = {
    "config": {"database_url": "sqlite:///market.db"},
    "upgrade": {"from": None, "to": None, "copy": None},
    "doctor": {"healthy": True, "checks": [{"name": "database", "ok": True, "message": "is sound"}]},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout, where everything answers that it is well."""
    python = tmp_path / "python"
    python.write_text(STAND_IN, encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("ANSWERS", str(tmp_path))
    root = tmp_path / "a b"
    root.mkdir()
    monkeypatch.setattr(install, "ROOT", root)
    (root / "requirements.txt").touch()
    (root / "config.yaml").write_text("an example\n", encoding="utf-8")
    for name, answer in WELL.items():
        answers(root, name, answer)
    return root


def answers(root: Path, name: str, answer: object) -> None:
    """Let a command answer this."""
    (root.parent / f"{name}.json").write_text(json.dumps(answer), encoding="utf-8")


def installed(root: Path, config: str = "config.yaml") -> int:
    """`make install`."""
    code: int = install.main([str(root / config)])
    return code


def upgraded(root: Path) -> tuple[Path, Path]:
    """A database as an upgrade has made it, and its copy of before."""
    database, copy = root / "market.db", root / "market.db.before"
    for path, what in ((database, "spoilt"), (copy, "whole")):
        with closing(sqlite3.connect(path)) as conn:
            conn.execute(f"CREATE TABLE {what} (x)")
    answers(root, "config", {"database_url": f"sqlite:///{database}"})
    answers(root, "upgrade", {"from": "0003", "to": "0004", "copy": str(copy)})
    return database, copy


def tables(database: Path) -> list[str]:
    """The names of its tables."""
    with closing(sqlite3.connect(database)) as conn:
        return [name for (name,) in conn.execute("SELECT name FROM sqlite_master")]


def test_it_is_installed_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A fresh environment whose scripts know where they are; another time there is nothing to make."""
    assert installed(folder) == 0
    assert (folder / ".venv/bin/pip").read_text(encoding="utf-8") == f"#!{folder}/.venv/bin/python\n"
    said = capsys.readouterr().err
    assert "ok   database: is sound\n" in said
    assert f"Done. Each minute a run: `.venv/bin/python -m fetcher --config {folder}/config.yaml cron install`" in said
    before = (folder / ".venv").stat().st_ino
    assert installed(folder) == 0
    assert "Making" not in capsys.readouterr().err
    assert (folder / ".venv").stat().st_ino == before


@pytest.mark.parametrize("why", ["other packages", "a Python that is gone"])
def test_an_environment_is_made_anew_where_it_has_to_be(folder: Path, why: str) -> None:
    """The one before is kept."""
    assert installed(folder) == 0
    before = (folder / ".venv").stat().st_ino
    if why == "other packages":
        os.utime(folder / "requirements.txt", (2**31, 2**31))
    else:
        (folder / ".venv/bin/python").unlink()
    assert installed(folder) == 0
    assert (folder / ".venv").stat().st_ino != before
    assert (folder / ".venv.old").stat().st_ino == before


@pytest.mark.parametrize(
    ("step", "answer", "code", "sentence"),
    [
        ("pip", "no such package", 1, "the packages cannot be installed, see above; nothing was changed"),
        ("version", "boom", 1, "the program does not start with the new packages; nothing was changed"),
        (
            "config.json",
            '{"error": "config.yaml: sources: is required"}',
            2,
            "config.yaml: sources: is required; nothing",
        ),
        ("upgrade.json", '{"error": "it is newer"}', 1, "it is newer; database and .venv are as they were"),
        ("upgrade", "Traceback", 1, "database and .venv are as they were"),
    ],
)
def test_what_fails_leaves_the_environment_as_it_was(
    folder: Path, capsys: pytest.CaptureFixture[str], step: str, answer: str, code: int, sentence: str
) -> None:
    """Nothing of the new one stays, and it is told in a sentence."""
    assert installed(folder) == 0
    before = (folder / ".venv").stat().st_ino
    os.utime(folder / "requirements.txt", (2**31, 2**31))
    (folder.parent / step).write_text(answer, encoding="utf-8")
    assert installed(folder) == code
    assert sentence in capsys.readouterr().err
    assert (folder / ".venv").stat().st_ino == before
    assert not (folder / ".venv.new").exists()


def test_an_environment_that_cannot_take_over_leaves_the_database_as_it_was(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old environment that cannot be removed (another user's) is found after the upgrade: that is undone."""
    assert installed(folder) == 0
    os.utime(folder / "requirements.txt", (2**31, 2**31))
    database, copy = upgraded(folder)
    (folder / ".venv.old/kept").mkdir(parents=True)

    def refused(path: Path, **_: object) -> None:
        if path == folder / ".venv.old":
            raise PermissionError(13, "Permission denied", str(path))

    before = (folder / ".venv").stat().st_ino
    monkeypatch.setattr(install.shutil, "rmtree", refused)
    assert installed(folder) == 1
    said = capsys.readouterr().err
    assert f".venv is as it was; the database was upgraded: it was put back from {copy}." in said
    assert (folder / ".venv").stat().st_ino == before
    assert tables(database) == ["whole"]


def test_no_run_finds_the_environment_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cron may start one at any moment: whatever takes a while is done before the old one leaves its place."""
    assert installed(folder) == 0
    os.utime(folder / "requirements.txt", (2**31, 2**31))
    rename_inside, there = install.rename_inside, []

    def noting(*words: object) -> None:
        there.append((folder / ".venv/bin/python").exists())
        rename_inside(*words)

    monkeypatch.setattr(install, "rename_inside", noting)
    assert installed(folder) == 0
    assert there
    assert all(there)


def test_what_doctor_finds_elsewhere_stops_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that is away would be away with the version before too."""
    bad = {"name": "binance", "ok": False, "message": "cannot be reached"}
    answers(folder, "doctor", {"healthy": False, "checks": [*WELL["doctor"]["checks"], bad]})
    assert installed(folder) == 0
    assert "BAD  binance: cannot be reached\n" in capsys.readouterr().err


@pytest.mark.parametrize("doctor", [{"error": "boom"}, {"checks": [{"name": "writing", "ok": False, "message": "no"}]}])
def test_a_database_that_an_upgrade_spoilt_is_put_back(
    folder: Path, capsys: pytest.CaptureFixture[str], doctor: dict[str, object]
) -> None:
    """By SQLite itself, while another has it open."""
    database, copy = upgraded(folder)
    answers(folder, "doctor", doctor)
    with closing(sqlite3.connect(database)) as reader:
        assert reader.execute("SELECT name FROM sqlite_master").fetchall() == [("spoilt",)]
        assert installed(folder) == 1
        assert reader.execute("SELECT name FROM sqlite_master").fetchall() == [("whole",)]
    assert f"the upgraded database is not well; it was put back from {copy}" in capsys.readouterr().err
    assert not (folder / ".venv").exists()


def test_a_dump_is_not_put_back_by_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Others may use that server: what to do is told."""
    answers(folder, "config", {"database_url": "postgresql://me:***@host/market"})
    answers(folder, "upgrade", {"from": "0003", "to": "0004", "copy": "backups/market.before-0004"})
    answers(folder, "doctor", {"error": "boom"})
    assert installed(folder) == 1
    assert "restore its dump backups/market.before-0004 with pg_restore into an empty" in capsys.readouterr().err


def test_the_example_is_written_where_there_is_no_configuration(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never over one; where it cannot be written, or there is no example, a sentence says so."""
    for _ in range(2):
        assert installed(folder, "mine/market.yaml") == 0
    assert capsys.readouterr().err.count("Wrote ") == 1
    (folder / "file").touch()
    assert installed(folder, "file/market.yaml") == 2
    assert "market.yaml cannot be written: " in capsys.readouterr().err
    (folder / "config.yaml").unlink()
    assert installed(folder) == 2
    assert "is missing, and so is the example" in capsys.readouterr().err
    assert (folder / "mine/market.yaml").read_text(encoding="utf-8") == "an example\n"


def test_the_commit_to_go_back_to_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After an update of the folder that cannot be installed cron starts its code all the same."""
    assert installed(folder) == 0
    (folder / ".venv/.installed-code").write_text("abc123", encoding="utf-8")
    (folder.parent / "version").write_text("boom", encoding="utf-8")
    assert installed(folder) == 1
    assert "go back with `git checkout abc123`" in capsys.readouterr().err


def test_two_at_once_do_not_meet(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second leaves with a sentence."""
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert installed(folder) == 1
    assert "is at work here" in capsys.readouterr().err
    os.close(held)
    assert installed(folder) == 0
