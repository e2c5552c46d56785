"""The user's crontab: its lines as they are, and in it one block of ours for each configuration."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from fetcher.errors import ConfigError, FetcherError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.cli.places import Places

_BEGIN, _END = "# BEGIN candle-fetcher", "# END candle-fetcher"
_UNSAFE = re.compile(r"[^\w/.,:+@-]", re.ASCII)
_NONE_YET = re.compile(r"no crontab for|can't open '[^']*': No such file")  # the latter is busybox
_SETTING = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|(\w+))\s*=\s*(.*?)\s*""")
_LONGEST = 990  # bytes of a command: Debian's cron refuses 1,000
_SHOWN = 300
_FIELDS = {1: "*", 60: "0"}
_DAEMONS = frozenset({"cron", "crond", "fcron", "busybox"})


def quoted(text: str | Path) -> str:
    r"""One word for cron and the shell: a backslash, not quotes, since cron turns % into a line break but for \%."""
    return _UNSAFE.sub(lambda unsafe: unsafe[0] if ord(unsafe[0]) > 127 else f"\\{unsafe[0]}", str(text))  # noqa: PLR2004 (ASCII)


def command(places: Places, config: Path, log: Path) -> str:
    """What a line starts, with whatever the wrapper would not find by itself in front; raises ConfigError."""
    words = {"FETCHER_CONFIG": config}
    if log != places.wrapper.parent.parent / "logs/cron.log":
        words["FETCHER_LOG"] = log
    if places.python != places.usual_python:
        words["FETCHER_PYTHON"] = places.python
    text = " ".join([*(f"{name}={quoted(value)}" for name, value in words.items()), quoted(places.wrapper)])
    if len(os.fsencode(text)) > _LONGEST:
        raise ConfigError(
            f"the line for cron would have more than {_LONGEST} bytes, which crons refuse; use shorter paths"
        )
    return text


def every(minutes: int) -> str:
    """What follows the word `each`."""
    return {1: "minute", 60: "hour"}.get(minutes, f"{minutes} minutes")


def block(template: str, config: Path, wrapper: str, minutes: int) -> str:
    """Our lines between their marks, which name the configuration."""
    words = {"@EVERY@": every(minutes), "@MINUTES@": _FIELDS.get(minutes, f"*/{minutes}"), "@WRAPPER@": wrapper}
    for place, text in words.items():
        template = template.replace(place, text)
    return f"{_BEGIN} {config}\n{template}{_END} {config}\n"


def with_block(crontab: str, config: Path, ours: str) -> str:
    """The crontab with our block where it was, else at its end, below whatever is set for all lines."""
    span = _span(crontab, config)
    if span is None:
        return crontab + ("" if crontab.endswith("\n") or not crontab else "\n") + ours
    return crontab[: span[0]] + ours + crontab[span[1] :]


def without_block(crontab: str, config: Path) -> str:
    """The crontab without our block."""
    span = _span(crontab, config)
    return crontab if span is None else crontab[: span[0]] + crontab[span[1] :]


def _span(crontab: str, config: Path) -> tuple[int, int] | None:
    """Where the block of this configuration begins and ends; raises ConfigError where its marks are not one pair."""
    begins, ends = (
        list(re.finditer(rf"^{re.escape(f'{mark} {config}')}\n", crontab, re.MULTILINE)) for mark in (_BEGIN, _END)
    )
    if not begins and not ends:
        return None
    if len(begins) != 1 or len(ends) != 1 or ends[0].start() < begins[0].end():
        raise ConfigError(
            f"the crontab has not both lines {f'{_BEGIN} {config}'!r} and {f'{_END} {config}'!r} once, the first above "
            "the second; put it right with crontab -e"
        )
    return begins[0].start(), ends[0].end()


def settings(crontab: str) -> dict[str, str]:
    """The variables that the crontab sets for its lines."""
    found: dict[str, str] = {}
    for line in crontab.splitlines():
        if match := _SETTING.fullmatch(line):
            value = match[4]
            is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found[match[1] or match[2] or match[3]] = value[1:-1] if is_quoted else value
    return found


def read() -> str:
    """The user's crontab, byte for byte (surrogateescape); empty where there is none. Raises FetcherError."""
    ended = _crontab("-l")
    if ended.returncode == 0:
        return os.fsdecode(ended.stdout)
    if _NONE_YET.search(_said(ended)):
        return ""
    raise FetcherError(f"crontab -l failed: {_said(ended)}")


def write(crontab: str) -> None:
    """Make this the user's crontab; raises FetcherError with what `crontab` said against it."""
    ended = _crontab("-", given=os.fsencode(crontab))
    if ended.returncode != 0:
        raise FetcherError(f"crontab refused the new lines, and the old ones stay: {_said(ended)}")


def _crontab(word: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment: Mapping[str, str] = {**os.environ, "LC_ALL": "C"}  # its words are read
    try:
        return subprocess.run(  # noqa: S603 (the user's own crontab)
            ["crontab", word],  # noqa: S607 (wherever it is)
            input=given, env=environment, capture_output=True, check=False,
        )  # fmt: skip
    except OSError as error:
        raise FetcherError(
            f"crontab cannot be started ({error.strerror}): install cron (Debian, Ubuntu: apt-get install cron), or "
            "let systemd start the runs: `python -m fetcher cron systemd`"
        ) from None


def _said(ended: subprocess.CompletedProcess[bytes]) -> str:
    words = " ".join(os.fsdecode(ended.stderr).split())[:_SHOWN]
    return words or f"it ended with exit code {ended.returncode}"


def runs_here(processes: Path = Path("/proc")) -> bool | None:
    """Whether a cron daemon is among the running processes; None where that cannot be seen."""
    names = set()
    for comm in processes.glob("[0-9]*/comm"):
        try:
            names.add(comm.read_text(encoding="utf-8", errors="replace").strip())
        except OSError:  # it has ended meanwhile
            continue
    return bool(names & _DAEMONS) if names else None
