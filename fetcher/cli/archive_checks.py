"""What `doctor` finds out of archives, live: is each way in there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.app import open_gates
from fetcher.attempts import Effort
from fetcher.cli.checks import Check
from fetcher.cli.live_gate import LiveGate
from fetcher.clients.binance_archive import file_name
from fetcher.clients.http import HttpRecord
from fetcher.errors import NotPublished, SourceError
from fetcher.model import DAY, FixedGrid, Timeframe
from fetcher.owners import own_name
from fetcher.periods import DAILY, Period

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetcher.app import App
    from fetcher.archive import Archive
    from fetcher.clients.base import Answer, Endpoint

_USUAL = "BTC/USDT"
_USUAL_TIMEFRAME = Timeframe("1m")


def archive_checks(app: App) -> Iterator[Check]:
    """One small question to each way in: for the checksum of a day's file that has been there for a day."""
    for source, archive in app.archive.archives.items():
        wanted = (series.symbol for series in app.config.series() if source in series.sources)
        for endpoint in archive.client.endpoints:
            yield _check(app, archive, endpoint, next(wanted, _USUAL))


def _check(app: App, archive: Archive, endpoint: Endpoint, symbol: str) -> Check:
    day = Period(FixedGrid(DAY).floor(archive.line.server.guess_ms()) - 2 * DAY, DAILY)
    market_id = archive.client.market_id(symbol)

    def send(way_in: Endpoint) -> Answer[str]:
        return archive.client.checksum(way_in, market_id, _USUAL_TIMEFRAME, day)

    gates = open_gates(LiveGate, archive.client, [endpoint], app.engine, app.clock, own_name())
    try:
        record: object = app.router.ask(archive.line.behind(gates), 1, "archive checksum", send, Effort(tries=1)).record
        found = ""
    except NotPublished as error:
        record = error.record
        found = f", without {file_name(market_id, _USUAL_TIMEFRAME, day)}: is archive_url right?"
    except SourceError as error:
        why = str(error).removeprefix(endpoint.key).lstrip()
        return Check(endpoint.key, ok=False, message=f"{why}; runs take the API instead (archive_url: null says so)")
    seconds = record.seconds if isinstance(record, HttpRecord) else 0.0
    return Check(endpoint.key, ok=True, message=f"answers in {seconds * 1000:.0f} ms{found}")
