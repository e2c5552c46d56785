"""`cron`: has the program started each minute, by the user's crontab or by systemd.

JSON: of print `{"lines"}`, of install and remove `{"changed", "notes"}`, of systemd `{"files": {NAME: text}, "written",
"commands", "notes"}`; `notes` are sentences about what may be missing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fetcher.cli import crontab
from fetcher.cli.forgotten import forgotten, key_variables
from fetcher.cli.places import named, places, whole_path
from fetcher.cli.show import put_json
from fetcher.cli.units import Wanted, write_units
from fetcher.errors import ConfigError
from fetcher.values import parse_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.cli.invocation import Invocation
    from fetcher.cli.places import Places

app = typer.Typer(
    add_completion=False, rich_markup_mode=None,
    help="Have the program started each minute.\n\nExample: python -m fetcher cron install",
)  # fmt: skip

_MINUTE = 60
_HOUR = 60
_EVERY = "1m"
Every = Annotated[
    str, typer.Option("--every", metavar="DURATION", help="How often a run begins: 1m, 5m, 15m, up to 1h.")
]
Log = Annotated[
    Path | None,
    typer.Option("--log", metavar="FILE", parser=named, help="Else logs/cron.log beside the configuration."),
]  # fmt: skip


@app.command("print")
def show(ctx: typer.Context, every: Every = _EVERY, log: Log = None) -> int:
    """Print the crontab's lines for this configuration, and change nothing.

    Example: python -m fetcher --config market.yaml cron print
    """
    call: Invocation = ctx.obj
    ours = _block(call, every, log)
    if call.as_json:
        put_json({"lines": ours.splitlines()})
    else:
        typer.echo(ours, nl=False)
    return 0


@app.command()
def install(ctx: typer.Context, every: Every = _EVERY, log: Log = None) -> int:
    """Put the lines for this configuration into your crontab, or bring those that are there up to date.

    All other lines stay as they are. May be called again.

    Example: python -m fetcher --config market.yaml cron install --every 5m
    """
    call: Invocation = ctx.obj
    ours = _block(call, every, log)
    _check_log(_log(call, log))
    before = crontab.read()
    after = crontab.with_block(before, _config(call), ours)
    if after != before:
        crontab.write(after)
    notes = forgotten(call.config, crontab.settings(after), _minutes(every))
    if crontab.runs_here() is False:
        notes.append("no cron daemon runs here: nothing will be started until one does")
    _put_change(call, "The crontab has the lines", changed=after != before, notes=notes)
    return 0


@app.command()
def remove(ctx: typer.Context) -> int:
    """Take the lines for this configuration out of your crontab.

    All other lines stay as they are; so do database and log.

    Example: python -m fetcher --config market.yaml cron remove
    """
    call: Invocation = ctx.obj
    before = crontab.read()
    after = crontab.without_block(before, _config(call))
    if after != before:
        crontab.write(after)
    _put_change(call, "The crontab has no lines", changed=after != before, notes=[])
    return 0


@app.command()
def systemd(
    ctx: typer.Context,
    every: Every = _EVERY,
    system: Annotated[
        bool, typer.Option("--system", help="Units of the machine, for root to install, instead of your own.")
    ] = False,
    daemon: Annotated[bool, typer.Option("--daemon", help="One daemon instead of a run each minute.")] = False,
    name: Annotated[str, typer.Option("--name", help="What the units are called.")] = "candle-fetcher",
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", parser=named, help="Write the files there instead of printing them."),
    ] = None,
) -> int:
    """Print systemd's units for this configuration, or write them, and say how to start them.

    Example: python -m fetcher cron systemd --to ~/.config/systemd/user
    """
    call: Invocation = ctx.obj
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
        raise ConfigError(f"--name {name!r} cannot name a unit: take letters, digits, '-', '_' and '.'")
    if daemon and every != _EVERY:
        raise ConfigError("--every goes without --daemon, which fetches whenever a candle closes")
    wanted = Wanted(
        config=_config(call), writable=_writable(call), variables=key_variables(call.config), name=name,
        minutes=_minutes(every), system=system, daemon=daemon,
    )  # fmt: skip
    files = wanted.files(_places())
    if to is not None:
        write_units(to.expanduser(), files)
    manager = "systemctl" if system else "systemctl --user"
    commands = [f"{manager} daemon-reload", f"{manager} enable --now {' '.join(wanted.starts())}"]
    if not system:
        commands.append("loginctl enable-linger")
    notes = forgotten(call.config, None, None if daemon else wanted.minutes)
    if call.as_json:
        written = None if to is None else str(to)
        put_json({"files": files, "written": written, "commands": commands, "notes": notes})
        return 0
    if to is None:
        for file, text in files.items():
            typer.echo(f"### {file}\n{text}")
    else:
        typer.echo("\n".join(f"Wrote {to / file}" for file in files))
    last = "; the last one lets them run while you are not logged in" if not system else ""
    where = "" if to is not None else f" (write the files with --to {_usual_folder(system=system)})"
    typer.echo(f"# To start them{where}{last}:")
    typer.echo("\n".join(commands))
    _put_notes(notes)
    return 0


def _config(call: Invocation) -> Path:
    return whole_path(call.config_path, "the configuration")


def _log(call: Invocation, told: Path | None) -> Path:
    if told is not None:
        return whole_path(told, "the log")
    config = _config(call)
    return config.parent / "logs" / ("cron.log" if config.name == "config.yaml" else f"cron-{config.stem}.log")


def _block(call: Invocation, every: str, log: Path | None) -> str:
    here, config = _places(), _config(call)
    _ = call.config  # a configuration that no run could use is refused before any crontab has it
    return crontab.block(
        here.template("crontab"), config, crontab.command(here, config, _log(call, log)), _minutes(every)
    )


def _places() -> Places:
    here = places()
    for path, what in ((here.wrapper, "the program's folder"), (here.python, "the Python")):
        whole_path(path, what)
    return here


def _minutes(every: str) -> int:
    try:
        seconds = parse_duration(every)
    except ValueError as error:
        raise ConfigError(f"--every: {error}") from None
    minutes = int(seconds // _MINUTE)
    if minutes < 1 or seconds % _MINUTE or _HOUR % minutes:
        raise ConfigError(f"--every {every}: it must be minutes that an hour is a multiple of, like 1m, 5m, 15m or 1h")
    return minutes


def _check_log(log: Path) -> None:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise ConfigError(f"the log {log} cannot be written ({error.strerror}); name another with --log FILE") from None


def _writable(call: Invocation) -> Path:
    """The folder that a hardened service has to write to: the database's, or what is there of it."""
    from db.engine import checked_url  # noqa: PLC0415 (a fifth of a second, for this one command)

    url = checked_url(call.config.database_url)
    config = _config(call)
    if url.get_backend_name() != "sqlite" or not url.database:
        return config.parent
    folder = Path(url.database).parent
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _usual_folder(*, system: bool) -> str:
    return "/etc/systemd/system" if system else "~/.config/systemd/user"


def _put_change(call: Invocation, words: str, *, changed: bool, notes: Sequence[str]) -> None:
    if call.as_json:
        put_json({"changed": changed, "notes": list(notes)})
        return
    typer.echo(f"{words} of {_config(call)}{'' if changed else '; it was so before'}.")
    _put_notes(notes)


def _put_notes(notes: Sequence[str]) -> None:
    for note in notes:
        typer.echo(f"Note: {note}.")
