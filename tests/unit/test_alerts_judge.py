"""What of the vitals is worth telling, as a table: each kind fires on its side of the line and not on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from db.health import Spell
from db.quarantine import Held
from db.state import RunRow
from fetcher.clock import parse_utc
from fetcher.endpoints import FAILING, REACHABLE, RESTING, EndpointState
from fetcher.model import DAY, HOUR, MINUTE, Series, Timeframe
from fetcher.observe.alerts.disks import Disk, disks
from fetcher.observe.alerts.judge import KINDS, Machine, judge
from fetcher.sections import Alerts
from fetcher.standing import Standing
from fetcher.vitals import Vitals

if TYPE_CHECKING:
    from fetcher.observe.alerts.findings import Finding

NOW = parse_utc("2026-06-01T12:00:00Z")
OWN = Alerts()
WELL = EndpointState("okx https://okx.example", "okx", REACHABLE, last_ok_ms=NOW)
DOWN = EndpointState(
    "okx https://okx.example", "okx", FAILING, "it reset the connection", breaker="open", last_error_ms=NOW - MINUTE,
    last_error="it reset the connection",
)  # fmt: skip
RESTS = EndpointState("okx https://okx.example", "okx", RESTING, "okx answered 429: too many", NOW + MINUTE)
KEY = "coingecko answered 401 (10002): missing; the key is missing; set api_key_env and plan"


def place(timeframe: str = "1m", **more: Any) -> Standing:
    """A series that lacks nothing, and more."""
    series = Series(1, "BTC/USDT", Timeframe(timeframe), NOW - 30 * DAY, ("okx",), None, None, NOW)
    known: dict[str, Any] = {
        "series": series, "from_ms": NOW - 30 * DAY, "until_ms": NOW, "stored": 1, "by_source": {"okx": 1},
        "expected": 1, "absent": 0, "missing": 0, "queued": 0, "failed": 0, "unplanned": 0, "newest_ms": NOW,
        "lag_ms": 0, "jobs_waiting": 0, "jobs_failed": 0, "last_error": None,
    }  # fmt: skip
    return Standing(**known | more)


def vitals(*places: Standing, endpoints: tuple[EndpointState, ...] = (WELL,), **more: Any) -> Vitals:
    """Vitals at NOW of these series."""
    known: dict[str, Any] = {
        "now_ms": NOW, "series": places or (place(),), "endpoints": endpoints, "jobs": {}, "oldest_job_ms": None,
        "filled": 0, "given_up": 0, "quarantine": {}, "runs": (),
    }  # fmt: skip
    return Vitals(**known | more)


def run(outcome: str = "ok", missing: int | None = 0, *, ended: bool = True, kind: str = "run") -> RunRow:
    """A run as it was recorded."""
    summary = {"missing": missing} if ended else None
    return RunRow(1, kind, NOW, "box", 1, NOW if ended else None, outcome if ended else None, 0, None, summary)


def found(vitals: Vitals, settings: Alerts = OWN) -> list[Finding]:
    """All that the database tells."""
    return judge(vitals, settings, Machine("box"))


BROKEN, KILLED = run("failed", None), run(ended=False)


@pytest.mark.parametrize(
    ("how", "keys"),
    [
        pytest.param(vitals(), [], id="all is well"),
        pytest.param(vitals(place(overdue_ms=10 * MINUTE)), [], id="ten minutes late"),
        pytest.param(vitals(place(overdue_ms=10 * MINUTE + 1)), ["stale BTC/USDT 1m"], id="more than ten minutes"),
        pytest.param(vitals(place("1h", overdue_ms=2 * HOUR)), [], id="two hours late with hours"),
        pytest.param(vitals(place("1h", overdue_ms=2 * HOUR + 1)), ["stale BTC/USDT 1h"], id="more than two hours"),
        pytest.param(vitals(place("1d", overdue_ms=DAY)), [], id="a day late with days"),
        pytest.param(vitals(place(unfetched=True, newest_ms=None)), ["stale BTC/USDT 1m"], id="never fetched"),
        pytest.param(vitals(place(missing=5, newest_ms=NOW - 5 * MINUTE)), [], id="the newest are missing"),
        pytest.param(vitals(place(missing=6, newest_ms=NOW - 5 * MINUTE)), ["gaps BTC/USDT 1m"], id="an older one too"),
        pytest.param(vitals(place(jobs_failed=1, failed=3)), ["given up BTC/USDT 1m"], id="given up"),
        pytest.param(vitals(endpoints=(DOWN,)), ["source okx"], id="a source down"),
        pytest.param(vitals(endpoints=(DOWN, WELL)), [], id="one of two endpoints down"),
        pytest.param(vitals(endpoints=(replace(DOWN, source="unused"), WELL)), [], id="a source of no series"),
        pytest.param(vitals(endpoints=(replace(DOWN, last_error_ms=NOW - HOUR),)), [], id="down an hour ago"),
        pytest.param(vitals(endpoints=(replace(DOWN, breaker="closed"),)), [], id="one failure"),
        pytest.param(vitals(endpoints=(replace(DOWN, breaker="closed", hour=Spell(3, 3, 0.0, None, None)),)),
                     ["source okx"], id="nothing but failures"),
        pytest.param(vitals(endpoints=(RESTS,)), ["source okx"], id="a source rests"),
        pytest.param(vitals(endpoints=(replace(WELL, source="coingecko", last_error=KEY, last_error_ms=NOW + 1),)),
                     ["key okx https://okx.example"], id="a refused key"),
        pytest.param(vitals(endpoints=(replace(WELL, last_error=KEY, last_error_ms=NOW - 1),)), [], id="a new key"),
        pytest.param(vitals(quarantine={"a": Held(500, 60), "b": Held(40, 39)}), [], id="some refused rows"),
        pytest.param(vitals(quarantine={"a": Held(500, 60), "b": Held(40, 40)}), ["quarantine"], id="a burst"),
        pytest.param(vitals(runs=(BROKEN, BROKEN)), [], id="two broken runs"),
        pytest.param(vitals(runs=(BROKEN, KILLED, BROKEN)), ["runs"], id="three broken runs"),
        pytest.param(vitals(runs=(KILLED, BROKEN, BROKEN)), [], id="the newest is at work"),
        pytest.param(vitals(runs=(run("failed", 5), BROKEN, BROKEN, BROKEN)), [], id="it got through since"),
        pytest.param(vitals(runs=(run(kind="backfill"), BROKEN, BROKEN, BROKEN)), ["runs"], id="a backfill is no run"),
    ],
)  # fmt: skip
def test_each_kind_has_its_line(how: Vitals, keys: list[str]) -> None:
    """What fires is named by kind and subject."""
    assert [finding.key for finding in found(how)] == keys
    assert all(finding.kind in KINDS for finding in found(how))


def test_a_ban_is_told_at_once_and_at_night() -> None:
    """A rest is told when it has lasted, or when it is known to."""
    [ban] = found(vitals(endpoints=(replace(RESTS, why="okx answered 418: banned", until_ms=NOW + 2 * MINUTE),)))
    assert (ban.after_ms, ban.urgent) == (0, True)
    assert ban.message == (
        "okx has banned this address until 2026-06-01T12:02Z: okx answered 418: banned; ask less often, or set proxy"
    )
    [busy] = found(vitals(endpoints=(replace(RESTS, why="okx answered 429: asked 418 times, wait"),)))
    assert not busy.urgent
    [rest] = found(vitals(endpoints=(RESTS,)))
    assert (rest.after_ms, rest.urgent) == (15 * MINUTE, False)
    assert rest.message == "okx rests until 2026-06-01T12:01Z: okx answered 429: too many"
    [long_one] = found(vitals(endpoints=(replace(RESTS, until_ms=NOW + HOUR),)))
    assert long_one.after_ms == 0
    [down] = found(vitals(endpoints=(DOWN,)))
    assert (down.after_ms, down.message) == (15 * MINUTE, "okx does not serve: it reset the connection")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (place(overdue_ms=25 * MINUTE, newest_ms=NOW - 26 * MINUTE),
         "BTC/USDT 1m is 25 min behind (newest close: 2026-06-01T11:34Z)"),
        (place(overdue_ms=25 * MINUTE, newest_ms=None, last_error="okx answered 500"),
         "BTC/USDT 1m is 25 min behind (newest close: none): okx answered 500"),
        (place(unfetched=True, last_error="okx does not list @BTC"),
         "BTC/USDT 1m: nothing was fetched yet: okx does not list (at)BTC"),
        (place(jobs_failed=2, failed=0, last_error="given up"),
         "BTC/USDT 1m: 2 jobs given up: given up; see `jobs`, then `jobs retry`"),
        (place(missing=1440, newest_ms=NOW), "BTC/USDT 1m lacks 1,440 candles, and not fewer than before"),
    ],
)  # fmt: skip
def test_a_series_says_how_it_stands_and_why(how: Standing, message: str) -> None:
    """In one line, with what a job's last error tells."""
    assert [finding.message for finding in found(vitals(how))] == [message]


