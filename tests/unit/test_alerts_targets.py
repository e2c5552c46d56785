"""Targets and the ping's address: read from the environment and files, never shown, masked wherever they could be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fetcher.cli import main
from fetcher.config import load
from fetcher.errors import ConfigError
from fetcher.observe.lines import one_line
from fetcher.secrecy import secrets_of
from fetcher.sections import Alerts
from fetcher.targets import problems_of, read_ping_url, read_targets, secret_parts

if TYPE_CHECKING:
    from pathlib import Path

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
MAIL = "mailto://me:s3cret%21pass@example.org?to=you@example.org"
_CONFIG = """\
sources: {{binance: {{client: binance}}}}
markets: [{{symbols: [BTC/USDT], timeframes: [1h], start: 2026-01-01, sources: [binance]}}]
alerts: {alerts}
"""


def settings(folder: Path, alerts: str) -> Alerts:
    """The section as a configuration file has it."""
    path = folder / "config.yaml"
    path.write_text(_CONFIG.format(alerts=alerts), encoding="utf-8")
    return load(path, {}).alerts


def test_targets_come_from_variables_and_a_file_beside_the_configuration(tmp_path: Path) -> None:
    """Each once, named by where it stands, with an id that tells nothing."""
    (tmp_path / "targets").write_text(f"# who is on call\n{MAIL}\n\n  # and\n{SLACK}\n", encoding="utf-8")
    own = settings(tmp_path, "{to_env: [ONE, TWO], to_file: targets}")
    targets, problems = read_targets(own, {"ONE": f"{SLACK}\njson://127.0.0.1:9/x", "TWO": ""})
    assert problems == []
    assert [target.name for target in targets] == ["ONE 1 (slack)", "ONE 2 (json)", "alerts.to_file targets 1 (mailto)"]
    assert not any(secret in repr(targets) for secret in secret_parts(SLACK) | secret_parts(MAIL))


def test_what_is_no_target_is_said_without_repeating_it(tmp_path: Path) -> None:
    """A bad entry may be a secret in itself; the good ones beside it are told all the same."""
    own = settings(tmp_path, "{to_file: missing}")
    targets, problems = read_targets(own, {"FETCHER_ALERTS": f"hunter2hunter2 {MAIL}"})
    assert [target.name for target in targets] == ["FETCHER_ALERTS 2 (mailto)"]
    assert problems == [
        "alerts.to_file missing cannot be read: No such file or directory",
        "entry 1 of FETCHER_ALERTS is no address; write them like mailto://user:password@host",
    ]


def test_a_file_that_is_no_text_is_a_sentence(tmp_path: Path) -> None:
    """Whoever names the wrong file learns which."""
    (tmp_path / "targets").write_bytes(b"\xff\xfe\x00")
    own = settings(tmp_path, "{to_file: targets, ping_url_file: targets}")
    assert read_targets(own, {})[1] == ["alerts.to_file targets cannot be read: it is not UTF-8 text"]
    assert read_ping_url(own, {}) == (None, "alerts.ping_url_file targets cannot be read: it is not UTF-8 text")


def test_nobody_is_told_where_nothing_is_set() -> None:
    """The default names variables that need not be there."""
    assert read_targets(Alerts(), {}) == ([], [])
    assert read_ping_url(Alerts(), {}) == (None, None)
    assert read_ping_url(Alerts(ping_url_env=None), {"FETCHER_PING_URL": "http://x.example"}) == (None, None)


def test_the_ping_address_is_read_from_either_place(tmp_path: Path) -> None:
    """The variable wins; what is no address is a sentence that does not repeat it."""
    (tmp_path / "ping").write_text("https://hc-ping.com/one\n", encoding="utf-8")
    own = settings(tmp_path, "{ping_url_file: ping}")
    assert read_ping_url(own, {}) == ("https://hc-ping.com/one", None)
    assert read_ping_url(own, {"FETCHER_PING_URL": "https://hc-ping.com/two"}) == ("https://hc-ping.com/two", None)
    url, problem = read_ping_url(own, {"FETCHER_PING_URL": "hunter2hunter2"})
    assert url is None
    assert problem == "FETCHER_PING_URL holds no address; write it like https://hc-ping.com/your-uuid"


def test_no_line_holds_an_address_or_a_token_of_it(tmp_path: Path) -> None:
    """Whole, as user and password, written and decoded, and each long piece of a path."""
    path = tmp_path / "config.yaml"
    path.write_text(_CONFIG.format(alerts="{}"), encoding="utf-8")
    ping = "https://hc-ping.com/0123-uuid-4567"
    hidden = secrets_of(load(path, {}), {"FETCHER_ALERTS": f"{SLACK} {MAIL}", "FETCHER_PING_URL": ping})
    line = one_line(
        f"{SLACK} {MAIL} {ping} me:s3cret%21pass s3cret%21pass s3cret!pass T1JJ3T3L2 /TIiajkdnlazkcOXrIdevi7FQ "
        "/0123-uuid-4567 example.org hc-ping.com",
        hidden,
    )
    assert line == "*** *** *** *** *** *** *** /*** /*** example.org hc-ping.com"


@pytest.mark.parametrize(
    ("alerts", "says"),
    [
        ("{to_env: 'json://me:hush@host/x'}", "alerts.to_env: needs the name of an environment variable"),
        ("{ping_url_env: [A, B]}", "alerts.ping_url_env: needs the name of one environment variable"),
        ("{to_file: 'json://me:hush@host/x'}", "alerts.to_file: needs the name of a file"),
        ("{quiet_hours: always}", "alerts.quiet_hours: 'always' are no quiet hours"),
        ("{disk_free: lots}", "alerts.disk_free: 'lots' is not a size; write it like 500MB or 2GB"),
        ("{repeat: 0s}", "alerts.repeat: must be more than 0"),
        ("{quarantine_rows: 0}", "alerts.quarantine_rows: must be at least 1"),
        ("{to: me}", "alerts.to: unknown key"),
    ],
)
def test_what_is_wrong_with_the_section_is_a_sentence(tmp_path: Path, alerts: str, says: str) -> None:
    """With the key's path, and without what may be a secret."""
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, alerts)
    assert says in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(("written", "size"), [("500MB", 500 * 10**6), ("1.5 gb", 15 * 10**8), ("2TB", 2 * 10**12)])
