"""The user's crontab: one block of ours, every other line untouched byte for byte, whatever the paths are called."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher import cli
from fetcher.cli import crontab
from fetcher.cli.places import Places, places
from fetcher.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
sources:
  binance: {client: binance}
  coingecko: {client: coingecko, plan: demo, api_key_env: [FIRST_KEY, SECOND_KEY]}
markets: [{symbols: [BTC/USDT], timeframes: [1h], start: 2024-01-01, sources: [binance, coingecko]}]
"""
# Speaks as Debian's does; what it keeps is in the file that CRONTAB names.
STAND_IN = """\
#!/bin/sh
[ -z "${REFUSES-}" ] || { echo "$REFUSES" >&2; exit 1; }
case $1 in
    -l) cat -- "$CRONTAB" 2>/dev/null || { echo "no crontab for somebody" >&2; exit 1; } ;;
    -) cat >"$CRONTAB" ;;
esac
"""
OTHERS = b'# mine\nMAILTO=me@example.org\nFIRST_KEY = "a key"\n*/5 * * * * echo 50\\% \xff\xe9 >/dev/null\n\n'


@pytest.fixture(params=["market", "a b%c & 'é|$(x)"])
def config(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration in a folder of any name, and a crontab of its own."""
    folder = tmp_path / str(request.param)
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "crontab").write_text(STAND_IN, encoding="utf-8")
    (bin_folder / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    monkeypatch.setenv("CRONTAB", str(tmp_path / "crontab"))
    return folder / "config.yaml"


def call(config: Path, *words: str) -> int:
    """A command of the program."""
    return cli.main(["--config", str(config), "cron", *words])


def kept(config: Path) -> bytes:
    """What the stand-in keeps."""
    del config  # asked for, so that there is one
    path = Path(os.environ["CRONTAB"])
    return path.read_bytes() if path.exists() else b""


def test_a_block_is_added_once_and_taken_out_whole(config: Path) -> None:
    """Installed twice it is there once; removed, the crontab is byte for byte what it was."""
    Path(os.environ["CRONTAB"]).write_bytes(OTHERS)
    assert call(config, "install") == 0
    once = kept(config)
    assert call(config, "install") == 0
    assert kept(config) == once
    assert once.startswith(OTHERS + b"# BEGIN candle-fetcher ")
    assert call(config, "remove") == 0
    assert call(config, "remove") == 0
    assert kept(config) == OTHERS


def test_a_block_is_brought_up_to_date_where_it_stands(config: Path) -> None:
    """Other options change our lines alone, wherever people have moved them."""
    assert call(config, "install") == 0
    Path(os.environ["CRONTAB"]).write_bytes(b"# above\n" + kept(config) + b"# below\n")
    assert call(config, "install", "--every", "5m") == 0
    lines = kept(config).decode().splitlines()
    assert (lines[0], lines[-1]) == ("# above", "# below")
    assert sum(line.startswith("*/5 * * * * ") for line in lines) == 1
    assert not any(line.startswith("* * * * * ") for line in lines)


def test_two_configurations_have_a_block_each(config: Path) -> None:
    """Each is installed and removed by itself, with a log of its own."""
    other = config.with_name("other.yaml")
    other.write_bytes(config.read_bytes())
    assert call(config, "install") == 0
    alone = kept(config)
    assert call(other, "install") == 0
    assert kept(config).startswith(alone)
    assert b"logs/cron-other.log " in kept(config)
    assert call(other, "remove") == 0
    assert kept(config) == alone


def test_the_lines_start_the_program_as_it_runs_here(config: Path) -> None:
    """Cron takes a percent sign back only behind a backslash; the shell then starts the wrapper with this program."""
    assert call(config, "install", "--log", str(config.with_name("own log"))) == 0
    found = [line.split(None, 5)[5] for line in kept(config).decode().splitlines() if line and line[0] != "#"]
    assert len(found) == 2
    for line in found:
        assert not re.search(r"(?<!\\)%", line)
        script = line.replace(crontab.quoted(ROOT / "cron/fetcher-cron.sh"), "env").replace(r"\%", "%")
        said = subprocess.run(
            ["/bin/sh", "-c", script.removesuffix(" audit --repair")],
            env={},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert f"FETCHER_CONFIG={config}\n" in said
        assert f"FETCHER_LOG={config.with_name('own log')}\n" in said


def test_print_changes_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it prints is what install would add."""
    assert call(config, "print") == 0
    printed = capsys.readouterr().out
    assert not kept(config)
    assert call(config, "install") == 0
    assert kept(config).decode() == printed


def test_what_cron_does_not_know_is_told(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys, a database and whom to tell, where only this shell knows them, and a budget longer than from run to run."""
    Path(os.environ["CRONTAB"]).write_bytes(OTHERS)
    monkeypatch.setenv("FETCHER_DATABASE_URL", f"sqlite:///{config.parent}/other.db")
    monkeypatch.setenv("FETCHER_ALERTS", "json://127.0.0.1/x")
    config.write_text(CONFIG + "run: {time_budget: 5m}\n", encoding="utf-8")
    assert call(config, "install", "--json") == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert all(re.match(r"cron does not know (\w+)|run.time_budget|no cron daemon", note) for note in notes)
    text = "\n".join(notes)
    assert "run.time_budget is 5 min" in text
    assert "cron does not know SECOND_KEY: add a line SECOND_KEY=… above" in text
    assert "FETCHER_DATABASE_URL=…" in text
    assert "cron does not know FETCHER_ALERTS: add a line" in text
    assert "FETCHER_PING_URL" not in text
    assert "FIRST_KEY=" not in text


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (["--every", "7m"], "--every 7m: it must be minutes that an hour is a multiple of"),
        (["--every", "30s"], "--every 30s: it must be minutes"),
        (["--every", "2h"], "--every 2h: it must be minutes"),
        (["--every", "soon"], "--every: 'soon' is not a duration"),
        (["--log", "/dev/null/cron.log"], "the log /dev/null/cron.log cannot be written"),
        (["--log", "a\\b"], "has a backslash or something unprintable"),
        (["--log", "a\nb"], "has a backslash or something unprintable"),
        (["--log", "/" + "x/" * 600], "more than 990 bytes"),
    ],
)
def test_what_makes_no_line_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str], told: list[str], sentence: str
) -> None:
    """One sentence, exit code 2, and the crontab stays."""
    assert call(config, "install", *told) == 2
    assert sentence in capsys.readouterr().err
    assert not kept(config)


def test_a_bad_configuration_is_not_installed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would fail each minute; removing what was installed goes on."""
    assert call(config, "install") == 0
    config.write_text("sources: 1\n", encoding="utf-8")
    assert call(config, "install") == 2
    assert "sources" in capsys.readouterr().err
    assert call(config, "remove") == 0
    assert kept(config) == b""


@pytest.mark.parametrize("what", ["half a block", "two blocks"])
def test_what_is_not_one_block_is_left_to_people(config: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    """Where somebody deleted one of the two marks, or copied them, nobody knows which lines are ours."""
    assert call(config, "install") == 0
    spoilt = kept(config)[: kept(config).index(b"# END")] if what == "half a block" else kept(config) * 2
    Path(os.environ["CRONTAB"]).write_bytes(spoilt)
    for command in ("install", "remove"):
        assert call(config, command) == 2
        assert "put it right with crontab -e" in capsys.readouterr().err
    assert kept(config) == spoilt


def test_a_refusal_is_told_and_takes_nothing_away(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crontab that cannot be read is not taken for an empty one."""
    Path(os.environ["CRONTAB"]).write_bytes(OTHERS)
    monkeypatch.setenv("REFUSES", "You (me) are not allowed to use this program (crontab)")
    for command in ("install", "remove"):
        assert call(config, command) == 1
        assert "crontab -l failed: You (me) are not allowed" in capsys.readouterr().err
    assert kept(config) == OTHERS


def test_new_lines_that_are_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Crontab's own reason is told, and its lines are as they were."""
    refusing = STAND_IN.replace('cat >"$CRONTAB"', "echo bad minute >&2; exit 1")
    Path(os.environ["CRONTAB"]).with_name("bin").joinpath("crontab").write_text(refusing, encoding="utf-8")
    Path(os.environ["CRONTAB"]).write_bytes(OTHERS)
    assert call(config, "install") == 1
    assert "crontab refused the new lines, and the old ones stay: bad minute" in capsys.readouterr().err
    assert kept(config) == OTHERS


def test_without_crontab_the_other_way_is_named(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence: what to install, and systemd."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert call(config, "install") == 1
    said = capsys.readouterr().err
    assert "apt-get install cron" in said
    assert "cron systemd" in said
    assert said.count("\n") == 1


@given(before=st.text(st.characters(exclude_categories=["Cs"]), max_size=60), number=st.sampled_from([1, 5, 60]))
def test_taking_out_undoes_putting_in(before: str, number: int) -> None:
    """For any crontab that ends with a line's end, as crontab keeps them."""
    config = Path("/a b/config.yaml")
    before += "\n" * bool(before)
    ours = crontab.block("@MINUTES@ * * * * @WRAPPER@\n", config, "/w", number)
    after = crontab.with_block(before, config, ours)
    assert crontab.with_block(after, config, ours) == after
    assert crontab.without_block(after, config) == before


def test_an_installed_package_brings_the_wrapper(tmp_path: Path) -> None:
    """Outside of a checkout wrapper and templates lie in the environment; where they are not, a sentence says so."""
    share = tmp_path / "share/candle-fetcher"
    with pytest.raises(ConfigError, match="install the program anew"):
        places(tmp_path / "site-packages", tmp_path, "/bin/python")
    share.mkdir(parents=True)
    (share / "fetcher-cron.sh").touch()
    here = places(tmp_path / "site-packages", tmp_path, str(tmp_path / "bin/python"))
    assert (here.root, here.wrapper) == (tmp_path, share / "fetcher-cron.sh")
    line = crontab.command(here, Path("/m/config.yaml"), Path("/m/logs/cron.log"))
    assert line == (
        f"FETCHER_CONFIG=/m/config.yaml FETCHER_LOG=/m/logs/cron.log FETCHER_PYTHON={tmp_path}/bin/python "
        f"{share}/fetcher-cron.sh"
    )


def test_a_checkout_needs_no_more_than_its_configuration() -> None:
    """Log and Python are where the wrapper looks by itself."""
    root = Path("/opt/fetcher")
    here = Places(root, root / ".venv/bin/python", root / "cron")
    line = crontab.command(here, root / "config.yaml", root / "logs/cron.log")
    assert line == "FETCHER_CONFIG=/opt/fetcher/config.yaml /opt/fetcher/cron/fetcher-cron.sh"


def test_a_python_by_another_name_changes_no_line(tmp_path: Path) -> None:
    """`.venv/bin/python3` is `.venv/bin/python`; a Python that has no such neighbour stays as it is called."""
    (tmp_path / "python").touch()
    (tmp_path / "python3").symlink_to("python")
    (tmp_path / "python9").touch()
    assert places(python=str(tmp_path / "python3")).python == tmp_path / "python"
    assert places(python=str(tmp_path / "python9")).python == tmp_path / "python9"


@pytest.mark.parametrize(("names", "seen"), [(["bash", "cron"], True), (["bash"], False), ([], None)])
def test_a_cron_daemon_is_looked_for(tmp_path: Path, names: list[str], *, seen: bool | None) -> None:
    """Among the processes, where the system tells of them."""
    for number, name in enumerate(names):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "comm").write_text(f"{name}\n", encoding="utf-8")
    assert crontab.runs_here(tmp_path) is seen
