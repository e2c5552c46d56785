"""The archive beside the API: the cheapest mix brings all, whatever is wrong with files, and it is told what was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fetcher.audit import audit
from fetcher.audit_archive import NOT_ASKED, REPUBLISHED, republished
from fetcher.cli.archive_checks import archive_checks
from fetcher.clock import Clock, parse_utc
from fetcher.model import DAY, MINUTE, Timeframe, Window
from fetcher.outcome import Outcome
from fetcher.sandbox.generated import GeneratedMarket, History
from tests.integration.world import World, market, open_world, same_candles, window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from threading import Timer

NOW = "2025-03-20T12:00:30Z"
ASKED = window("2024-12-01", "2025-03-20T12:00:00Z")
"""Over the change from ms to µs: three monthly files, nineteen daily ones, and half a day from the API."""
MARCH = window("2025-03-01", NOW)
FEBRUARY = window("2025-02-01", "2025-03-01")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A sandbox that stands still in the middle of a month; tests that ask for `database` run on both kinds."""
    with open_world(tmp_path, "--clock", NOW) as opened:
        configured(opened)
        yield opened


def configured(world: World, timeframe: str = "1m", symbols: str = "BTC/USDT") -> None:
    """A market from the end of 2024 on, with the sandbox's archive."""
    world.configure(market(symbols, timeframe, "2024-12-01"), archive=f"'{world.sandbox.url}'")


def filled(world: World, asked: Window = ASKED) -> None:
    """Backfill, and see that all is there, right, sound, and nothing left to do."""
    assert world.backfill(asked, Clock(parse_utc(NOW))).outcome is Outcome.OK
    right(world, asked)


def right(world: World, asked: Window, history: History | None = None, timeframe: str = "1m") -> None:
    """What is stored equals the oracle, and an audit has nothing to say."""
    true = GeneratedMarket(history or History()).oracle("BTCUSDT", Timeframe(timeframe), asked, parse_utc(NOW))
    assert same_candles(world.rows("BTC/USDT", timeframe), true)
    assert world.jobs().keys() == {"done"}
    with world.app() as app:
        assert audit(app.engine, app.fetcher.sync()).findings == ()


def downloads(world: World) -> list[str]:
    """The zips that were asked for, in no order."""
    return sorted(
        entry["path"].rpartition("/")[2]
        for entry in world.sandbox.log(venue="archive")
        if entry["path"].endswith(".zip")
    )


def notes(world: World) -> dict[str, tuple[str, str | None]]:
    """State and reason of each file that is noted."""
    return {name: (state, why) for name, state, why in world.query("SELECT name, state, reason FROM archive_files")}


def by_route(world: World) -> dict[str, int]:
    """Candles by the route that coverage names."""
    return dict(world.query("SELECT route, CAST(sum(rows) AS int) FROM coverage WHERE state = 'stored' GROUP BY route"))


@pytest.mark.usefixtures("database")
def test_months_days_and_pages_together(world: World) -> None:
    """Each window by its cheapest route, nothing asked that is not published, every file noted with its hash."""
    filled(world)
    months = [f"BTCUSDT-1m-{month}.zip" for month in ("2024-12", "2025-01", "2025-02")]
    days = [f"BTCUSDT-1m-2025-03-{day:02}.zip" for day in range(1, 20)]
    assert downloads(world) == sorted([*months, *days])
    assert {entry["status"] for entry in world.sandbox.log()} == {200}
    assert set(notes(world).values()) == {("read", None)}
    assert by_route(world) == {"archive": 90 * 1440 + 19 * 1440, "rest": 720}
    assert world.query(
        "SELECT count(*) FROM archive_files WHERE length(sha256) = 64 AND rows > 0 AND modified_ms > 0"
    ) == [(22,)]
    assert world.query("SELECT count(*) FROM quarantine") == [(0,)]
    spent = sum(entry["rows"] or 0 for entry in world.klines_log())
    assert spent <= 720 + 1440, "the API is asked for what no file has"


def test_a_second_run_asks_the_archive_for_nothing(world: World) -> None:
    """What is covered is covered, by whatever route."""
    filled(world)
    world.sandbox.clear_log()
    filled(world)
    assert downloads(world) == []


@pytest.mark.parametrize("timeframe", ["1h", "1d", "1w", "1M", "3d"])
def test_coarse_candles_take_the_api(world: World, timeframe: str) -> None:
    """A month of them is less than a page."""
    configured(world, timeframe)
    assert world.backfill(ASKED, Clock(parse_utc(NOW))).outcome is Outcome.OK
    assert downloads(world) == []


