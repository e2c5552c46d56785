"""The command line's edge: general options anywhere, errors as one sentence, an exit code and an object."""

from __future__ import annotations

import json

import pytest
import typer

from db.errors import DatabaseProblem, DatabaseUnusable
from fetcher.cli.edge import answer, exit_code, sentence
from fetcher.cli.lazy import hoisted
from fetcher.errors import ConfigError, RunLocked, SourceDown, Stopped


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("bad"), 2),
        (RunLocked("busy"), 75),
        (SourceDown("gone"), 1),
        (DatabaseProblem("database x cannot be written"), 1),
        (DatabaseUnusable("database_url names no file"), 2),
        (DatabaseUnusable("database x is newer than this program"), 2),
        (DatabaseProblem("database database_url.db is kept locked by another process"), 1),
        (DatabaseProblem("folder /x cannot be created: Permission denied"), 1),
        (OSError(28, "No space left on device"), 1),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_each_error_has_its_exit_code(error: Exception, code: int) -> None:
    """What configuration or arguments must mend is 2, the run lock 75, everything else 1; each is one line."""
    assert exit_code(error) == code
    assert "\n" not in sentence(error)


@pytest.mark.parametrize(
    ("error", "words", "shown"),
    [
        (ZeroDivisionError("x"), ["status", "-v"], True),
        (ZeroDivisionError("x"), ["status"], False),
        (ConfigError("bad"), ["-v"], False),
    ],
)
def test_tracebacks_are_for_who_asks(
    error: Exception, words: list[str], *, shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """With -v an unexpected error shows where it happened; a mistake of the user's never does."""

    def fail() -> None:
        raise error

    assert answer(fail, words) == exit_code(error)
    assert ("Traceback" in capsys.readouterr().err) == shown


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RunLocked("busy"), {"error": "busy", "exit_code": 75}),
        (ConfigError("bad"), {"error": "bad", "exit_code": 2}),
        (OSError(28, "No space left"), {"error": "the answer cannot be written: No space left", "exit_code": 1}),
        pytest.param(
            PermissionError(13, "Permission denied", "/root/market.db"),
            {"error": "the file /root/market.db cannot be used: Permission denied", "exit_code": 1},
            id="a file",
        ),
        (KeyboardInterrupt(), {"error": "interrupted", "exit_code": 130}),
    ],
)
def test_machines_are_told_of_errors_too(
    error: BaseException, said: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json an error is one object on stdout beside its sentence on stderr; without, stdout stays empty."""

    def fail() -> None:
        raise error

    assert answer(fail, ["status", "--json"]) == said["exit_code"]
    told = capsys.readouterr()
    assert json.loads(told.out) == said
    assert told.err == f"fetcher: {said['error']}\n"
    answer(fail, ["db", "backup", "--", "--json"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Stopped("while waiting for request weight")])
def test_an_interrupt_is_told_through_the_library_of_commands_too(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    """Typer turns Ctrl-C into its exit code alone; where a command asks sources, the signal ends their waiting."""
    interrupted = typer.Typer(add_completion=False)

    @interrupted.command()
    def wait() -> None:
        raise error

    assert answer(lambda: typer.main.get_command(interrupted).main([], standalone_mode=False), ["--json"]) == 130
    told = capsys.readouterr()
    assert json.loads(told.out) == {"error": "interrupted", "exit_code": 130}
    assert told.err == "fetcher: interrupted\n"


def test_an_unexpected_error_says_how_to_learn_more() -> None:
    """Nobody is shown a traceback unasked."""
    assert sentence(ZeroDivisionError("x\ny")) == (
        "unexpected ZeroDivisionError: x y; run it again with -v for the traceback"
    )


@pytest.mark.parametrize(
    ("words", "moved"),
    [
        (["status", "--json"], ["--json", "status"]),
        (["gaps", "--config", "a.yaml", "-v", "--absent"], ["--config", "a.yaml", "-v", "gaps", "--absent"]),
        (["gaps", "--config=a.yaml"], ["--config=a.yaml", "gaps"]),
        (["status", "--config"], ["--config", "status"]),
        (["db", "backup", "--", "--json"], ["db", "backup", "--", "--json"]),
        ([], []),
    ],
)
def test_general_options_may_stand_anywhere(words: list[str], moved: list[str]) -> None:
    """They are moved before the command, with their value; what follows -- stays."""
    assert hoisted(words) == moved