def test_sizes_are_read(tmp_path: Path, written: str, size: int) -> None:
    """As people write them."""
    assert settings(tmp_path, f"{{disk_free: {written}}}").disk_free == size


def test_what_keeps_somebody_from_being_told_is_a_problem_of_the_configuration(tmp_path: Path) -> None:
    """A variable that the configuration names; the default one need not be there."""
    assert problems_of(settings(tmp_path, "{}"), {}) == []
    own = settings(tmp_path, "{to_env: [ONE, TWO], ping_url_env: PING, to_file: missing}")
    assert problems_of(own, {"ONE": MAIL, "PING": "hunter2hunter2"}) == [
        "alerts: the environment variable TWO is not set",
        "alerts: alerts.to_file missing cannot be read: No such file or directory",
        "alerts: PING holds no address; write it like https://hc-ping.com/your-uuid",
    ]


def test_config_check_tells_of_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 where somebody who is named cannot be told."""
    settings(tmp_path, "{to_file: targets}")
    assert main(["--config", str(tmp_path / "config.yaml"), "config", "check"]) == 1
    assert "BAD  alerts: alerts.to_file targets cannot be read" in capsys.readouterr().out
    (tmp_path / "targets").write_text(MAIL, encoding="utf-8")
    assert main(["--config", str(tmp_path / "config.yaml"), "config", "check"]) == 0
    said = capsys.readouterr().out
    assert "s3cret" not in said
