"""Endpoints of every kind of client in words, fallback windows, and what `config check` says of a source."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from db.endpoints import EndpointRow
from db.health import Spell
from db.intervals import Interval
from db.jobs import JobRow
from fetcher.cli.config_check import _source_as_json, _source_words
from fetcher.cli.fallbacks import fallback_windows, put_fallbacks
from fetcher.cli.sources import spell_words
from fetcher.clients import client_class
from fetcher.clock import Clock
from fetcher.config import Config
from fetcher.endpoints import UNKNOWN, Account, endpoint_states
from fetcher.model import HOUR, Series, Timeframe
from fetcher.standing import standing

NOW = 100 * HOUR
SERIES = Series(1, "BTC/USDT", Timeframe("1h"), 0, ("binance", "okx"), listed_ms=0, closed_until_ms=10 * HOUR)
NAMES = {1: "binance", 2: "okx", 3: "gone"}
ROW = EndpointRow(
    "okx ccxt:okx", "okx", breaker="closed", failures=0, successes=0, opened_ms=None, probe_owner=None,
    probe_until=None, window_ms=None, used=0, weight_limit=None, stop_until=None, stop_reason=None, requests=1,
    errors=0, latency_ms=1.0, last_ok_ms=1, last_error=None, last_error_ms=None,
)  # fmt: skip


def config(**sources: dict[str, object]) -> Config:
    """A configuration with these sources beside binance."""
    market = {"symbols": ["BTC/USDT"], "timeframes": ["1h"], "start": "2026-01-01", "sources": ["binance"]}
    return Config.model_validate({"sources": {"binance": {"client": "binance"}, **sources}, "markets": [market]})


def shown(key: str, **sources: dict[str, object]) -> bool:
    """Whether a row of this endpoint is one of the configuration's."""
    source = key.partition(" ")[0]
    states = endpoint_states([replace(ROW, endpoint=key, source=source)], config(**sources), NOW)
    return key in {state.endpoint for state in states}


GECKO, PRO = "https://api.coingecko.com/api/v3", "https://pro-api.coingecko.com/api/v3"
YAHOO = "https://query2.finance.yahoo.com"


@pytest.mark.parametrize(
    ("settings", "mine", "others"),
    [
        (
            {"client": "ccxt", "exchange": "okx"},
            ["ccxt:okx"],
            ["ccxt:kraken", "ccxt:okx http://127.0.0.1:9", "http://127.0.0.1:9"],
        ),
        (
            {"client": "ccxt", "exchange": "okx", "base_url": "http://127.0.0.1:9/"},
            ["ccxt:okx http://127.0.0.1:9"],
            ["ccxt:okx", "ccxt:okx http://127.0.0.1:8"],
        ),
        ({"client": "coingecko"}, [GECKO], [PRO, "http://127.0.0.1:9"]),
        ({"client": "coingecko", "plan": "pro", "api_key_env": "K"}, [PRO], [GECKO]),
        ({"client": "coingecko", "base_url": "http://127.0.0.1:9"}, ["http://127.0.0.1:9"], [GECKO]),
        ({"client": "yahoo"}, ["https://query2.finance.yahoo.com"], ["http://127.0.0.1:9"]),
        (
            {"client": "yahoo", "proxy": ["direct", "u:w@h:1"]},
            [YAHOO, f"{YAHOO} via h:1"],
            [f"{YAHOO} via h:2", f"{YAHOO} via h:1 #2"],
        ),
        ({"client": "coingecko", "proxy": "u:w@h:1"}, [GECKO], [f"{GECKO} via h:1"]),
        (
            {"client": "coingecko", "plan": "demo", "api_key_env": ["A", "B"]},
            [f"{GECKO} key A", f"{GECKO} key B"],
            [GECKO, f"{GECKO} key C"],
        ),
    ],
)  # fmt: skip
def test_each_kind_of_client_has_its_endpoints(settings: dict[str, object], mine: list[str], others: list[str]) -> None:
    """Rows of the configured way in are shown; those of an earlier configuration are not."""
    assert all(shown(f"x {key}", x=settings) for key in mine)
    assert not any(shown(f"x {key}", x=settings) for key in others)


