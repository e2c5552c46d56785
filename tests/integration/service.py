"""The daemon as a process of its own, as a service manager would keep it: started, told, watched and killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration.world import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEAVE_SECONDS = 20.0


class Service:
    """`python -m fetcher --daemon` with a configuration; what it says goes to `daemon.log` beside that."""

    def __init__(self, config: Path, environment: Mapping[str, str] | None = None) -> None:
        self.config = config
        self.log = config.parent / "daemon.log"
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, clock: str) -> None:
        """Start it with this FETCHER_CLOCK."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FETCHER_")},
            **self._environment,
            "FETCHER_CLOCK": clock,
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fetcher", "--config", str(self.config), "--daemon"],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process, which has to have been started."""
        assert self._process is not None
        return self._process

    def hang_up(self) -> None:
        """Have it read its configuration anew."""
        self.process.send_signal(signal.SIGHUP)

    def terminate(self) -> int:
        """Have it end in order; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_LEAVE_SECONDS)

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait(_LEAVE_SECONDS)

    def close(self) -> None:
        """Nothing of it stays behind."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def resident_mb(self) -> float:
        """The memory that it has now, in MiB."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii"))
        assert found is not None, self.said()
        return int(found[1]) / 1024

    def said(self) -> str:
        """Everything that it has said."""
        return self.log.read_text(encoding="utf-8", errors="replace")
