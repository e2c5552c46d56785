"""The archive beside REST: down and slow on its own, outside every limit, with the faults of the wire; its log."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.clock import parse_utc
from fetcher.errors import ConfigError
from fetcher.model import HOUR
from fetcher.sandbox.faults import FAULTS
from fetcher.sandbox.options import SandboxOptions, read_archive
from fetcher.sandbox.state import Sandbox

if TYPE_CHECKING:
    from fetcher.sandbox.answer import Answer

CLOCK = "2026-04-30T04:07:30Z"
DAILY = "/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01-15.zip"
MONTHLY = "/data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip"
NOON = parse_utc("2024-01-15T12:00")


@pytest.fixture
def sandbox() -> Sandbox:
    """A sandbox whose clock stands still."""
    return Sandbox(SandboxOptions(clock=CLOCK))


def ask(sandbox: Sandbox, where: str = DAILY, **query: str) -> Answer:
    """The answer to a GET."""
    return sandbox.answer(where, query, "", {})


def hours(answer: Answer) -> list[list[str]]:
    """The rows of an archive's file."""
    with zipfile.ZipFile(io.BytesIO(answer.body)) as packed:
        return [line.split(",") for line in packed.read(packed.namelist()[0]).decode().splitlines()]


def test_files_weigh_nothing_and_are_logged_as_the_archives(sandbox: Sandbox) -> None:
    """Rows are the candles in a zip; a CHECKSUM and what is not there have none."""
    for where in (DAILY, f"{DAILY}.CHECKSUM", MONTHLY, DAILY.replace("15", "32"), "/api/v3/ping"):
        ask(sandbox, where)
    shown = [(e["venue"], e["status"], e["rows"], e["weight_used"], e["fault"]) for e in sandbox.log()]
    assert shown == [
        ("archive", 200, 24, 0, None),
        ("archive", 200, None, 0, None),
        ("archive", 200, 744, 0, None),
        ("archive", 404, None, 0, None),
        ("binance", 200, None, 1, None),
    ]


def test_a_ban_from_rest_is_none_from_the_archive(sandbox: Sandbox) -> None:
    """However often either is asked."""
    sandbox.configure({"weight_limit": 1})
    statuses = [ask(sandbox, where).status for _ in range(15) for where in ("/api/v3/time", DAILY)]
    assert set(statuses[1::2]) == {200}
    assert {429, 418} <= set(statuses[0::2])
    assert ask(sandbox).headers.keys().isdisjoint({"x-mbx-used-weight", "Retry-After"})


def test_the_archive_is_down_alone_and_up_alone(sandbox: Sandbox) -> None:
    """Nobody is answered, for a while or always; REST is another service."""
    sandbox.configure({"archive": {"down": ["2026-04-30T04:00/2026-04-30T05:00"]}})
    assert sandbox.preparation(MONTHLY) is None
    assert ask(sandbox).delivery == "reset"
    assert sandbox.log()[-1]["fault"] == "down"
    assert ask(sandbox, "/api/v3/ping").delivery == "whole"
    sandbox.configure({"clock": "2026-04-30T05:00", "venues": {"binance": {"down": ["always"]}}})
    assert (ask(sandbox).delivery, ask(sandbox, "/api/v3/ping").delivery) == ("whole", "reset")
    assert ask(Sandbox(SandboxOptions(archive=read_archive(down=["always"])))).delivery == "reset"
    sandbox.configure({"archive": {"latency_seconds": 0.3}})
    assert (ask(sandbox).delay, ask(sandbox, "/api/v3/ping").delay) == (0.3, 0)


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_of_the_wire_can_happen_to_a_file(sandbox: Sandbox, name: str) -> None:
    """By script; those of JSON rows find nothing to spoil. No error looks like an object."""
    good = ask(sandbox)
    sandbox.script(name, path="/data/*")
    spoiled = ask(sandbox)
    on_wire = name.startswith("status:") or name in {
        "reset", "hang", "truncate", "cut_json", "html", "empty_body", "latency",
    }  # fmt: skip
    assert (spoiled != good) == on_wire
    assert sandbox.log()[-1]["fault"] == (name if on_wire else None)
    assert ("ETag" in spoiled.headers) == (spoiled.content_type == "application/zip")
    if name in {"status:500", "status:503", "status:451"}:
        assert spoiled.content_type == "application/xml"
        assert spoiled.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>')
    assert ask(sandbox) == good