@pytest.mark.parametrize(
    ("fault", "state", "reason"),
    [
        ("wrong_checksum", "suspect", "the archive names"),
        ("no_checksum", "suspect", "names no checksum"),
        ("duplicated", "suspect", "come twice"),
        ("cut_line", "suspect", "cannot be read"),
        ("broken_zip", "suspect", "unpacked"),
        ("missing", "missing", None),
    ],
)
def test_a_bad_month_is_replaced_by_its_days(world: World, fault: str, state: str, reason: str | None) -> None:
    """It is fetched once more, then left alone; the days bring the month; quarantine and archive_files tell."""
    name = "BTCUSDT-1m-2025-02.zip"
    world.sandbox.configure(archive={"faults": {fault: [name]}})
    filled(world)
    told_state, told = notes(world)[name]
    assert told_state == state
    assert reason is None or reason in (told or "")
    assert downloads(world).count(name) == (1 if state == "missing" else 2)
    assert sum(each.startswith("BTCUSDT-1m-2025-02-") for each in downloads(world)) == 28
    kept = [
        json.loads(payload)
        for (payload,) in world.query("SELECT payload FROM quarantine WHERE reason = 'archive_file'")
    ]
    assert [each["file"] for each in kept] == ([name] if state == "suspect" else [])
    assert by_route(world)["rest"] == 720


def test_a_file_that_is_good_the_second_time_is_taken(world: World) -> None:
    """During publication a checksum may belong to the file that was there before."""
    name = "BTCUSDT-1m-2025-01.zip"
    world.sandbox.configure(archive={"faults": {"wrong_checksum": [f"once:{name}"]}})
    filled(world)
    assert notes(world)[name] == ("read", None)
    assert downloads(world).count(name) == 2
    assert world.query("SELECT count(*) FROM quarantine") == [(0,)]


@pytest.mark.parametrize("fault", ["truncated", "wrong_checksum", "missing", "duplicated"])
def test_where_month_and_days_are_bad_the_api_decides(world: World, fault: str) -> None:
    """A file that stops early brings what it has; the rest comes by pages."""
    world.sandbox.configure(archive={"faults": {fault: ["BTCUSDT-1m-2025-02*.zip"]}})
    filled(world)
    if fault == "truncated":
        assert notes(world)["BTCUSDT-1m-2025-02.zip"][0] == "read"
        assert "are not in it" in (notes(world)["BTCUSDT-1m-2025-02.zip"][1] or "")
    else:
        assert by_route(world)["rest"] == 720 + 28 * 1440


def test_no_archive_at_all_is_no_reason_to_wait(world: World) -> None:
    """With the archive down all comes from the API, in the same run."""
    world.sandbox.configure(archive={"down": ["always"]})
    filled(world, FEBRUARY)
    assert by_route(world) == {"rest": 28 * 1440}
    assert notes(world) == {}


def test_html_with_200_is_no_file(world: World) -> None:
    """It counts as not reached: nothing is noted of the file, and the days are asked."""
    world.sandbox.configure(archive={"faults": {"not_zip": ["BTCUSDT-1m-2025-02.zip"]}})
    filled(world, FEBRUARY)
    assert by_route(world) == {"archive": 28 * 1440}
    assert "BTCUSDT-1m-2025-02.zip" not in notes(world)


def test_a_header_line_is_no_row(world: World) -> None:
    """As newer files of other markets have one."""
    world.sandbox.configure(archive={"faults": {"header": ["*"]}})
    filled(world, FEBRUARY)
    assert by_route(world) == {"archive": 28 * 1440}


@pytest.mark.usefixtures("database")
def test_a_halt_of_the_exchange_is_proven_by_the_api(tmp_path: Path) -> None:
    """The file lacks it too, which proves nothing; its candles are taken, and the API's answers are the evidence."""
    halt = window("2025-02-10T02:00:00Z", "2025-02-10T04:30:00Z")
    with open_world(tmp_path, "--clock", NOW, "--outage", "2025-02-10T02:00/2025-02-10T04:30") as world:
        configured(world)
        assert world.backfill(FEBRUARY, Clock(parse_utc(NOW))).outcome is Outcome.OK
        right(world, FEBRUARY, History(outages=(halt,)))
        assert world.absent("BTC/USDT", "1m") == [halt]
        assert downloads(world) == ["BTCUSDT-1m-2025-02.zip"]
        assert notes(world)["BTCUSDT-1m-2025-02.zip"] == ("read", "150 of its candles are not in it")


