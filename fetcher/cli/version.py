"""Which version of the program this is."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

_NAME = "candle-fetcher"
_BESIDE = Path(__file__).resolve().parents[2] / "pyproject.toml"


def version() -> str:
    """The version of the checkout that runs, else that of the installed package."""
    if _BESIDE.is_file():
        project = tomllib.loads(_BESIDE.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == _NAME:
            return str(project["version"])
    return metadata.version(_NAME)