def test_chances_and_scripts_reach_files_by_path_symbol_or_venue(sandbox: Sandbox) -> None:
    """Only those: candles over REST are another path."""
    sandbox.configure({"faults": {"html": 1.0}, "paths": ["/data/*.zip"]})
    klines = {"symbol": "BTCUSDT", "interval": "1h"}
    assert [ask(sandbox, where).content_type for where in (DAILY, MONTHLY, f"{DAILY}.CHECKSUM")] == [
        "text/html", "text/html", "binary/octet-stream",
    ]  # fmt: skip
    assert json.loads(ask(sandbox, "/api/v3/klines", **klines).body)
    sandbox.configure({"faults": {}, "paths": ["/api/v3/klines"]})
    sandbox.script("reset", venue="archive", symbol="ETHUSDT")
    assert ask(sandbox).delivery == "whole"
    assert ask(sandbox, "/api/v3/klines", **{**klines, "symbol": "ETHUSDT"}).delivery == "whole"
    assert ask(sandbox, DAILY.replace("BTC", "ETH")).delivery == "reset"


def test_a_restated_candle_is_published_anew(sandbox: Sandbox) -> None:
    """In the day's file and the month's: other bytes, CHECKSUM, ETag, date; the other files stay as they were."""
    files = (DAILY, MONTHLY, DAILY.replace("15", "16"), DAILY.replace("1h", "1m"))
    before = [ask(sandbox, where) for where in files]
    sandbox.restate("BTCUSDT", "1h", NOON, "12345.5")
    after = [ask(sandbox, where) for where in files]
    assert [was.body != now.body for was, now in zip(before, after, strict=True)] == [True, True, False, False]
    assert hours(after[0])[12][4] == "12345.50000000"
    for where, now in zip(files[:2], after[:2], strict=True):
        assert now.headers["Last-Modified"] == "Thu, 30 Apr 2026 04:07:30 GMT"
        told = ask(sandbox, f"{where}.CHECKSUM")
        assert told.body.decode().split()[0] == hashlib.sha256(now.body).hexdigest()
        assert told.headers["Last-Modified"] == "Thu, 30 Apr 2026 04:07:29 GMT"
    assert after[2].headers["Last-Modified"] == "Wed, 17 Jan 2024 07:30:00 GMT"
    sandbox.configure({"clock": "2026-05-01"})
    assert ask(sandbox).headers["Last-Modified"] == after[0].headers["Last-Modified"]


def test_what_is_restated_before_publication_or_elsewhere_is_published_in_time(sandbox: Sandbox) -> None:
    """Another venue's restatement is none of Binance's."""
    sandbox.configure({"clock": "2024-01-16T01:00"})
    sandbox.restate("BTCUSDT", "1h", NOON, "12345.5")
    sandbox.configure({"clock": CLOCK})
    answer = ask(sandbox)
    assert hours(answer)[12][4] == "12345.50000000"
    assert answer.headers["Last-Modified"] == "Tue, 16 Jan 2024 07:30:00 GMT"
    sandbox.restate("BTCUSDT", "1h", NOON + HOUR, "9.5", venue="okx")
    assert ask(sandbox).body == answer.body


def test_outages_told_at_run_time_are_in_files_too(sandbox: Sandbox) -> None:
    """Files are made of the market as it is told now; a day without any candle has none."""
    assert len(hours(ask(sandbox))) == 24
    sandbox.configure({"outages": ["2024-01-15T02:00/2024-01-15T08:00"]})
    assert len(hours(ask(sandbox))) == 18
    sandbox.configure({"outages": ["2024-01-15/2024-01-16"]})
    assert ask(sandbox).status == 404
    assert len(hours(ask(sandbox, MONTHLY))) == 30 * 24


def test_what_is_configured_can_be_read_and_told_again(sandbox: Sandbox) -> None:
    """As for every venue; one that is told nothing stays as it is."""
    told: dict[str, Any] = {
        "faults": {"truncated": ["once:*-2024-01-15.zip"]},
        "down": ["always"],
        "latency_seconds": 0.5,
        "daily_late_ms": 5,
        "monthly_late_ms": 6,
    }
    sandbox.configure({"archive": told})
    assert sandbox.config()["archive"] == told
    sandbox.configure({"archive": {"down": []}})
    assert sandbox.config()["archive"] == {**told, "down": []}
    with pytest.raises(ConfigError, match="no venue 'archive'"):
        sandbox.configure({"venues": {"archive": {"down": ["always"]}}})