def test_minutes_off_the_grid_are_confirmed_by_the_api(tmp_path: Path) -> None:
    """Real ones (February 2018) stand in the files as in the API's answers: stored at their slots, with the flag."""
    with open_world(tmp_path, "--clock", NOW, "--off-grid", "2025-02-09T10:00/2025-02-09T20:00/14789") as world:
        configured(world)
        assert world.backfill(FEBRUARY, Clock(parse_utc(NOW))).outcome is Outcome.OK
        assert len(world.rows("BTC/USDT", "1m")) == 28 * 1440
        assert world.query("SELECT count(*) FROM candles WHERE flags & 2 <> 0") == [(600,)]


def test_a_market_listed_in_the_middle_of_a_month(tmp_path: Path) -> None:
    """No file of an earlier month is asked for, and the first month is complete from its first candle on."""
    listed = "2025-01-20T12:00:00Z"
    with open_world(tmp_path, "--clock", NOW, "--listed", f"NEWUSDT={listed}") as world:
        configured(world, symbols="NEW/USDT")
        assert world.backfill(ASKED, Clock(parse_utc(NOW))).outcome is Outcome.OK
        assert len(world.rows("NEW/USDT", "1m")) == (ASKED.end - parse_utc(listed)) // MINUTE
        assert downloads(world)[0] == "NEWUSDT-1m-2025-01.zip"
        assert {entry["status"] for entry in world.sandbox.log()} == {200}


@pytest.mark.usefixtures("database")
def test_an_archive_that_contradicts_the_api_does_not_overwrite_it(world: World) -> None:
    """What is covered already is not taken from a file again: months were seen to be wrong where days were right."""
    with world.app(Clock(parse_utc(NOW))) as app:
        [series] = app.fetcher.sync()
        app.fetcher.backfill([(series, window("2025-02-10", "2025-02-11"))])
    world.sandbox.configure(archive={"faults": {"other_values": ["BTCUSDT-1m-2025-02.zip"]}})
    world.backfill(FEBRUARY, Clock(parse_utc(NOW)))
    assert world.query("SELECT count(*) FROM revisions") == [(0,)]


@pytest.mark.usefixtures("database")
def test_a_republished_file_is_noticed_and_read_anew(world: World) -> None:
    """`audit --archive` asks for checksums only; repaired, the next run stores what changed."""
    filled(world)
    with world.app(Clock(parse_utc(NOW))) as app:
        assert republished(app.archive, app.engine, app.fetcher.sync()) == (22, [])
    changed = parse_utc("2025-01-15T10:00:00Z")
    world.sandbox.restate("BTCUSDT", "1m", changed, "77.5")
    world.sandbox.clear_log()
    with world.app(Clock(parse_utc(NOW))) as app:
        files, [found] = republished(app.archive, app.engine, app.fetcher.sync())
        assert (files, found.kind, Window(found.start_ms, found.end_ms)) == (
            22,
            REPUBLISHED,
            window("2025-01-01", "2025-02-01"),
        )
        assert downloads(world) == []
        [repaired] = republished(app.archive, app.engine, app.fetcher.sync(), repair=True)[1]
        assert repaired.repaired
    world.backfill(ASKED, Clock(parse_utc(NOW)))
    [(close,)] = world.query("SELECT close FROM candles WHERE open_time = :at", at=changed)
    assert close == 77.5
    assert world.query("SELECT count(*) FROM revisions") == [(1,)]
    assert downloads(world) == ["BTCUSDT-1m-2025-01.zip"]


@pytest.mark.usefixtures("database")
def test_a_republished_file_that_lacked_candles_is_read_anew_too(tmp_path: Path) -> None:
    """Else it would be left alone for a week, since it did not bring all, and be found again by each audit."""
    with open_world(tmp_path, "--clock", NOW, "--outage", "2025-02-10T02:00/2025-02-10T04:30") as world:
        configured(world)
        assert world.backfill(FEBRUARY, Clock(parse_utc(NOW))).outcome is Outcome.OK
        world.sandbox.restate("BTCUSDT", "1m", parse_utc("2025-02-15T10:00:00Z"), "77.5")
        world.sandbox.clear_log()
        with world.app(Clock(parse_utc(NOW))) as app:
            [repaired] = republished(app.archive, app.engine, app.fetcher.sync(), repair=True)[1]
            assert repaired.repaired
        assert world.backfill(FEBRUARY, Clock(parse_utc(NOW))).outcome is Outcome.OK
        assert set(downloads(world)) == {"BTCUSDT-1m-2025-02.zip"}  # for what is before the outage, and behind it
        with world.app(Clock(parse_utc(NOW))) as app:
            assert republished(app.archive, app.engine, app.fetcher.sync()) == (1, [])


