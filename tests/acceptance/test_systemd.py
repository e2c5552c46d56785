"""systemd's own checker accepts every kind of unit that the program writes, in any folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KINDS = [[], ["--daemon"], ["--system"], ["--system", "--daemon"]]
MOST_EXPOSED = 3.0  # of 10, as `systemd-analyze security` counts it, for a service of the machine


def analyzed(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """What `systemd-analyze` says; as root it is installed where it is missing."""
    if shutil.which("systemd-analyze") is None and os.geteuid() == 0:
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "systemd"], check=True)  # noqa: S607 - wherever it is
    program = shutil.which("systemd-analyze")
    assert program is not None, "this needs systemd-analyze (Debian's package systemd)"
    return subprocess.run([program, "--man=no", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_systemd_accepts_what_is_written(tmp_path: Path, kind: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command as people call it; not a word from the checker, and few ways for a hardened service to do harm."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder, units = tmp_path / "a b%c $x 'é", tmp_path / "units"
    folder.mkdir()
    shutil.copy(ROOT / "config.yaml", folder)
    command = [sys.executable, "-m", "fetcher", "--config", str(folder / "config.yaml"), "cron", "systemd", *kind]
    subprocess.run([*command, "--to", str(units)], cwd=ROOT, check=True)
    files = sorted(units.iterdir())
    assert len(files) == (3 if "--daemon" in kind else 4)
    said = analyzed(*([] if "--system" in kind else ["--user"]), "verify", *files)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    if "--system" in kind:
        services = [file for file in files if file.suffix == ".service"]
        levels = [analyzed("security", "--offline=true", file).stdout for file in services]
        found = [re.search(r"exposure level for .*: ([\d.]+)", text) for text in levels]
        assert all(match is not None and float(match[1]) <= MOST_EXPOSED for match in found), levels
