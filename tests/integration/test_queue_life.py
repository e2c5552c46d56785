"""The queue's life after failures: nothing is hidden, nothing is asked in a circle, nothing grows for ever."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from db import endpoints, jobs
from db.engine import writing
from db.errors import DatabaseProblem
from fetcher.audit import audit
from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.model import DAY, HOUR, MINUTE, Timeframe, Window
from fetcher.outcome import Outcome
from fetcher.sandbox.control import spawn_sandbox
from fetcher.sandbox.generated import GeneratedMarket
from tests.integration.world import market, open_world, same_candles, window

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from sqlalchemy import Connection

    from fetcher.model import Rows
    from fetcher.page import Stored
    from tests.integration.world import World

pytestmark = pytest.mark.usefixtures("database")

NOW = parse_utc("2024-03-10T00:00:30Z")


def at(world: World, now: int) -> Clock:
    """The exchange's and the program's clock at the same moment."""
    world.sandbox.configure(clock=format_utc(now))
    return Clock(now)


def true(timeframe: str, asked: Window, now: int, symbol: str = "BTCUSDT") -> Rows:
    """What the exchange really has."""
    return GeneratedMarket().oracle(symbol, Timeframe(timeframe), asked, now)


BROKEN = parse_utc("2024-03-05T07:00:00Z")


def record_a_broken_candle(folder: Path) -> str:
    """Recordings of an exchange that has one candle, at BROKEN, whose high lies below its low; their folder."""
    folder.mkdir()
    with gzip.open(folder / "BTCUSDT-1h.csv.gz", "wt", encoding="ascii") as recording:
        recording.write(
            "open_time_ms,open,high,low,close,volume,close_time_ms,quote_volume,trades,taker_base,taker_quote\n"
        )
        for time in range(parse_utc("2024-03-01"), NOW + DAY, HOUR):
            high = 90 if time == BROKEN else 110
            recording.write(f"{time},100,{high},95,100,5,{time + HOUR - 1},500,7,2,200\n")
    return str(folder)


def test_a_candle_that_is_always_refused_costs_little(tmp_path: Path) -> None:
    """One broken candle neither stalls the runs nor grows with the tail; the reason names the check."""
    with open_world(tmp_path, "--clock", format_utc(NOW), "--data", record_a_broken_candle(tmp_path / "data")) as world:
        world.configure(market("BTC/USDT", "1h", "2024-03-01"))
        for hour in range(4):
            result = world.run(5, clock=at(world, NOW + hour * HOUR))
            assert (result.missing, result.timed_out) == (1, False)
        assert "ohlc_order" in str(result.series[0].last_error)
        waiting = world.query("SELECT start_ms, end_ms, status FROM jobs WHERE status <> 'done'")
        assert waiting == [(BROKEN, BROKEN + HOUR, "queued")]
        assert len(world.klines()) <= 40


def test_a_job_is_ended_by_the_commit_of_its_last_page_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second word of it would wait behind the next commit, and everything that follows with it."""
    ended: list[int] = []
    finish = jobs.finish

    def counted(connection: Connection, job_id: int, now_ms: int) -> None:
        ended.append(job_id)
        finish(connection, job_id, now_ms)

    monkeypatch.setattr(jobs, "finish", counted)
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world:
        world.configure(market("BTC/USDT", "1m", "2024-01-01"))
        assert world.run(clock=at(world, NOW)).outcome is Outcome.OK
        assert world.jobs() == {"done": len(ended)}
    assert len(ended) > 4
    assert len(set(ended)) == len(ended)


def test_what_is_deleted_beside_a_waiting_job_is_fetched(tmp_path: Path) -> None:
    """A job that waits for one candle does not hide what is gone elsewhere in the window that it once had."""
    with open_world(tmp_path, "--clock", format_utc(NOW), "--data", record_a_broken_candle(tmp_path / "data")) as world:
        world.configure(market("BTC/USDT", "1h", "2024-03-01"))
        world.run(5, clock=at(world, NOW))
        gone = parse_utc("2024-03-03T00:00:00Z")
        world.change("DELETE FROM candles WHERE open_time >= :a AND open_time < :b", a=gone, b=gone + 10 * HOUR)
        with world.app(Clock(NOW)) as app:
            audit(app.engine, app.fetcher.sync(), repair=True)
        world.sandbox.clear_log()
        assert world.run(5, clock=at(world, NOW + MINUTE)).missing == 1
        assert any((each.start, each.end) == (gone, gone + 10 * HOUR) for each in world.klines())


def test_an_unknown_market_is_asked_again_and_found_once_listed(tmp_path: Path) -> None:
    """A market configured before its listing waits without a crowd of jobs, and is complete once it is there."""
    with open_world(tmp_path, "--clock", format_utc(NOW), "--listed", "NEWUSDT=2024-03-12") as world:
        world.configure(market("NEW/USDT", "1h", "2024-03-01"))
        for step in range(5):
            assert world.run(5, clock=at(world, NOW + step * MINUTE)).exit_code == 1
        assert world.query("SELECT count(*) FROM jobs") == [(1,)]
        late = NOW + 5 * DAY
        world.run(5, clock=at(world, late))
        assert world.run(5, clock=at(world, late + HOUR)).outcome is Outcome.OK
        assert same_candles(
            world.rows("NEW/USDT", "1h"), true("1h", window("2024-03-12", "2024-03-20"), late + HOUR, "NEWUSDT")
        )


