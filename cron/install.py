"""`make install` and `make upgrade`: environment, configuration, database, and a look at all of it; may be done again.

Started by any Python from 3.11 on, without packages. The new environment is made beside the one in use and proven
before it takes its place, so whatever fails on the way leaves the program as it was:

    1. a configuration, where there is none: a copy of the example
    2. .venv.new with the packages of requirements.txt, where those of .venv are not the same
    3. does the program start there, and understand the configuration
    4. the database: what is there is copied, then upgraded in one transaction
    5. doctor: where an upgraded database is not well, the copy is put back; what else is wrong is told
    6. .venv.new becomes .venv; the one before is kept as .venv.old

Exit codes: 0 done, 1 failed and all is as before, 2 the configuration or this machine has to be mended first.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STAMP, CODE = ".installed-run", ".installed-code"
FAILED, BAD_INPUT = 1, 2
_VITAL = ("database", "writing")  # what an upgrade of the database can have spoiled
_CLEAN = {"PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH"}


class InstallError(Exception):
    """Why it cannot go on, in a sentence."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class Installation:
    """The folder of a checkout, with its environment and the configuration that it is to run with."""

    def __init__(self, root: Path, config: Path) -> None:
        self.root = root
        self.config = config
        self.now, self.new, self.old = (root / name for name in (".venv", ".venv.new", ".venv.old"))

    def bring_up_to_date(self) -> None:
        """All of it; raises InstallError, after which all is as it was."""
        self.ensure_config()
        environment = self.now if self.is_current() else self.make_environment()
        try:
            self.check_program(environment)
            made = self.upgrade_database(environment)
            if environment == self.new:
                self.take_over(made)
        except BaseException:
            shutil.rmtree(self.new, ignore_errors=True)
            raise
        (self.now / CODE).write_text(self.code(), encoding="utf-8")

    def code(self) -> str:
        """The commit of this folder; empty where git does not know."""
        return started(["git", "rev-parse", "HEAD"], self.root).stdout.strip()

    def way_back(self) -> str:
        """What is left to do after a failure: the code in this folder is the new one still."""
        good = (self.now / CODE).read_text(encoding="utf-8") if (self.now / CODE).exists() else ""
        if not good or good == self.code():
            return ""
        return (
            f" The code here is newer than what is installed, and cron starts it: go back with `git checkout {good}`."
        )

    def ensure_config(self) -> None:
        """The example as configuration, where there is none yet."""
        if self.config.exists():
            return
        example = self.root / "config.yaml"
        if not example.exists():
            raise InstallError(f"{self.config} is missing, and so is the example; README.md has a first one", BAD_INPUT)
        try:
            self.config.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(example, self.config)
        except OSError as error:
            raise InstallError(f"{self.config} cannot be written: {error.strerror}", BAD_INPUT) from None
        say(f"Wrote {self.config}, an example: name your markets there")

    def is_current(self) -> bool:
        """Whether .venv starts and has the packages that are asked for; make goes by the same stamp."""
        stamp, pins = self.now / STAMP, self.root / "requirements.txt"
        if not stamp.exists() or stamp.stat().st_mtime < pins.stat().st_mtime:
            return False
        return started([self.now / "bin/python", "-c", ""]).returncode == 0

    def make_environment(self) -> Path:
        """.venv.new with all packages."""
        shutil.rmtree(self.new, ignore_errors=True)
        say(f"Making an environment with Python {sys.version.partition(' ')[0]} and the packages of requirements.txt")
        pip: list[Path | str] = [
            self.new / "bin/python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--compile",
        ]
        steps: list[list[Path | str]] = [
            [sys.executable, "-m", "venv", "--clear", self.new],
            [*pip, "--requirement", self.root / "requirements.txt"],
        ]
        for step in steps:
            ended = started(step, told=True)
            if ended.returncode != 0:
                shutil.rmtree(self.new, ignore_errors=True)
                raise InstallError("the packages cannot be installed, see above; nothing was changed")
        (self.new / STAMP).touch()
        return self.new

    def check_program(self, environment: Path) -> None:
        """Does it start, and does this version understand the configuration."""
        if started([environment / "bin/python", "-m", "fetcher", "--version"], self.root).returncode != 0:
            raise InstallError("the program does not start with the new packages; nothing was changed")
        answer, words = self.asked(environment, "config", "check")
        if "error" in answer:
            raise InstallError(f"{words}; nothing was changed", BAD_INPUT)

    def upgrade_database(self, environment: Path) -> dict[str, Any]:
        """Copied and upgraded where it is behind, and put back where the upgraded one is not well; what was done."""
        made, words = self.asked(environment, "db", "upgrade", "--dump", str(self.config.parent / "backups"))
        if "error" in made or "from" not in made:
            raise InstallError(f"{words}; database and .venv are as they were")
        if made["from"] is not None:
            say(f"Upgraded the database from {made['from']} to {made['to']}; as it was: {made['copy']}")
        found, words = self.asked(environment, "doctor")
        checks = found.get("checks", [{"name": "doctor", "ok": False, "message": words}])
        for check in checks:
            say(f"{'ok  ' if check['ok'] else 'BAD '} {check['name']}: {check['message']}")
        spoilt = "checks" not in found or any(not check["ok"] for check in checks if check["name"] in _VITAL)
        if spoilt and made["from"] is not None:
            raise InstallError(f"the upgraded database is not well; {self.put_back(environment, made['copy'])}")
        return made

    def put_back(self, environment: Path, copy: str | None) -> str:
        """Make the database what it was, through SQLite, so that whoever has it open goes on; says what was done."""
        url = self.asked(environment, "config", "check")[0].get("database_url", "")
        if copy is None or not url.startswith("sqlite"):
            return f"restore its dump {copy} with pg_restore into an empty database, and name that in database_url"
        file = url.partition(":///")[2].partition("?")[0]
        try:
            with closing(sqlite3.connect(copy)) as before, closing(sqlite3.connect(file)) as spoilt:
                before.backup(spoilt)
        except sqlite3.Error as error:
            return f"it cannot be put back ({error}); what was before is in {copy}"
        return f"it was put back from {copy}"

    def asked(self, environment: Path, *words: str) -> tuple[dict[str, Any], str]:
        """What a command of the program answers with --json, and what it says on stderr."""
        program: list[Path | str] = [environment / "bin/python", "-m", "fetcher", "--json", "--config", self.config]
        ended = started([*program, *words], self.root)
        said = " ".join(ended.stderr.split()).removeprefix("fetcher: ")
        try:
            answer = json.loads(ended.stdout)
        except ValueError:
            answer = {"error": said}
        return answer, answer.get("error") or said

    def take_over(self, upgraded: dict[str, Any]) -> None:
        """Let .venv.new be .venv, and .venv be .venv.old; where that fails an upgraded database is put back, too."""
        try:
            for script in (self.new / "bin").iterdir():
                rename_inside(script, str(self.new), str(self.now))
            if self.old.is_symlink():
                self.old.unlink()
            elif self.old.exists():
                shutil.rmtree(self.old)
            self.swap()
        except OSError as error:
            undone = ""
            if upgraded["from"] is not None:
                undone = f"; the database was upgraded: {self.put_back(self.new, upgraded['copy'])}"
            raise InstallError(
                f"{self.new} cannot become {self.now}: {error.strerror} ({error.filename}); .venv is as it was{undone}"
            ) from None

    def swap(self) -> None:
        """Two renames, and nothing between them, since cron may start a run at any moment."""
        had_one = self.now.exists() or self.now.is_symlink()
        if had_one:
            self.now.rename(self.old)
        try:
            self.new.rename(self.now)
        except BaseException:
            if had_one:
                self.old.rename(self.now)
            raise


