"""Where this program stands: what a crontab or a unit has to name so that the same one is started again."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from msgspec import Struct

from fetcher.errors import ConfigError

_CHECKOUT = Path(__file__).resolve().parents[2]
_WRAPPER = "fetcher-cron.sh"


class Places(Struct, frozen=True):
    """The folder to start in, the Python that has the packages, and the folder with wrapper and templates."""

    root: Path
    python: Path
    cron: Path

    @property
    def wrapper(self) -> Path:
        """What cron starts; it goes to its own folder's parent by itself."""
        return self.cron / _WRAPPER

    @property
    def usual_python(self) -> Path:
        """The Python that the wrapper takes unless told otherwise."""
        return self.cron.parent / ".venv/bin/python"

    def template(self, name: str) -> str:
        """The text of a file in the cron folder."""
        return (self.cron / name).read_text(encoding="utf-8")


def places(checkout: Path = _CHECKOUT, prefix: Path | None = None, python: str = "") -> Places:
    """Those of the checkout that runs, else those of the environment that the package is installed in.

    Raises ConfigError where the wrapper is in neither, and where the Python has no name.
    """
    prefix = Path(sys.prefix) if prefix is None else prefix
    program = Path(python or sys.executable)
    plain = program.with_name("python")  # whoever calls it python3 means the same, and changes no line by it
    if plain.exists() and program.exists() and plain.samefile(program):
        program = plain
    for root, cron in ((checkout, checkout / "cron"), (prefix, prefix / "share/candle-fetcher")):
        if (cron / _WRAPPER).is_file():
            return Places(root, program, cron)
    raise ConfigError(
        f"{_WRAPPER} is neither in {checkout / 'cron'} nor in {prefix / 'share/candle-fetcher'}; install the program "
        "anew, as README.md says"
    )


def named(text: str) -> Path:
    """The path of an argument. An empty one would mean the current folder: a script's variable was not set."""
    if not text:
        raise typer.BadParameter("is empty; name a file or folder")
    return Path(text)


def whole_path(path: Path, what: str) -> Path:
    """The path from the root on; raises ConfigError where crons and systemd would disagree how to read it."""
    whole = Path(path.expanduser().absolute())
    if any(c == "\\" or not c.isprintable() for c in str(whole)):
        raise ConfigError(
            f"{what} {str(whole)!r} has a backslash or something unprintable in it, which crons read differently; "
            "rename it"
        )
    return whole
