"""Logs: one line per record, in the program's time, without secrets, and each reason once."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from fetcher.clock import Clock, parse_utc
from fetcher.config import Config
from fetcher.events import Attempt, JobEnded, PageStored, Planned
from fetcher.observe.factlog import FactLog
from fetcher.observe.lines import LOG, JsonLines, TextLines, one_line
from fetcher.observe.logs import level_of, set_up
from fetcher.secrecy import secrets_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetcher.events import Fact

NOON = Clock(parse_utc("2026-06-01T12:00:00Z"), 0.0)


@pytest.fixture
def quiet_log() -> Iterator[None]:
    """The program's log as it was before the test."""
    before = (LOG.handlers[:], LOG.level, LOG.propagate)
    LOG.propagate = True
    yield
    LOG.handlers[:], LOG.propagate = before[0], before[2]
    LOG.setLevel(before[1])


def config(**more: object) -> Config:
    """The smallest configuration, and more."""
    source = {"client": "binance", "proxy": "http://me:p%40ss@proxy.example:3128"}
    market = {"symbols": ["BTC/USDT"], "timeframes": ["1h"], "start": "2026-01-01", "sources": ["binance"]}
    return Config.model_validate({"sources": {"binance": source}, "markets": [market]} | more)


def record(message: str) -> logging.LogRecord:
    """A record of the program's log."""
    return logging.LogRecord("fetcher", logging.INFO, __file__, 1, message, None, None)


def job(number: int, status: str, error: str | None) -> JobEnded:
    """A job that left."""
    return JobEnded(number, "gap", "BTC/USDT 1h", 0, 3_600_000, status, error)


def test_a_text_line_holds_time_run_and_level() -> None:
    """The time is the program's own, not the machine's."""
    line = TextLines(NOON, "3f2a9c", ()).format(record("hello"))
    assert line == "2026-06-01T12:00:00Z 3f2a9c info: hello"


def test_a_json_line_is_one_object() -> None:
    """Machines get time in both forms, level, run and message."""
    line = JsonLines(NOON, "3f2a9c", ()).format(record('say "hi"\nthere'))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-06-01T12:00:00Z", "time_ms": parse_utc("2026-06-01T12:00:00Z"), "level": "info", "run": "3f2a9c",
        "message": 'say "hi"\\nthere',
    }  # fmt: skip


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\nb", "a\r\nb", "a\x00b", "a\u202eb"])
def test_what_strangers_send_cannot_steer_a_terminal(text: str) -> None:
    """Everything unprintable is escaped, so that no line can be forged."""
    assert one_line(text).isprintable()


def test_secrets_are_known_and_never_written() -> None:
    """Users and passwords of proxies and database, as written and decoded, are replaced."""
    hidden = secrets_of(config(database_url="postgresql://bot:hush@db/market"))
    assert {"me:p%40ss", "p%40ss", "p@ss", "bot:hush", "hush"} == set(hidden)
    line = TextLines(NOON, "-", hidden).format(record("via http://me:p%40ss@proxy.example, p@ss, hush"))
    assert line.endswith("via http://***@proxy.example, ***, ***")


def test_a_user_of_the_database_alone_is_no_secret() -> None:
    """Else who is called postgres could not read the word postgresql."""
    assert "postgres" not in secrets_of(config(database_url="postgresql://postgres@db/market"), {})


def test_every_key_and_proxy_is_a_secret() -> None:
    """Of several proxies each password, of several keys each value, as the clients strip it."""
    sources = {
        "binance": {"client": "binance", "proxy": ["direct", "http://a:hush1@h:1", "http://b:hush2@h:2"]},
        "coingecko": {"client": "coingecko", "plan": "demo", "api_key_env": ["ONE", "TWO", "UNSET"]},
    }
    hidden = secrets_of(config(sources=sources), {"ONE": "CG-one", "TWO": " CG-two\n", "OTHER": "no secret"})
    assert set(hidden) == {"a:hush1", "hush1", "b:hush2", "hush2", "CG-one", "CG-two"}
    assert one_line("sent CG-one by http://b:hush2@h:2", hidden) == "sent *** by http://***@h:2"


