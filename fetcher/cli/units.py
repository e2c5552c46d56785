"""systemd's units for this program, from the templates in `cron/systemd`, with the paths that are true here."""

from __future__ import annotations

import pwd
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from fetcher.cli.crontab import every
from fetcher.credentials import CREDENTIALS_FOLDER, ENVIRONMENT_FILE
from fetcher.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fetcher.cli.places import Places

MARK = "# Written by `python -m fetcher cron systemd`"
_FIELDS = {1: "*", 60: "00"}
_AFTER = "Wants=network-online.target\nAfter=network-online.target postgresql.service\n"
_PLACE = re.compile(r"@([A-Z_]+)@")


class Wanted(Struct, frozen=True):
    """What units are asked for; `variables` are those that sources want their keys from."""

    config: Path
    writable: Path
    variables: Sequence[str] = ()
    name: str = "candle-fetcher"
    minutes: int = 1
    system: bool = False
    daemon: bool = False

    def files(self, places: Places) -> dict[str, str]:
        """Each unit's file name and text."""
        kinds = {"daemon.service": ""} if self.daemon else {"run.service": "", "run.timer": ""}
        kinds |= {"audit.service": "-audit", "audit.timer": "-audit"}
        words = self._words(places)
        texts = {kind: _filled(places.template(f"systemd/{kind}"), words) for kind in kinds}
        return {f"{self.name}{kinds[kind]}.{kind.partition('.')[2]}": f"{MARK}\n{text}" for kind, text in texts.items()}

    def starts(self) -> list[str]:
        """The units that are to be enabled."""
        first = f"{self.name}.service" if self.daemon else f"{self.name}.timer"
        return [first, f"{self.name}-audit.timer"]

    def _words(self, places: Places) -> dict[str, str]:
        program = word(places.python, dollars=False)  # systemd fills variables into arguments, not into the program
        command = [program, "-m", "fetcher", "--config", word(self.config)]
        words = {
            "NAME": self.name,
            "CONFIG": line(self.config),
            "ENVIRONMENT_FILE": line(self.config.parent / ENVIRONMENT_FILE),
            "AFTER": _AFTER if self.system else "",  # your own manager knows no network
            "COMMAND": " ".join(command),
            "ROOT": line(places.root),
            "EVERY": every(self.minutes),
            "MINUTES": _FIELDS.get(self.minutes, f"0/{self.minutes}"),
            "WANTED_BY": "multi-user.target" if self.system else "default.target",
            "CREDENTIALS": self._credentials(),
        }
        common = places.template("systemd/common.user")
        if self.system:
            words |= {"USER": _owner(self.config.parent), "WRITABLE": word(self.writable, dollars=False)}
            common += places.template("systemd/common.system")
        return words | {"COMMON": _filled(common, words).rstrip()}

    def _credentials(self) -> str:
        """A line for each key; a comment where its file is not there yet, since the unit would not start."""
        folder = self.config.parent / CREDENTIALS_FOLDER
        lines = [
            f"{'' if (folder / each).is_file() else '# '}LoadCredential={each}:{line(folder / each)}"
            for each in self.variables or ("NAME",)
        ]
        return "\n".join(lines)


def write_units(folder: Path, files: Mapping[str, str]) -> None:
    """Write each, over one of ours alone; raises ConfigError."""
    for name, text in files.items():
        path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(MARK):
                raise ConfigError(
                    f"{path} was not written by this program and is not overwritten; choose another --name"
                )
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def word(path: Path, *, dollars: bool = True) -> str:
    """A path as one word: an argument of a command; the program, or one of a list of paths (there `$` means itself)."""
    text = str(path).replace("%", "%%")
    if dollars:
        text = text.replace("$", "$$")
    if not re.search(r"""[\s"';]""", text):
        return text
    return '"' + text.replace('"', '\\"') + '"'


def line(path: Path) -> str:
    """A path that takes the rest of its line."""
    return str(path).replace("%", "%%")


def _filled(template: str, words: dict[str, str]) -> str:
    return _PLACE.sub(lambda place: words.get(place[1], place[0]), template)


def _owner(folder: Path) -> str:
    number = folder.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
