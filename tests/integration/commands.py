"""The command line as users have it: `python -m fetcher …` in a child process, in a folder with its configuration."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from threading import Event
from typing import TYPE_CHECKING, Any

from fetcher.clock import Clock
from tests.integration.world import ROOT, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fetcher.sandbox.control import SandboxControl

NOW = "2026-06-01T00:00:30Z"
"""What the sandbox's clock says all the time, and ours when a command starts."""

_PATIENCE = 30.0


class CommandLine(World):
    """A world whose program is a child process; commands start at NOW."""

    def __init__(self, sandbox: SandboxControl, folder: Path) -> None:
        super().__init__(sandbox, folder)

    @staticmethod
    def environment(**more: str) -> dict[str, str]:
        """The child's environment: nothing of ours but what Python needs."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return kept | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "FETCHER_CLOCK": NOW} | more

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """A command that has just begun."""
        return subprocess.Popen(
            [sys.executable, "-m", "fetcher", *words],
            cwd=self.folder, env=self.environment(**environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def command(self, *words: str, **environment: str) -> Said:
        """A command, to its end."""
        return ended(self.start(*words, **environment))

    def answer(self, *words: str) -> Any:
        """What a command that must succeed says with --json."""
        said = self.command("--json", *words)
        assert said.code == 0, said
        return json.loads(said.out)


class Said:
    """How a command ended: exit code, stdout, stderr."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def ended(child: subprocess.Popen[str]) -> Said:
    """A command when it has ended; it is killed when that takes too long."""
    try:
        out, err = child.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        raise AssertionError(f"it did not end: {Said(-signal.SIGKILL, out, err)}") from None
    return Said(child.returncode, out, err)


def until(happened: Callable[[], bool]) -> None:
    """Wait for something real, not longer than patience lasts."""
    clock, never = Clock(), Event()
    while not happened():
        assert clock.elapsed() < _PATIENCE, "it did not happen"
        clock.wait(never, 0.02)