@pytest.mark.parametrize(
    ("configured", "verbosity", "level"),
    [
        ("info", 0, logging.INFO),
        ("error", 0, logging.ERROR),
        ("error", 1, logging.DEBUG),
        ("debug", -1, logging.WARNING),
        ("info", 2, logging.DEBUG),
    ],
)
def test_verbosity_wins_over_the_configured_level(configured: str, verbosity: int, level: int) -> None:
    """-v means debug, -q warnings only; else the configuration decides."""
    assert level_of(configured, verbosity) == level


@pytest.mark.usefixtures("quiet_log")
def test_each_reason_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """When a source fails hundreds of jobs say the same; one is enough at info, the others are debug."""
    listen = FactLog()
    caplog.set_level(logging.DEBUG, LOG.name)
    for fact in (job(1, "queued", "refused"), job(2, "queued", "refused"), job(3, "failed", "refused")):
        listen(fact)
    assert [entry.levelname for entry in caplog.records] == ["INFO", "DEBUG", "WARNING"]


@pytest.mark.usefixtures("quiet_log")
def test_reasons_told_are_not_remembered_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """A daemon hears of new ones for years; the oldest may be told again."""
    listen = FactLog()
    caplog.set_level(logging.INFO, LOG.name)
    for number in range(1_500):
        listen(job(number, "queued", f"rests until {number}"))
    assert len(listen._told) == 1_000
    listen(job(0, "queued", "rests until 0"))
    assert caplog.records[-1].getMessage().endswith("rests until 0")


def test_short_secrets_are_hidden_where_they_stand_alone() -> None:
    """A password of one letter is no reason to make every word unreadable."""
    hidden = secrets_of(config(database_url="postgresql://u:p@db/market"))
    assert one_line("postgresql://u:p@db/market, p, pp", hidden) == "postgresql://***@db/market, ***, pp"


@pytest.mark.usefixtures("quiet_log")
def test_refused_rows_are_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    """A series of which every page has bad rows warns of the first, and at the end of all others together."""
    listen = FactLog()
    caplog.set_level(logging.DEBUG, LOG.name)
    for series in ("BTC/USDT 1h", "BTC/USDT 1h", "BTC/USDT 1h", "ETH/USDT 1h"):
        listen(PageStored(series, "binance", 3, 2, ()))
    listen.close()
    warned = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
    assert warned == [
        "BTC/USDT 1h: 2 rows from binance went to quarantine; see `quarantine`",
        "ETH/USDT 1h: 2 rows from binance went to quarantine; see `quarantine`",
        "BTC/USDT 1h: 4 more rows from binance went to quarantine; see `quarantine`",
    ]


@pytest.mark.usefixtures("quiet_log")
@pytest.mark.parametrize(
    ("fact", "level", "words"),
    [
        (Attempt("binance", "binance http://a", "time", "ok", "", 0, 0.012), "DEBUG", "answered time in 12 ms"),
        (Attempt("binance", "binance http://a", "time", "BadPayload", "HTML", 0, 0.0), "DEBUG", "HTML (BadPayload)"),
        (Planned(2, 300), "DEBUG", "2 jobs for 300 candles"),
        (job(7, "done", None), "DEBUG", "job 7 (BTC/USDT 1h gap 1970-01-01T00:00:00Z"),
        (PageStored("BTC/USDT 1h", "binance", 3, 2, ()), "WARNING", "2 rows from binance went to quarantine; see"),
        (PageStored("BTC/USDT 1h", "binance", 0, 0, ((0, 3_600_000),)), "INFO", "is proven absent"),
    ],
)
def test_each_fact_has_its_level(fact: Fact, level: str, words: str, caplog: pytest.LogCaptureFixture) -> None:
    """What passes by itself is debug, what people should know info, what they should look at a warning."""
    caplog.set_level(logging.DEBUG, LOG.name)
    FactLog()(fact)
    assert caplog.records[-1].levelname == level
    assert words in caplog.records[-1].getMessage()


@pytest.mark.usefixtures("quiet_log")
def test_the_log_goes_to_stderr_as_configured(capsys: pytest.CaptureFixture[str]) -> None:
    """One handler, however often it is set up; the run's id stands in each line."""
    set_up(config(), NOON)
    run_id = set_up(config(), NOON)
    LOG.info("hello")
    LOG.debug("unheard")
    assert capsys.readouterr().err == f"2026-06-01T12:00:00Z {run_id} info: hello\n"
