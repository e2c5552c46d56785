"""The command line: `python -m fetcher [OPTIONS] [COMMAND]`. One file per command group, loaded when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fetcher.cli.edge import answer
from fetcher.cli.invocation import Invocation
from fetcher.cli.lazy import LazyGroup, hoisted
from fetcher.cli.places import named
from fetcher.cli.signals import ended_by_sigterm
from fetcher.errors import ConfigError

__all__ = ["app", "main"]

PROGRAM = "python -m fetcher"
_HELP = """Keep a database of candles complete, correct and explained.

Without a command: one run, which fetches what is new and what is missing, within run.time_budget. Made for crontab.
With --daemon it stays, and does so at the closes of candles.

Exit codes: 0 all done, 1 something failed or is missing, 2 bad configuration or arguments, 75 another run is at work.

Example: python -m fetcher --config market.yaml status
"""


def _put_version(asked: bool) -> None:
    if asked:
        from fetcher.cli.version import version  # noqa: PLC0415 (only for who asks)

        typer.echo(f"candle-fetcher {version()}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    help=_HELP,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 120},
)


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", envvar="FETCHER_CONFIG", parser=named,
            help="What to keep, and where from. Else ./config.yaml, else the one beside the program.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")] = False,
    verbose: Annotated[
        int,
        typer.Option("-v", "--verbose", count=True, show_default=False, help="Log each request; show tracebacks."),
    ] = 0,
    quiet: Annotated[
        int, typer.Option("-q", "--quiet", count=True, show_default=False, help="Only what went wrong.")
    ] = 0,
    daemon: Annotated[
        bool,
        typer.Option(
            "--daemon", help="Stay, and fetch at each close, until SIGTERM or Ctrl-C; SIGHUP reads CONFIG anew."
        ),
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_put_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> int:  # fmt: skip
    del version  # told and left by its callback
    ctx.obj = Invocation(config, as_json, verbose - quiet)
    if ctx.invoked_subcommand is not None:
        if daemon:
            raise ConfigError(f"--daemon goes without a command; leave out {ctx.invoked_subcommand}")
        return 0
    if daemon:
        from fetcher.cli.daemon import stay  # noqa: PLC0415 (cron's runs need it not)

        return stay(ctx.obj)
    from fetcher.cli.run import run  # noqa: PLC0415 (only the bare run needs it)

    return run(ctx.obj)


def main(arguments: list[str] | None = None) -> int:
    """Understand the arguments, do what they say, and return the exit code; errors become one sentence on stderr."""
    words = sys.argv[1:] if arguments is None else arguments
    with ended_by_sigterm():
        return answer(lambda: typer.main.get_command(app).main(hoisted(words), PROGRAM, standalone_mode=False), words)
