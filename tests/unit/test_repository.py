"""The repository holds nothing of the machine it was made on, and its first steps work on another."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")
PIN = re.compile(r"(?P<name>[a-z0-9-]+(\[[a-z,-]+\])?)==(?P<version>[\w.!+]+)( ; .+)?")
# A folder that one machine alone has, seen where a path begins.
MACHINE_PATH = re.compile(r"(?<![\w.$}])/(home|root|work|tmp|Users)/[A-Za-z]")
TEXT = {".cfg", ".html", ".ini", ".json", ".md", ".py", ".sh", ".sql", ".toml", ".txt", ".yaml", ".yml", ""}


def repository_files() -> list[Path]:
    """Every text file that git tracks or would track; where git is missing, everything outside of hidden folders."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607 (any git will do)
            cwd=ROOT, capture_output=True, check=True, text=True,
        ).stdout.split("\0")  # fmt: skip
        files = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        files = [
            path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        ]
    return sorted(file for file in files if file.is_file() and file.suffix in TEXT)


def pins(name: str) -> dict[str, str]:
    """Package → version of a requirements file; fails on a line that pins nothing."""
    found = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        match = PIN.fullmatch(line)
        assert match is not None, f"{name}: {line!r} is no exact pin"
        found[match["name"]] = match["version"]
    return found


def test_no_file_names_a_path_of_one_machine() -> None:
    """A path that exists on its author's machine alone misleads everybody else."""
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in repository_files()
        if file.relative_to(ROOT).parts[0] != "tests"  # tests make up such paths on purpose
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not found


@pytest.mark.parametrize(
    ("line", "hit"), [("cd /%s/me/x", True), ("https://x.org/%s/me", False), ("$root/%s/a", False)]
)
def test_a_path_of_one_machine_is_recognised(*, line: str, hit: bool) -> None:
    """The pattern sees absolute paths and leaves addresses and variables alone."""
    assert bool(MACHINE_PATH.search(line % "home")) is hit


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_are_exact_pins(name: str) -> None:
    """Every package has one version, and each is named once."""
    assert len(pins(name)) == len((ROOT / name).read_text(encoding="utf-8").splitlines())


def test_the_tools_run_with_what_users_run() -> None:
    """The development requirements pin what the program's requirements pin, to the same versions."""
    assert pins("requirements.txt").items() <= pins("requirements-dev.txt").items()


@pytest.mark.parametrize("name", [*REQUIREMENTS, "pyproject.toml"])
def test_requirements_name_no_index(name: str) -> None:
    """Packages come from wherever pip is told to look, not from where the author's pip looked."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links|--trusted-host", text)


def test_every_direct_dependency_is_pinned_and_explained() -> None:
    """A dependency of the program is pinned, and the memory bank says what it is for."""
    block = re.search(
        r"^dependencies = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert block is not None
    named = set(re.findall(r'^    "([a-z0-9-]+)', block[1], re.MULTILINE))
    explained = (ROOT / "memory-bank/techContext.md").read_text(encoding="utf-8").lower()
    assert named <= pins("requirements.txt").keys()
    assert not {name for name in named if f"| {name} |" not in explained}


def test_scripts_can_be_started() -> None:
    """What cron and the build start by name is executable."""
    started = ("cron/fetcher-cron.sh", ".ci/run")
    assert all((ROOT / name).stat().st_mode & 0o111 for name in started)
