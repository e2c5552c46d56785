"""Where secrets come from: environment variables, systemd's credentials ($CREDENTIALS_DIRECTORY/NAME), and files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT_FILE, CREDENTIALS_FOLDER = "fetcher.env", "credentials"
"""What systemd's units of ours read beside the configuration: lines NAME=key, and a file for each key."""

_LONGEST = 10_000  # characters read of a file that should hold one key


def is_file(name: str) -> bool:
    """Whether a name means a file: its path is absolute, and no variable has a slash in its name."""
    return "/" in name


def key_text(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """What a variable, credential or file holds, whatever that is; OSError for a file that cannot be read."""
    if is_file(name):
        return _first_of(Path(name))
    return environment.get(name, "").strip() or credential(name, environment)


def credential(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """What systemd hands over under a name (LoadCredential=NAME:…); empty where it does not."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    path = Path(folder, name) if folder else None
    return _first_of(path) if path is not None and path.is_file() else ""


def _first_of(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as text:
        return text.read(_LONGEST).strip()
