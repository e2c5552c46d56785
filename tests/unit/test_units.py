"""systemd's units: what is written is what systemd understands, whatever the paths are called."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fetcher import cli
from fetcher.cli.places import Places, places
from fetcher.cli.units import MARK, Wanted, word, write_units

ROOT = Path(__file__).resolve().parents[2]
KINDS = [[], ["--daemon"], ["--system"], ["--system", "--every", "5m"], ["--system", "--daemon"]]
CONFIG = """
database_url: sqlite:///data/market.db
sources:
  binance: {client: binance}
  coingecko: {client: coingecko, plan: demo, api_key_env: [FIRST_KEY, SECOND_KEY]}
markets: [{symbols: [BTC/USDT], timeframes: [1h], start: 2024-01-01, sources: [binance, coingecko]}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration in a folder with an awkward name."""
    folder = tmp_path / "a b%c & $HOME 'é"
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    return folder / "config.yaml"


def call(config: Path, *words: str) -> int:
    """The command."""
    return cli.main(["--config", str(config), "cron", "systemd", *words])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_systemd_has_nothing_to_say(config: Path, tmp_path: Path, kind: list[str]) -> None:
    """`systemd-analyze verify` is silent, and not because nothing was looked at."""
    folder = tmp_path / "units"
    assert call(config, *kind, "--to", str(folder)) == 0
    assert verify(folder, system="--system" in kind) == ""
    for file in folder.glob("*.service"):
        file.write_text(file.read_text(encoding="utf-8").replace("[Service]\n", "[Service]\nNoSuchKey=1\n"))
    assert "NoSuchKey" in verify(folder, system="--system" in kind)


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_who_was_told_to_end_has_not_failed(config: Path, tmp_path: Path, kind: list[str]) -> None:
    """SIGTERM makes exit code 130 where nothing has to be finished, which systemd would call a failure."""
    assert call(config, *kind, "--to", str(tmp_path / "units")) == 0
    services = list((tmp_path / "units").glob("*.service"))
    assert len(services) == 2
    for file in services:
        assert re.search("^SuccessExitStatus=(75 )?130$", file.read_text(encoding="utf-8"), re.MULTILINE), file.name


def verify(folder: Path, *, system: bool) -> str:
    """What systemd says against the units."""
    command = ["systemd-analyze", *([] if system else ["--user"]), "--man=no", "verify", *map(str, folder.iterdir())]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(folder)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return ended.stdout + ended.stderr


def test_a_unit_starts_this_program_for_this_configuration(config: Path) -> None:
    """With systemd's own quoting undone, the command is the one that runs here."""
    wanted = Wanted(config, config.parent, daemon=True)
    [line] = [line for line in wanted.files(places())["candle-fetcher.service"].splitlines() if "ExecStart=" in line]
    words = shlex.split(line.removeprefix("ExecStart=").replace("$$", "$").replace("%%", "%"))
    assert words == [sys.executable, "-m", "fetcher", "--config", str(config), "--daemon"]


@pytest.mark.parametrize(
    ("path", "quoted"), [("/a/b", "/a/b"), ("/a b", '"/a b"'), ("/a%$", "/a%%$$"), ("/a\"'", '"/a\\"\'"')]
)
def test_a_path_is_one_word(path: str, quoted: str) -> None:
    """Blanks and quotes, and what systemd would fill in."""
    assert word(Path(path)) == quoted


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_a_program_in_an_awkward_folder_is_found(config: Path, tmp_path: Path) -> None:
    """Systemd reads the program's path otherwise than what follows: a `$` in it means itself."""
    python = tmp_path / "100% of $HOME" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    here = Places(ROOT, python, ROOT / "cron")
    write_units(tmp_path / "units", Wanted(config, config.parent).files(here))
    assert verify(tmp_path / "units", system=False) == ""


def test_a_program_in_an_impossible_folder_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line's end in a path would begin a line of the unit."""
    here = Places(ROOT, Path("/opt/a\nb/python"), ROOT / "cron")
    monkeypatch.setattr("fetcher.cli.cron.places", lambda: here)
    assert call(config) == 2
    assert "the Python '/opt/a\\nb/python' has a backslash or something unprintable" in capsys.readouterr().err


def test_keys_come_as_credentials_where_their_files_are(config: Path) -> None:
    """A line for a file that is not there would keep the service from starting: it is a comment."""
    (config.parent / "credentials").mkdir()
    (config.parent / "credentials/SECOND_KEY").write_text("secret", encoding="utf-8")
    wanted = Wanted(config, config.parent, ("FIRST_KEY", "SECOND_KEY"))
    text = wanted.files(places())["candle-fetcher.service"]
    assert "\n# LoadCredential=FIRST_KEY:" in text
    assert "\nLoadCredential=SECOND_KEY:" in text


def test_a_service_of_the_machine_may_write_to_the_database(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder of the database, or the nearest that is there; whose it is runs the service."""
    assert call(config, "--system", "--json") == 0
    service = json.loads(capsys.readouterr().out)["files"]["candle-fetcher.service"]
    assert f"ReadWritePaths={word(config.parent, dollars=False)}\n" in service
    assert f"User={config.owner()}\n" in service
    (config.parent / "data").mkdir()
    assert call(config, "--system", "--json") == 0
    service = json.loads(capsys.readouterr().out)["files"]["candle-fetcher.service"]
    assert f"ReadWritePaths={word(config.parent / 'data', dollars=False)}\n" in service


def test_units_are_printed_with_how_to_start_them(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file under its name, then the commands; nothing is written."""
    assert call(config, "--name", "mine", "--every", "1h") == 0
    text = capsys.readouterr().out
    for file in ("mine.service", "mine.timer", "mine-audit.service", "mine-audit.timer"):
        assert f"### {file}\n{MARK}\n" in text
    assert "OnCalendar=*:00\n" in text
    assert "systemctl --user enable --now mine.timer mine-audit.timer\n" in text


@pytest.mark.parametrize(("kind", "budget"), [([], True), (["--daemon"], False)])
def test_what_systemd_does_not_know_is_told(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: list[str], *, budget: bool
) -> None:
    """A database that only this shell names, and for runs a budget that is longer than from one to the next."""
    monkeypatch.setenv("FETCHER_DATABASE_URL", f"sqlite:///{config.parent}/other.db")
    config.write_text(CONFIG + "run: {time_budget: 5m}\n", encoding="utf-8")
    assert call(config, *kind, "--json") == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert notes[-1].startswith("systemd does not know FETCHER_DATABASE_URL: add a line")
    assert [note for note in notes if "run.time_budget is 5 min" in note] == notes[:-1]
    assert len(notes) == 1 + budget


def test_only_units_of_ours_are_overwritten(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Written again they are brought up to date; somebody else's file of that name stays."""
    folder = tmp_path / "units"
    assert call(config, "--to", str(folder)) == 0
    assert call(config, "--to", str(folder), "--every", "5m") == 0
    assert "OnCalendar=*:0/5" in (folder / "candle-fetcher.timer").read_text(encoding="utf-8")
    (folder / "candle-fetcher.service").write_text("[Unit]\n", encoding="utf-8")
    assert call(config, "--to", str(folder)) == 2
    assert "was not written by this program" in capsys.readouterr().err
    assert (folder / "candle-fetcher.service").read_text(encoding="utf-8") == "[Unit]\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["--name", "a b"], "cannot name a unit"), (["--to", "/dev/null/units"], "cannot be written")],
)
def test_what_makes_no_unit_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    """One sentence, exit code 2."""
    assert call(config, *words) == 2
    assert sentence in capsys.readouterr().err
