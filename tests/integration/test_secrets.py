"""Secrets: where they may come from, who is told when others can read them, and that they come out nowhere."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from fetcher.cli.edge import answer
from fetcher.cli.exposure import unencrypted
from fetcher.clients.keys import read_keys
from fetcher.config import load
from fetcher.errors import CannotServe
from fetcher.masking import hide, masked
from fetcher.sandbox.control import spawn_sandbox
from tests.integration.commands import NOW, CommandLine

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "CG-a-key-that-nobody-may-see"
GECKO = """\
database_url: sqlite:///market.db
sources:
  gecko: {{client: coingecko, base_url: '{url}/coingecko/api/v3', plan: demo, {key}, symbols: {{BTC/USDT: bitcoin}}}}
markets:
  - {{symbols: [BTC/USDT], timeframes: [4h], start: 2026-05-25, sources: [gecko]}}
"""

OPEN = """\
sources: {{binance: {{client: binance, {key}: {value}}}}}
markets: [{{symbols: [BTC/USDT], timeframes: [4h], start: 2026-05-25, sources: [binance]}}]
"""


@pytest.fixture
def line() -> Iterator[CommandLine]:
    """A folder that others may look into, unlike pytest's own, and an exchange that wants a key."""
    with TemporaryDirectory() as folder, spawn_sandbox("--clock", NOW) as sandbox:
        Path(folder).chmod(0o755)
        yield CommandLine(sandbox, Path(folder))


def configure(line: CommandLine, key: str) -> None:
    """Let the source have its key from there."""
    line.config_path.write_text(GECKO.format(url=line.sandbox.url, key=key), encoding="utf-8")


def secret_file(line: CommandLine, mode: int) -> Path:
    """A file with the key."""
    path = line.folder / "gecko.key"
    path.write_text(f"{KEY}\n", encoding="utf-8")
    path.chmod(mode)
    return path


def test_a_key_from_a_file(line: CommandLine) -> None:
    """Named from the configuration's folder on; one that only we can read is no reason for a word."""
    secret_file(line, 0o600)
    configure(line, "api_key_file: gecko.key")
    said = line.command("config", "check")
    assert (said.code, "can be read by others" in said.out) == (0, False)
    said = line.command("-v")
    assert said.code == 0, said
    assert KEY not in said.out + said.err


def test_a_key_file_for_everybody_is_told(line: CommandLine) -> None:
    """By config check and doctor each time, by runs once; everything goes on."""
    path = secret_file(line, 0o644)
    configure(line, "api_key_file: gecko.key")
    sentence = f"{path}, which holds secrets, can be read by others; run: chmod 600 {path}"
    assert f"Note: {sentence}" in line.command("config", "check").out
    assert f"take care: {sentence}" in line.command("doctor").out
    told = [line.command().err.count(sentence) for _ in range(3)]
    assert told == [1, 0, 0]


def test_what_is_open_again_is_told_again(line: CommandLine) -> None:
    """Each time that it changes, though the sentence is one that was told before."""
    path = secret_file(line, 0o644)
    configure(line, "api_key_file: gecko.key")
    told = []
    for mode in (0o644, 0o600, 0o644):
        path.chmod(mode)
        told.append(line.command().err.count("can be read by others"))
    assert told == [1, 0, 1]


@pytest.mark.parametrize("name", ["fetcher.env", "credentials/GECKO_KEY"])
def test_a_file_of_systemds_units_is_looked_at_as_well(line: CommandLine, name: str) -> None:
    """What they read beside the configuration holds keys, whoever starts the command that looks."""
    configure(line, "api_key_env: GECKO_KEY")
    path = line.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(KEY, encoding="utf-8")
    for mode, is_told in ((0o644, True), (0o600, False)):
        path.chmod(mode)
        said = line.command("config", "check", GECKO_KEY=KEY).out
        assert (f"Note: {name}, which holds secrets, can be read by others" in said) is is_told, said