@pytest.mark.parametrize(
    "settings",
    [
        {"client": "binance"},
        {"client": "ccxt", "exchange": "kraken"},
        {"client": "ccxt", "exchange": "kraken", "base_url": "http://127.0.0.1:9/kraken/"},
        {"client": "coingecko"},
        {"client": "yahoo"},
        {"client": "binance", "proxy": ["direct", "u:w@h:1", "v:w@h:1"]},
        {"client": "ccxt", "exchange": "kraken", "proxy": ["h:1", "h:2"]},
        {"client": "coingecko", "plan": "demo", "api_key_env": ["A", "B"], "proxy": ["direct", "h:1"]},
        {"client": "yahoo", "base_url": "http://127.0.0.1:9", "proxy": ["h:1", "h:2"]},
    ],
)
def test_endpoints_are_those_that_the_clients_name(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> None:
    """What the words go by is what each client itself calls its endpoints and their pools in the database."""
    for name in ("A", "B"):
        monkeypatch.setenv(name, f"CG-{name}")
    made = client_class(str(settings["client"])).configured("x", config(x=settings).sources["x"], Clock())
    assert made.endpoints
    assert all(shown(endpoint.key, x=settings) for endpoint in made.endpoints)
    rows = [replace(ROW, endpoint=key, source="x") for each in made.endpoints for key in (each.key, each.pool)]
    states = {state.endpoint: state.pool for state in endpoint_states(rows, config(x=settings), NOW)}
    assert {each.key: each.pool for each in made.endpoints}.items() <= states.items()
    made.close()


def test_a_source_that_was_never_asked_is_shown_all_the_same() -> None:
    """Before the first run there are no rows; one state stands for each source, and nothing is imported for it."""
    states = endpoint_states([], config(okx={"client": "ccxt", "exchange": "okx"}), NOW)
    assert [(state.source, state.state) for state in states] == [("binance", UNKNOWN), ("okx", UNKNOWN)]


def test_a_budget_counts_in_its_own_span() -> None:
    """What was spent two seconds ago counts in a minute's window, and no more in one of two seconds."""
    pool = replace(ROW, endpoint="okx", window_ms=NOW - 2000, used=7, weight_limit=40)
    okx = config(okx={"client": "ccxt", "exchange": "okx"})
    for spans, used in (({}, 7), ({"okx": 2000}, 0), ({"okx": 2001}, 7)):
        [state] = [s for s in endpoint_states([pool, ROW], okx, NOW, Account(spans=spans)) if s.source == "okx"]
        assert (state.used, state.weight_limit) == (used, 40)


def test_an_endpoint_with_a_budget_of_its_own_shows_that() -> None:
    """A key or proxy that is counted by itself does not share its pool's numbers."""
    pool = replace(ROW, endpoint="okx", window_ms=NOW, used=7, weight_limit=40)
    own = replace(ROW, window_ms=NOW, used=3, weight_limit=9)
    states = endpoint_states([pool, own], config(okx={"client": "ccxt", "exchange": "okx"}), NOW)
    assert [(s.used, s.weight_limit) for s in states if s.source == "okx"] == [(3, 9)]


def test_each_proxy_shows_its_own_budget() -> None:
    """Mirrors by the same proxy show one pool's numbers, another proxy its own, and its rest."""
    settings: dict[str, object] = {
        "client": "binance", "base_urls": ["http://a", "http://b"], "proxy": ["direct", "u:w@h:1"],
    }  # fmt: skip
    pools = [
        replace(ROW, endpoint="x", source="x", window_ms=NOW, used=7, weight_limit=40),
        replace(ROW, endpoint="x via h:1", source="x", window_ms=NOW, used=9, weight_limit=40, stop_until=NOW + HOUR),
    ]
    ends = [
        replace(ROW, endpoint=f"x {host}{via}", source="x")
        for host in ("http://a", "http://b")
        for via in ("", " via h:1")
    ]
    states = {s.endpoint: s for s in endpoint_states([*pools, *ends], config(x=settings), NOW) if s.source == "x"}
    assert {name: (s.used, s.pool, s.state) for name, s in states.items()} == {
        "x http://a": (7, "x", "reachable"),
        "x http://b": (7, "x", "reachable"),
        "x http://a via h:1": (9, "x via h:1", "resting"),
        "x http://b via h:1": (9, "x via h:1", "resting"),
    }


@pytest.mark.parametrize(
    ("spell", "words"),
    [
        (None, "-"),
        (Spell(1204, 0, 1.0, 80.4, 310.0), "100 % of 1,204, 80/310 ms"),
        (Spell(100_000, 1, 0.99999, 80.4, 310.0), "99.9 % of 100,000, 80/310 ms"),
        (Spell(3, 3, 0.0, None, None), "0.0 % of 3"),
    ],
)
def test_an_hour_is_told_in_words(spell: Spell | None, words: str) -> None:
    """100 % only where nothing failed; latencies only where something was answered."""
    assert spell_words(spell) == words


def stored(start: int, end: int, source: int) -> Interval:
    """Stored hours."""
    return Interval(start * HOUR, end * HOUR, "stored", end - start, source, "rest")


def heal(start: int, end: int, status: str = "queued", not_before: int = 0, error: str | None = None) -> JobRow:
    """A heal job for some hours, made at hour 50."""
    return JobRow(
        1, 1, "heal", start * HOUR, end * HOUR, 30, status, 0, not_before, None, None, error, 50 * HOUR, 50 * HOUR
    )


def test_fallback_rows_are_those_of_any_other_than_the_preferred_source() -> None:
    """Also of a source that the configuration names no more."""
    found = standing(SERIES, [stored(0, 5, 1), stored(5, 7, 2), stored(7, 8, 3)], [], NAMES, NOW)
    assert (found.stored, found.fallback_rows) == (8, 3)


def test_a_fallback_window_tells_since_when_it_waits() -> None:
    """Each stored window of another source has its heal jobs: made when, due when, failing why; other jobs are none."""
    covered = [stored(0, 5, 1), stored(5, 7, 2), Interval(7 * HOUR, 8 * HOUR, "absent", 0, 2, "rest"), stored(8, 9, 3)]
    other = replace(heal(0, 10), kind="gap", created_ms=1)
    later = heal(6, 8, not_before=NOW + HOUR, error="binance rests")
    one, two = fallback_windows(SERIES, covered, [other, later], NAMES, NOW)
    assert (one["start_ms"], one["end_ms"], one["rows"]) == (5 * HOUR, 7 * HOUR, 2)
    assert (one["source"], one["preferred"], one["jobs"]) == ("okx", "binance", 1)
    assert (one["waiting_since_ms"], one["due_ms"], one["reason"]) == (50 * HOUR, NOW + HOUR, "binance rests")
    assert (two["source"], two["jobs"], two["waiting_since_ms"], two["due_ms"]) == ("gone", 0, None, None)


@pytest.mark.parametrize(
    ("jobs", "words"),
    [
        ([heal(5, 7)], "by the next run"),
        ([heal(5, 7, not_before=NOW + HOUR, error="it rests")], "from 1970-01-05T05:00Z on: it rests"),
        ([heal(5, 7, "failed", error="gone")], "given up: gone"),
        ([heal(8, 9)], "no job yet"),
    ],
)
def test_fallbacks_are_told_in_words(jobs: list[JobRow], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """When the preferred source's candles come: with the next run, later and why, not any more, or not planned yet."""
    put_fallbacks(fallback_windows(SERIES, [stored(5, 7, 2)], jobs, NAMES, NOW), NOW)
    assert words in capsys.readouterr().out
    put_fallbacks([], NOW)
    assert "No fallbacks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"client": "binance"}, "binance at https://api.binance.com, 6,000 weight a minute"),
        ({"client": "ccxt", "exchange": "okx"}, "ccxt okx at its own hosts, as often as it allows"),
        (
            {"client": "coingecko", "plan": "demo", "api_key_env": "KEY", "base_url": "http://127.0.0.1:9/api"},
            "coingecko, plan demo (key from KEY) at http://127.0.0.1:9/api, as often as it allows",
        ),
        ({"client": "yahoo"}, "yahoo at its own hosts, 60 weight a minute"),
        (
            {"client": "yahoo", "proxy": ["direct", "me:hush@h:1"]},
            "yahoo at its own hosts through no proxy and h:1, 60 weight a minute each",
        ),
        (
            {"client": "coingecko", "plan": "pro", "api_key_env": ["A", "B"], "weight_per_minute": 9, "proxy": "h:1"},
            "coingecko, plan pro (key from A and B) at its own hosts through h:1, 9 weight a minute each",
        ),
    ],
)
def test_config_check_tells_each_kind_of_source(settings: dict[str, object], words: str) -> None:
    """What it is, where it is asked and how often, for people and machines."""
    source = config(x=settings).sources["x"]
    assert _source_words(source) == words
    told = _source_as_json("x", source)
    assert (told["client"], told.get("exchange"), told.get("plan")) == (
        settings["client"], settings.get("exchange"), settings.get("plan"),
    )  # fmt: skip