def test_a_clock_that_was_ahead_during_an_outage_blocks_nothing(tmp_path: Path) -> None:
    """Rests and delays written by a clock months ahead are void once it is right again."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world:
        world.configure(market("BTC/USDT", "1h", "2024-03-01"))
        world.sandbox.configure(faults={"reset": 1.0}, paths=["/api/v3/klines", "/api/v3/time"])
        assert world.run(20, clock=Clock(NOW + 90 * DAY)).exit_code == 1
        world.sandbox.configure(faults={})
        assert world.run(20, clock=Clock(NOW)).outcome is Outcome.OK


def test_a_delisted_market_is_complete(tmp_path: Path) -> None:
    """Hours after the last candle of a market that ended nothing is missing, and little is asked."""
    with open_world(tmp_path, "--clock", format_utc(NOW), "--delisted", "OLDUSDT=2024-03-08") as world:
        world.configure(market("OLD/USDT", "1h", "2024-03-01"))
        world.run(5, clock=at(world, NOW))
        codes = [world.run(5, clock=at(world, NOW + hour * HOUR)).exit_code for hour in range(1, 8)]
        assert codes == [0] * 7


def test_two_backfills_share_the_work(tmp_path: Path) -> None:
    """Two processes backfilling the same range at once fetch each page once."""
    with open_world(tmp_path, "--clock", format_utc(NOW), "--latency", "20ms") as world:
        world.configure(market("BTC/USDT", "1m", "2024-01-01"))
        asked = window("2024-02-01", "2024-03-01")
        with world.app(Clock(NOW)) as app:
            app.fetcher.sync()
        children: list[subprocess.Popen[bytes]] = [world.child(asked, format_utc(NOW)) for _ in range(2)]
        for child in children:
            child.wait(60)
        assert same_candles(world.rows("BTC/USDT", "1m"), true("1m", asked, NOW))
        pages = [(each.start, each.end) for each in world.klines() if each.start]
        assert len(pages) == len(set(pages))


def test_backfill_of_markets_that_start_at_different_times(tmp_path: Path) -> None:
    """Each series is judged by its own window."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world:
        world.configure(market("BTC/USDT", "1h", "2024-03-01"), market("ETH/USDT", "1h", "2024-03-08"))
        with world.app(Clock(NOW)) as app:
            every = app.fetcher.sync()
            result = app.fetcher.backfill([(series, Window(series.wanted_start_ms, NOW)) for series in every])
        assert (result.outcome, result.missing) == (Outcome.OK, 0)


def test_a_resting_source_costs_no_queue_traffic(tmp_path: Path) -> None:
    """While a source rests its jobs stay where they are: a run ends at once."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world:
        world.configure(market("BTC/USDT", "1m", "2018-01-01"))
        world.sandbox.script("status:418", 1)
        world.sandbox.configure(retry_after=900)
        world.run(10, clock=Clock(NOW))
        world.facts.clear()
        world.run(10, clock=Clock(NOW))
        assert [type(fact).__name__ for fact in world.facts] == ["RunBegan", "Planned", "RunEnded"]


def test_old_jobs_and_runs_are_forgotten(tmp_path: Path) -> None:
    """What is done is kept for a week in the queue and for three months in the record of runs."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world:
        world.configure(market("BTC/USDT", "1d", "2024-03-01"))
        world.run(5, clock=at(world, NOW))
        world.run(5, clock=at(world, NOW + 100 * DAY))
        assert world.query("SELECT min(created_ms) >= :then FROM jobs", then=NOW + 99 * DAY) == [(1,)]
        assert world.query("SELECT count(*) FROM runs") == [(1,)]


def test_three_day_candles_are_complete_after_one_run(tmp_path: Path) -> None:
    """A grid that starts at the listing is learnt on the way, and nothing of it is left for later."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world:
        world.configure(market("BTC/USDT ETH/USDT", "3d", "2023-01-01"))
        assert world.run(20, clock=Clock(NOW)).outcome is Outcome.OK


def test_another_host_is_asked_at_once(tmp_path: Path) -> None:
    """Jobs do not keep the rest of a host that is no longer configured, nor one that was lifted."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world, spawn_sandbox("--clock", format_utc(NOW)) as shut:
        shut.configure(faults={"status:451": 1.0})
        world.configure(market("BTC/USDT", "1h", "2024-03-01"), url=shut.url)
        assert world.run(10, clock=Clock(NOW)).exit_code == 1
        world.configure(market("BTC/USDT", "1h", "2024-03-01"))
        assert world.run(10, clock=Clock(NOW)).outcome is Outcome.OK


def test_a_rest_that_is_lifted_is_over(tmp_path: Path) -> None:
    """After `sources reset` the next run asks."""
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world:
        world.configure(market("BTC/USDT", "1h", "2024-03-01"))
        world.sandbox.script("status:403", 1)
        world.sandbox.configure(retry_after=0)
        assert world.run(10, clock=Clock(NOW)).exit_code == 1
        with world.app(Clock(NOW)) as app, writing(app.engine) as connection:
            endpoints.reset(connection)
        assert world.run(10, clock=Clock(NOW)).outcome is Outcome.OK


@pytest.mark.timeout(200)
def test_pages_that_could_not_be_kept_are_not_waited_for_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that works again and again (a full disk is full for a while) counts them as under way only once."""

    def full(*_: object) -> Stored:
        raise DatabaseProblem("the disk is full")

    with open_world(tmp_path) as world:
        world.configure(market("BTC/USDT ETH/USDT", "1d", "2024-02-01"), workers=1)
        with world.app() as app:
            with monkeypatch.context() as patch:
                patch.setattr("fetcher.storage.Storage.commit", full)
                for _ in range(2):
                    with pytest.raises(DatabaseProblem, match="the disk is full"):
                        app.fetcher.run(50.0)
                    app.stop.clear()
            assert app.fetcher.run(50.0).outcome is Outcome.OK