def test_a_series_behind_because_its_source_is_away_says_so() -> None:
    """Where no job tells why, the preferred source does."""
    messages = [f.message for f in found(vitals(place(overdue_ms=HOUR, newest_ms=NOW), endpoints=(DOWN,)))]
    assert messages[0].endswith(": okx is failing")


def test_gaps_are_told_when_they_stay_and_grow() -> None:
    """The level is how many are missing; what is given up is told at once."""
    stuck, lost = found(vitals(place(missing=9, jobs_failed=1, failed=4)))[::-1]
    assert (stuck.level, stuck.stuck, stuck.after_ms) == (9, True, 6 * HOUR)
    assert (lost.level, lost.stuck, lost.after_ms) == (4, False, 0)


def test_the_machine_tells_of_its_disk_and_its_environment() -> None:
    """Each names the machine, whose own affair it is."""
    machine = Machine("box", (Disk("database", 10**9 - 1), Disk("log", 10**9)), ("coingecko: KEY holds no key",))
    findings = judge(vitals(), OWN, machine)
    assert [(each.kind, each.host, each.urgent) for each in findings] == [("key", "box", False), ("disk", "box", True)]
    assert findings[0].message == "on box: coingecko: KEY holds no key"
    assert findings[1].message == "the disk of the database on box is nearly full: 1,000 MB are free"


def test_the_disks_are_those_of_the_database_and_the_log(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log on the same disk is not named again; a terminal, a pipe and a server's database are no disk."""
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr("fetcher.observe.alerts.disks._STDERR", log.fileno())
        assert [disk.what for disk in disks(tmp_path / "market.db")] == ["database"]
        [only] = disks(None)
        assert only.what == "log"
        assert only.free > 0
    monkeypatch.setattr("fetcher.observe.alerts.disks._STDERR", -1)
    assert disks(tmp_path / "nowhere" / "market.db") == ()