def test_a_file_of_who_is_told_is_looked_at_as_well(line: CommandLine) -> None:
    """Its addresses hold passwords."""
    path = secret_file(line, 0o644)
    configure(line, "api_key_env: GECKO_KEY")
    line.config_path.write_text(f"{line.config_path.read_text()}alerts: {{to_file: {path.name}}}\n", encoding="utf-8")
    sentence = f"{path}, which holds secrets, can be read by others; run: chmod 600 {path}"
    assert f"Note: {sentence}" in line.command("config", "check", GECKO_KEY=KEY).out
    path.chmod(0o600)
    assert "can be read by others" not in line.command("config", "check", GECKO_KEY=KEY).out


def test_a_key_from_systemd(line: CommandLine) -> None:
    """What LoadCredential hands over stands in for the variable of that name, and for the database's address."""
    folder = line.folder / "credentials"
    folder.mkdir()
    (folder / "GECKO_KEY").write_text(KEY, encoding="utf-8")
    (folder / "FETCHER_DATABASE_URL").write_text("sqlite:///other.db\n", encoding="utf-8")
    configure(line, "api_key_env: GECKO_KEY")
    assert line.command("config", "check").code == 1
    said = line.command(CREDENTIALS_DIRECTORY=str(folder))
    assert said.code == 0, said
    assert (line.folder / "other.db").exists()
    assert not (line.folder / "market.db").exists()


def test_a_password_in_an_open_configuration_is_told(line: CommandLine) -> None:
    """Only where one is in it; none is repeated."""
    configure(line, "api_key_env: GECKO_KEY, proxy: ['http://me:hush-hush@127.0.0.1:9', direct]")
    line.config_path.chmod(0o644)
    said = line.command("config", "check", GECKO_KEY=KEY)
    assert "Note: config.yaml holds a password and can be read by others" in said.out
    assert "hush" not in said.out
    line.config_path.chmod(0o600)
    assert "can be read by others" not in line.command("config", "check", GECKO_KEY=KEY).out


@pytest.mark.parametrize(
    ("url", "is_told"),
    [
        ("http://example.org", True), ("http://localhost.example.org", True), ("http://10.example.org", True),
        ("https://example.org", False), ("http://localhost:8080", False), ("http://[::1]", False),
        ("http://172.16.3.4", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["base_urls", "archive_url"])
def test_a_source_asked_in_the_open_is_told(tmp_path: Path, key: str, url: str, *, is_told: bool) -> None:
    """Http to another host, of the API or of the archive: anybody on the way can change the answers."""
    config = tmp_path / "config.yaml"
    value = f"['{url}']" if key == "base_urls" else f"'{url}'"
    config.write_text(OPEN.format(key=key, value=value), encoding="utf-8")
    told = unencrypted(load(config, {}))
    assert [sentence.startswith(f"sources.binance is asked at {url}, without") for sentence in told] == [True] * is_told


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "holds no key; write the key into it"),
        ("two\nlines", "holds characters that no key has"),
    ],
)
def test_a_file_without_a_key_is_told(tmp_path: Path, text: str | None, sentence: str) -> None:
    """One sentence that names the file."""
    path = tmp_path / "k"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    keys, missing = read_keys([str(path)], {})
    assert (keys, missing) == ({}, {str(path): f"the file {path} {sentence}"})


def test_a_key_that_a_source_repeats_is_kept_nowhere() -> None:
    """Neither in a table, nor in what is said, though it comes back in the source's own words."""
    hide([KEY])
    assert str(CannotServe(f"no such coin: {KEY}")) == "no such coin: ***"
    assert masked(f"{KEY}!") == "***!"


def test_tracebacks_hold_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """-v shows where an unexpected error came from, without what must not be seen, and without tricks."""
    hide([KEY])

    def fail() -> None:
        raise ValueError(f"{KEY} \x1b[2J")

    assert answer(fail, ["-v"]) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert KEY not in told
    assert "\x1b" not in told
