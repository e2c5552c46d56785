"""Prose that users and developers rely on is true: commands, options, paths, the example configuration."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from fetcher import cli, config

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MEMORY_BANK = sorted((ROOT / "memory-bank").glob("*.md"))
LINES_ALLOWED = {"activeContext.md": 60, "progress.md": 60}
EVERY_COMMAND_HAS = {"--help"}

# typer brings its own copy of click, so that there is no public class to name here.
Command = Any
COMMAND: Command = typer.main.get_command(cli.app)


def subcommands(command: Command) -> dict[str, Command]:
    """The visible commands of a group; none of a plain command."""
    return {name: sub for name, sub in getattr(command, "commands", {}).items() if not sub.hidden}


def walk(command: Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Every visible command below, with the words that lead to it."""
    for name, sub in subcommands(command).items():
        yield (*path, name), sub
        yield from walk(sub, (*path, name))


def options(command: Command) -> dict[str, bool]:
    """The visible options of one command; True for those that take a value."""
    found: dict[str, bool] = {}
    for param in command.params:
        if param.param_type_name == "option" and not param.hidden:
            takes_value = not (param.is_flag or param.count)
            found |= dict.fromkeys((*param.opts, *param.secondary_opts), takes_value)
    return found


def invocations(text: str) -> list[str]:
    """What stands after `python -m fetcher` on each line or in each piece of code, without brackets and comments."""
    found = re.findall(r"python -m fetcher\b([^\n`]*)", text)
    return [re.sub(r"[\[\]]", "", line.partition("#")[0]).strip() for line in found]


def misreading(words: list[str], command: Command = COMMAND) -> str | None:
    """Why the program would not understand these arguments; None when it would. Placeholders stand for values."""
    known = options(command)
    while words:
        word = words.pop(0)
        if word.startswith("-"):
            if word not in known and word not in EVERY_COMMAND_HAS:
                return f"{command.name or 'fetcher'} has no option {word}"
            if known.get(word) and not words:
                return f"{word} needs a value"
            if known.get(word):
                words.pop(0)
        elif word in subcommands(command):
            command = subcommands(command)[word]
            known = options(command)
        elif not any(param.param_type_name == "argument" for param in command.params):
            return f"{command.name or 'fetcher'} takes no {word!r}"
    return None


LONG_OPTIONS = sorted(
    {
        f"{' '.join(path)} {name}".strip()
        for path, command in [((), COMMAND), *walk(COMMAND)]
        for name in options(command)
        if name.startswith("--")
        and name not in EVERY_COMMAND_HAS
        and not name.startswith(("--no-", "--install-", "--show-completion"))
    }
)
SHOWN = invocations(README)


@pytest.mark.parametrize("path", [" ".join(path) for path, _ in walk(COMMAND)])
def test_the_readme_shows_every_command(path: str) -> None:
    """Each command and subcommand that exists is shown as a line that can be typed."""
    assert any(f"{line} ".startswith(f"{path} ") for line in SHOWN), f"README.md shows no `python -m fetcher {path}`"


@pytest.mark.parametrize("option", LONG_OPTIONS)
def test_the_readme_names_every_option(option: str) -> None:
    """Each long option that exists is named."""
    assert re.search(rf"{re.escape(option.rpartition(' ')[2])}(?![\w-])", README), f"README.md does not name {option}"


@pytest.mark.parametrize("line", sorted(set(SHOWN)))
def test_every_line_of_the_readme_can_be_typed(line: str) -> None:
    """The program would understand each line that the README shows."""
    assert misreading(shlex.split(line)) is None


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_what_the_docs_show_is_there(page: Path) -> None:
    """Commands can be typed, links lead to pages that are there, and the index names every page."""
    text = page.read_text(encoding="utf-8")
    for line in invocations(text):
        assert misreading(shlex.split(line)) is None, line
    missing = {
        link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link and not (page.parent / link).exists()
    }
    assert not missing
    assert page.name == "README.md" or f"]({page.name})" in (page.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README))))
def test_the_readme_names_no_option_that_is_gone(option: str) -> None:
    """Each long option that the README names exists somewhere."""
    exist = {name for _, command in [((), COMMAND), *walk(COMMAND)] for name in options(command)}
    assert option in exist | EVERY_COMMAND_HAS


@pytest.mark.parametrize(
    "words", [["--no-such-option"], ["no-such-command"], ["status", "--no-such-option"], ["db", "no-such-command"]]
)
def test_a_line_that_cannot_be_typed_is_noticed(words: list[str]) -> None:
    """The check itself can fail: unknown commands and options are seen at each level."""
    assert misreading(words) is not None


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)$|\bmake ([a-z]+)  ", README, re.MULTILINE))))
def test_every_make_target_of_the_readme_exists(target: tuple[str, str]) -> None:
    """Each `make` line that the README shows names a target of the Makefile."""
    name = "".join(target)
    assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_example_configuration_loads() -> None:
    """The configuration that lies beside the program is understood and asks for something."""
    assert config.load(ROOT / "config.yaml", {}).series()


def test_the_readme_configuration_loads(tmp_path: Path) -> None:
    """The first configuration that the README shows is understood."""
    block = re.search(r"^    sources:\n(?:    .*\n)+", README, re.MULTILINE)
    assert block is not None
    path = tmp_path / "config.yaml"
    path.write_text(re.sub(r"^    ", "", block[0], flags=re.MULTILINE), encoding="utf-8")
    assert config.load(path, {}).series()


def named_paths(text: str) -> set[str]:
    """What the text names in backticks and links that reads like a path of this repository."""
    tops = {entry.name for entry in ROOT.iterdir() if not entry.name.startswith(".git")}
    words = [*re.findall(r"`([^`\s]+)`", text), *re.findall(r"\]\(([^)#\s]+)", text)]
    paths = (word.partition("::")[0] for word in words if "://" not in word)
    return {
        path
        for path in paths
        if ("/" in path and path.partition("/")[0] in tops)
        or re.fullmatch(r"[\w./-]+\.(md|py|yaml|toml|txt|sh|sql)", path)
    }


@pytest.mark.parametrize("file", MEMORY_BANK, ids=lambda file: file.name)
def test_every_path_in_the_memory_bank_resolves(file: Path) -> None:
    """What the memory bank points to is there."""
    missing = {path for path in named_paths(file.read_text(encoding="utf-8")) if not (ROOT / path).exists()}
    assert not missing


def test_every_path_in_the_readme_resolves() -> None:
    """What the README points to is there."""
    assert not {path for path in named_paths(README) if not (ROOT / path).exists()}


def test_the_memory_bank_has_its_six_files() -> None:
    """Whoever picks this up finds the six files by their names."""
    assert {file.stem for file in MEMORY_BANK} == {
        "activeContext", "productContext", "progress", "projectbrief", "systemPatterns", "techContext",
    }  # fmt: skip


@pytest.mark.parametrize("file", MEMORY_BANK, ids=lambda file: file.name)
def test_the_memory_bank_stays_short(file: Path) -> None:
    """Nobody reads a long file: 120 lines, 60 where it changes often."""
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LINES_ALLOWED.get(file.name, 120)


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    """A change that users notice has a place to be told."""
    assert re.search(r"^## Unreleased$|^## \d+\.\d+", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
