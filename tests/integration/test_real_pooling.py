"""What PgBouncer does to its clients in transaction mode, done here by the pool: no session outlives a transaction."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from db import postgresql
from fetcher.audit import audit
from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.model import DAY, MINUTE, Timeframe, Window
from fetcher.sandbox.generated import GeneratedMarket
from tests.databases import ON_POSTGRESQL
from tests.integration.world import market, open_world, same_candles

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import URL, Engine

NOW = parse_utc("2024-03-10T00:00:20Z")
ASKED = Window(NOW - NOW % DAY - 6 * DAY, NOW - NOW % DAY)
LEFT_BEHIND = (
    "SELECT 'prepared statement ' || name FROM pg_prepared_statements "
    "UNION ALL SELECT 'lock ' || objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() "
    "UNION ALL SELECT 'listens to ' || c FROM pg_listening_channels() c "
    "UNION ALL SELECT 'cursor ' || name FROM pg_cursors "
    "UNION ALL SELECT 'set ' || name FROM pg_settings WHERE source = 'session' AND name <> 'client_encoding'"
)


@pytest.mark.usefixtures("database")
@ON_POSTGRESQL
def test_nothing_is_kept_in_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each transaction gets another session, in which all is forgotten; nothing was left in the one before."""
    left: set[str] = set()
    transactions = count()
    opened = postgresql.open_postgresql

    def forget(driver: Any, _record: object) -> None:
        driver.autocommit = True
        left.update(text for (text,) in driver.execute(LEFT_BEHIND))
        if next(transactions) % 2:  # else the temporary table is there already, from whoever had the session before
            driver.execute("DISCARD ALL")
        driver.autocommit = False

    def pooled(url: URL) -> Engine:
        engine = opened(url)
        event.listen(engine, "checkin", forget)
        return engine

    monkeypatch.setattr(postgresql, "open_postgresql", pooled)
    with open_world(tmp_path, "--clock", format_utc(NOW)) as world:
        world.configure(market("BTC/USDT ETH/USDT", "1m", format_utc(ASKED.start)), workers=4)
        assert world.backfill(ASKED, Clock(NOW)).exit_code == 0
        world.change("DELETE FROM candles WHERE open_time % 7 = 0")
        world.change("UPDATE candles SET close = close + 1, high = high + 1 WHERE open_time % 11 = 0")
        world.change("DELETE FROM coverage")
        assert world.run(clock=Clock(NOW)).exit_code == 0
        for symbol in ("BTC/USDT", "ETH/USDT"):
            true = GeneratedMarket().oracle(symbol.replace("/", ""), Timeframe("1m"), ASKED, NOW)
            stored = world.rows(symbol, "1m")
            assert same_candles(stored[stored["open_time"] < ASKED.end], true)
        with world.app(Clock(NOW + MINUTE)) as app:
            assert audit(app.engine, app.fetcher.sync(), repair=True).findings == ()
    assert left == set()
    assert next(transactions) > 50
