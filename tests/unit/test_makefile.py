"""`make run` gives the program its arguments whole, in any folder, and tells its exit code."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile and, as if installed, a stand-in for Python: an argument a line, then exit code 75."""
    folder = tmp_path / "a b%c"
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 75\n', encoding="utf-8")
    python.chmod(0o755)
    (folder / ".venv/.installed-run").touch()
    return folder


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make there, as from a shell of its own and not from the make that may run these tests."""
    inherited = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    return subprocess.run(
        ["make", "--silent", *arguments],  # noqa: S607 (any make will do)
        cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("told", "config"),
    [
        ("other.yaml", "other.yaml"),
        ("my own's 50%.yaml", "my own's 50%.yaml"),
        ("~/a b.yaml", "/home of/me/a b.yaml"),
        ("a~/b.yaml", "a~/b.yaml"),
        ('`x` "y"', '`x` "y"'),
    ],
)
def test_the_configuration_may_have_any_name(checkout: Path, told: str, config: str) -> None:
    """Named on the command line or by the environment, it reaches the program as one word."""
    expected = f"-m\nfetcher\n--config\n{config}\n"
    assert make(checkout, "run", f"CONFIG={told}", HOME="/home of/me").stdout == expected
    assert make(checkout, "run", FETCHER_CONFIG=told, HOME="/home of/me").stdout == expected


def test_quotes_inside_args_hold_words_together(checkout: Path) -> None:
    """ARGS are several words; the shell's quotes inside say which blanks belong to a word."""
    done = make(checkout, "run", "ARGS=jobs --symbol 'BTC / USDT'")
    assert done.stdout == "-m\nfetcher\n--config\nconfig.yaml\njobs\n--symbol\nBTC / USDT\n"


def test_the_exit_code_of_the_program_is_told(checkout: Path) -> None:
    """Make ends with 2 whatever failed: the program's own code would be lost."""
    done = make(checkout, "run")
    assert done.returncode == 2
    assert done.stderr.startswith("The program's exit code is 75.\n")


@pytest.mark.parametrize("target", ["install", "upgrade"])
def test_install_starts_its_program_for_the_configuration(checkout: Path, tmp_path: Path, target: str) -> None:
    """With the Python that was named, or the first that is new enough; the configuration is one word."""
    python = tmp_path / "python9"
    python.write_text('#!/bin/sh\n[ "$1" = -c ] || printf "%s\\n" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    done = make(checkout, target, f"PYTHON={python}", "CONFIG=my own's.yaml")
    assert (done.returncode, done.stdout) == (0, "cron/install.py\nmy own's.yaml\n")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 1", "No Python 3.11 or newer found ("),
        ('case "$2" in *ensurepip*) exit 1; esac', "cannot make virtual environments: install its venv package"),
    ],
)
def test_a_python_that_will_not_do_is_told(checkout: Path, tmp_path: Path, script: str, words: str) -> None:
    """One sentence with what to do."""
    python = tmp_path / "python9"
    python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    python.chmod(0o755)
    done = make(checkout, "install", f"PYTHON={python}")
    assert done.returncode == 2
    assert words in done.stderr
