"""The demonstration is also a test: it runs every part of the product, and looks up what it tells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fetcher.sandbox import demo

ROOT = Path(__file__).resolve().parents[2]


def test_everything_is_as_told(tmp_path: Path) -> None:
    """A small demonstration ends with 0, shows its steps, and leaves nothing in the folder for temporary files."""
    command = [sys.executable, "-m", "fetcher.sandbox.demo", "--days", "2"]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for told in ("backfill", "rows_missing", "bit for bit", "Sound", "Everything was as told"):
        assert told in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_as_told_is_found(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """A hole that was told but not made ends the demonstration with 1 and a sentence."""
    monkeypatch.setattr(demo, "_DELETE", f"{demo._DELETE} AND false")
    assert demo.main(["--days", "2"]) == 1
    assert "Not as told" in capfd.readouterr().err


def test_bad_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """One day is too short for an outage beside a hole."""
    with pytest.raises(SystemExit, match="2"):
        demo.main(["--days", "1"])
    assert "choose 2 to 365" in capsys.readouterr().err