@pytest.mark.usefixtures("database")
def test_a_republished_file_that_was_read_again_in_part_is_still_noticed(world: World) -> None:
    """What came of it before is of another file than the archive has now."""
    filled(world, FEBRUARY)
    world.sandbox.restate("BTCUSDT", "1m", parse_utc("2025-02-15T10:00:00Z"), "77.5")
    lost = window("2025-02-01", "2025-02-06")
    world.change("DELETE FROM candles WHERE open_time < :end", end=lost.end)
    world.sandbox.clear_log()
    with world.app(Clock(parse_utc(NOW))) as app:
        assert audit(app.engine, app.fetcher.sync(), repair=True).repaired == 1
    assert world.backfill(FEBRUARY, Clock(parse_utc(NOW))).outcome is Outcome.OK
    assert downloads(world) == ["BTCUSDT-1m-2025-02.zip"]
    with world.app(Clock(parse_utc(NOW))) as app:
        files, [found] = republished(app.archive, app.engine, app.fetcher.sync())
        assert (files, found.kind) == (1, REPUBLISHED)


@pytest.mark.parametrize("fault", ["wrong_checksum", "missing"])
def test_a_file_that_was_read_and_is_bad_now_is_still_asked_about(world: World, fault: str) -> None:
    """Its candles are stored, whatever became of it since: an audit goes on looking whether it is still the same."""
    name = "BTCUSDT-1m-2025-02.zip"
    filled(world, FEBRUARY)
    world.sandbox.configure(archive={"faults": {fault: [name]}})
    world.change("DELETE FROM candles WHERE open_time < :end", end=window("2025-02-01", "2025-02-06").end)
    with world.app(Clock(parse_utc(NOW))) as app:
        assert audit(app.engine, app.fetcher.sync(), repair=True).repaired == 1
    filled(world, FEBRUARY)
    state, reason = notes(world)[name]
    assert state == "read"
    assert (reason or "").startswith("when it was asked for again")
    with world.app(Clock(parse_utc(NOW))) as app:
        files, [found] = republished(app.archive, app.engine, app.fetcher.sync())
    assert (files, found.kind, found.message.startswith(name)) == (6, REPUBLISHED, True)


def test_an_archive_that_cannot_be_asked_about_its_files_is_told(world: World) -> None:
    """Not knowing is not the same as being well."""
    filled(world, FEBRUARY)
    world.sandbox.configure(archive={"down": ["always"]})
    with world.app(Clock(parse_utc(NOW))) as app:
        files, [found] = republished(app.archive, app.engine, app.fetcher.sync())
    assert (files, found.kind) == (1, NOT_ASKED)


def test_reset_connections_are_tried_again(world: World) -> None:
    """A network that hiccups costs no other route."""
    world.sandbox.script("reset", count=2, path="/data/*")
    filled(world, FEBRUARY)
    assert by_route(world) == {"archive": 28 * 1440}


@pytest.mark.parametrize("has_threads", [True, False])
def test_what_reads_files_is_loaded_beside_the_first(
    world: World, monkeypatch: pytest.MonkeyPatch, has_threads: bool
) -> None:
    """Once, by a thread; where there is none to be had the first file loads it."""
    loaded: list[str] = []

    def start(timer: Timer) -> None:
        loaded.append(timer.name)
        if not has_threads:
            raise RuntimeError("can't start new thread")
        timer.function()

    monkeypatch.setattr("fetcher.archive.Timer.start", start)
    monkeypatch.setattr("fetcher.archive.warm_up", lambda: loaded.append("pyarrow"))
    filled(world, FEBRUARY)
    assert loaded == (["warm-up", "pyarrow"] if has_threads else ["warm-up"])
    assert by_route(world) == {"archive": 28 * 1440}


def test_jobs_are_cut_where_files_are(world: World) -> None:
    """A month is one job, what comes by pages at most twenty pages."""
    filled(world)
    spans = world.query("SELECT start_ms, end_ms FROM jobs")
    assert sum(end - start > 20_000 * MINUTE for start, end in spans) == 3
    assert max(end - start for start, end in spans) == 31 * DAY


def test_doctor_asks_the_archive_too(world: World) -> None:
    """Well where it answers, with or without the file; not where nobody is there, which harms no run."""
    with world.app(Clock(parse_utc(NOW))) as app:
        [well] = archive_checks(app)
    assert well.ok
    assert well.message.endswith("ms")
    world.sandbox.configure(archive={"faults": {"missing": ["*"]}})
    with world.app(Clock(parse_utc(NOW))) as app:
        [elsewhere] = archive_checks(app)
    assert elsewhere.ok
    assert "without BTCUSDT-1m-" in elsewhere.message
    assert "is archive_url right?" in elsewhere.message
    world.sandbox.configure(archive={"down": ["always"]})
    with world.app(Clock(parse_utc(NOW))) as app:
        [away] = archive_checks(app)
    assert not away.ok
    assert "runs take the API instead" in away.message
