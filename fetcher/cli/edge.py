"""The edge of the program: whatever happens inside becomes one sentence on stderr and an exit code.

With --json it is also one object on stdout: `{"error": sentence, "exit_code": code}`.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from db.errors import DatabaseProblem, DatabaseUnusable
from fetcher.errors import ConfigError, FetcherError, RunLocked, Stopped
from fetcher.masking import masked
from fetcher.outcome import EXIT_BAD_INPUT, EXIT_INCOMPLETE, EXIT_LOCKED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXIT_INTERRUPTED = 130  # as shells say it of a program that Ctrl-C ended
_PLAIN_WORDS = {  # of the library that reads arguments
    ", unable to parse string as an integer": "",
    "Value error, ": "",
    "Input should be ": "must be ",
    "a valid integer": "a whole number",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
}


def answer(do: Callable[[], Any], words: Sequence[str]) -> int:
    """Do it and return its exit code; `words` are the command's arguments, in which -v asks for tracebacks."""
    _ready_streams()
    try:
        code = do()
        sys.stdout.flush()
        if code == EXIT_INTERRUPTED:  # all that typer makes of Ctrl-C
            return _complained("interrupted", EXIT_INTERRUPTED, words)
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as leaving:  # typer's way out when the reader of a pipe has left
        return _reader_left() if leaving.code == 1 else int(leaving.code or 0)
    except (typer.Abort, KeyboardInterrupt, Stopped):
        return _complained("interrupted", EXIT_INTERRUPTED, words)
    except Exception as error:  # noqa: BLE001 (the edge: nobody above could do more than show a traceback)
        if _wants_tracebacks(words) and exit_code(error) == EXIT_INCOMPLETE:
            _put_traceback(error)
        return _complained(sentence(error), exit_code(error), words)
    return code if isinstance(code, int) else 0


def exit_code(error: Exception) -> int:
    """2 for what the configuration or the arguments must mend, 75 for the run lock, 1 for everything else."""
    if isinstance(error, (ConfigError, DatabaseUnusable, typer.TyperException)):
        return EXIT_BAD_INPUT
    if isinstance(error, RunLocked):
        return EXIT_LOCKED
    return EXIT_INCOMPLETE


def sentence(error: Exception) -> str:
    """What happened and what to do, in one line."""
    if isinstance(error, typer.TyperException):
        text = error.format_message().strip()
        for theirs, plain in _PLAIN_WORDS.items():
            text = text.replace(theirs, plain)
        context = getattr(error, "ctx", None)
        where = _command_words(context) if context is not None else "python -m fetcher"
        text = f"{text.rstrip('.')}; `{where} --help` tells what there is"
    elif isinstance(error, (FetcherError, DatabaseProblem)):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        if error.filename is None:  # only our own output has no name
            text = f"the answer cannot be written: {error.strerror}"
        else:
            text = f"the file {error.filename} cannot be used: {error.strerror}"
    else:
        text = f"unexpected {type(error).__name__}: {error}; run it again with -v for the traceback"
    return " ".join("".join(c if c.isprintable() or c.isspace() else repr(c)[1:-1] for c in masked(text)).split())


def _put_traceback(error: Exception) -> None:
    """A traceback as Python writes it, without secrets, and with whatever is no text escaped."""
    text = masked("".join(traceback.format_exception(error)))
    with suppress(OSError):
        sys.stderr.write("".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text))


def _complained(text: str, code: int, words: Sequence[str]) -> int:
    """Tell what happened, as far as anybody can be told, and return the exit code."""
    with suppress(OSError):
        typer.echo(f"fetcher: {text}", err=True)
    try:
        if _wants_json(words):
            typer.echo(json.dumps({"error": text, "exit_code": code}, ensure_ascii=False, indent=2))
        sys.stdout.flush()
    except OSError:
        _write_nowhere()
    return code


def _command_words(context: Any) -> str:  # noqa: ANN401 (click's context has no public name in typer)
    names: list[str] = []
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return " ".join(["python -m fetcher", *names])


def _wants_tracebacks(words: Sequence[str]) -> bool:
    return any(word in {"-v", "-vv", "--verbose"} for word in words)


def _wants_json(words: Sequence[str]) -> bool:
    words = list(words)
    return "--json" in words[: words.index("--") if "--" in words else len(words)]


def _ready_streams() -> None:
    """Make stdout and stderr take every text, even where they are closed or cannot show it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (it stays open to the end)
        stream = getattr(sys, name)
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show "…" is no reason to fail


def _reader_left() -> int:
    """Whoever read our output has enough (`| head`): end without a word."""
    _write_nowhere()
    return EXIT_INCOMPLETE


def _write_nowhere() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what is still in the buffer goes there at exit