def rename_inside(script: Path, old: str, new: str) -> None:
    """Let a script know the folder that its environment is about to have."""
    if script.is_symlink() or not script.is_file():
        return
    content = script.read_bytes()
    if os.fsencode(old) in content and b"\0" not in content:
        script.write_bytes(content.replace(os.fsencode(old), os.fsencode(new)))


def started(
    command: list[Path | str], folder: Path | None = None, *, told: bool = False
) -> subprocess.CompletedProcess[str]:
    """A command to its end, with what it says, or (`told`) with that on our own stderr."""
    environment = {name: value for name, value in os.environ.items() if name not in _CLEAN} | {"PYTHONUTF8": "1"}
    streams: dict[str, Any] = {"stdout": 2, "stderr": 2} if told else {"capture_output": True}
    try:
        return subprocess.run(command, cwd=folder, env=environment, text=True, errors="replace", check=False, **streams)  # noqa: S603 (our own)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def say(text: str) -> None:
    """Tell one line."""
    print(text, file=sys.stderr, flush=True)


def main(words: list[str]) -> int:
    """Bring the checkout up to date for the configuration named; returns the exit code."""
    config = Path(words[0] if words else "config.yaml").expanduser().absolute()
    lock = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("Another `make install` is at work here; wait for its end")
        return FAILED
    installation = Installation(ROOT, config)
    try:
        installation.bring_up_to_date()
    except InstallError as error:
        say(f"FAILED: {error}.{installation.way_back()}")
        return error.code
    finally:
        os.close(lock)
    python = ".venv/bin/python"
    say(f"Done. Each minute a run: `{python} -m fetcher --config {config} cron install` (or `… cron systemd`)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
