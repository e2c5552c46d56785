"""The edge of the program: whatever happens inside becomes one sentence on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

import typer

from db.errors import DatabaseProblem
from fetcher.errors import ConfigError, FetcherError, RunLocked
from fetcher.outcome import EXIT_BAD_INPUT, EXIT_INCOMPLETE, EXIT_LOCKED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CONFIGURATION = ("database_url", "newer than this program")


def answer(do: Callable[[], Any], words: Sequence[str]) -> int:
    """Do it and return its exit code; `words` are the command's arguments, in which -v asks for tracebacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show "…" is no reason to fail
    try:
        code = do()
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as leaving:  # typer's way out when the reader of a pipe has left
        return _reader_left() if leaving.code == 1 else int(leaving.code or 0)
    except typer.Abort:
        return EXIT_INCOMPLETE
    except Exception as error:  # noqa: BLE001 (the edge: nobody above could do more than show a traceback)
        if _wants_tracebacks(words) and exit_code(error) == EXIT_INCOMPLETE:
            traceback.print_exception(error)
        typer.echo(f"fetcher: {sentence(error)}", err=True)
        return exit_code(error)
    return code if isinstance(code, int) else 0


def exit_code(error: Exception) -> int:
    """2 for what the configuration or the arguments must mend, 75 for the run lock, 1 for everything else."""
    if isinstance(error, (ConfigError, typer.TyperException)):
        return EXIT_BAD_INPUT
    if isinstance(error, RunLocked):
        return EXIT_LOCKED
    if isinstance(error, DatabaseProblem) and any(words in str(error) for words in _CONFIGURATION):
        return EXIT_BAD_INPUT
    return EXIT_INCOMPLETE


def sentence(error: Exception) -> str:
    """What happened and what to do, in one line."""
    if isinstance(error, typer.TyperException):
        text = error.format_message().strip()
        context = getattr(error, "ctx", None)
        where = _command_words(context) if context is not None else "python -m fetcher"
        text = f"{text.rstrip('.')}; `{where} --help` tells what there is"
    elif isinstance(error, (FetcherError, DatabaseProblem)):
        text = str(error)
    else:
        text = f"unexpected {type(error).__name__}: {error}; run it again with -v for the traceback"
    return " ".join("".join(c if c.isprintable() or c.isspace() else repr(c)[1:-1] for c in text).split())


def _command_words(context: Any) -> str:  # noqa: ANN401 (click's context has no public name in typer)
    names: list[str] = []
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return " ".join(["python -m fetcher", *names])


def _wants_tracebacks(words: Sequence[str]) -> bool:
    return any(word in {"-v", "-vv", "--verbose"} for word in words)


def _reader_left() -> int:
    """Whoever read our output has enough (`| head`): end without a word."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what is still in the buffer goes there at exit
    return EXIT_INCOMPLETE
