"""A sandbox as a child process, and a remote control for it: what tests, benchmarks and the demonstration use."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from fetcher.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_READY = "sandbox listening on "
_ROOT = Path(__file__).resolve().parents[2]
_LEAVE_SECONDS = 5.0
_ADMIN_SECONDS = 30.0


class SandboxControl:
    """The admin requests of a running sandbox; each raises ConfigError with the sandbox's own sentence."""

    def __init__(self, url: str, pid: int | None = None) -> None:
        self.url = url.rstrip("/")
        self.pid = pid

    def log(self, path: str | None = None, venue: str | None = None) -> list[dict[str, Any]]:
        """The requests so far, oldest first: n, at_ms, real_ms, path, query, status, fault, rows, weight_used, venue.

        Only those of a path or a venue where one is named.
        """
        entries: list[dict[str, Any]] = self._ask("GET", "log")
        return [entry for entry in entries if path in {None, entry["path"]} and venue in {None, entry["venue"]}]

    def clear_log(self) -> None:
        """Forget the requests so far."""
        self._ask("DELETE", "log")

    def config(self) -> dict[str, Any]:
        """The settings as they stand, and `now_ms` of the sandbox's clock."""
        config: dict[str, Any] = self._ask("GET", "config")
        return config

    def configure(self, **settings: Any) -> None:
        """Set any of what `config()` names, except `now_ms` and `scripts`.

        Such as `venues={"okx": {"down": ["always"]}}`, `archive={"faults": {"truncated": ["once:*-2024-01-15.zip"]}}`.
        """
        self._ask("POST", "config", settings)

    def script(
        self, fault: str, count: int = 1, symbol: str | None = None, path: str | None = None, venue: str | None = None
    ) -> None:
        """Give the next `count` candle answers of a venue, Binance by default, this fault, or `none`.

        With a `symbol` (the venue's own name) only those about it; another `path` may hold `*`. The venue `archive` is
        short for the path `/data/*`.
        """
        told = {"fault": fault, "count": count, "symbol": symbol, "path": path, "venue": venue}
        self._ask("POST", "script", told)

    def restate(self, symbol: str, timeframe: str, open_time: int, close: str, venue: str | None = None) -> None:
        """Let a venue serve another close for one closed candle (`open_time` ms UTC; `symbol` the true `BTCUSDT`).

        Binance's archive publishes the files with that candle anew: other bytes, CHECKSUM and Last-Modified.
        """
        told = {"symbol": symbol, "timeframe": timeframe, "open_time": open_time, "close": close, "venue": venue}
        self._ask("POST", "restate", told)

    def _ask(self, method: str, name: str, told: dict[str, Any] | None = None) -> Any:
        with requests.Session() as session:
            session.trust_env = False  # a proxy for the world is none for loopback
            answer = session.request(method, f"{self.url}/sandbox/{name}", json=told, timeout=_ADMIN_SECONDS)
        found = answer.json()
        if not answer.ok:
            raise ConfigError(found["error"])
        return found


@contextmanager
def spawn_sandbox(*arguments: str) -> Iterator[SandboxControl]:
    """Run `python -m fetcher.sandbox` on a free port with these arguments; it ends with the block, or with us.

    Raises ConfigError with what the child said when it does not come up.
    """
    command = [sys.executable, "-m", "fetcher.sandbox", "--port", "0", "--die-with-stdin", *arguments]
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryFile("w+") as complaints:
        child = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        try:
            line = child.stdout.readline().strip() if child.stdout else ""
            if not line.startswith(_READY):
                child.wait(_LEAVE_SECONDS)
                complaints.seek(0)
                said = complaints.read().strip() or line or "it said nothing"
                raise ConfigError(f"the sandbox did not start: {said}")
            yield SandboxControl(line.removeprefix(_READY), child.pid)
        finally:
            _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    if child.stdin:
        child.stdin.close()  # what it watches; the same happens when we die
    try:
        child.wait(_LEAVE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout:
        child.stdout.close()
