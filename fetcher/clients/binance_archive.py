"""Binance's public archive: one zip a month or a day for each market and timeframe, each with its SHA-256 beside it.

Facts: github binance/binance-public-data README.md and issues, as of 2026-11. Files are outside the request weight; a
file that is not there (404) is not published yet, or the market was not listed.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn, Self

from fetcher.clients.archive_csv import parse_csv
from fetcher.clients.base import BaseAPIClient, Capabilities, Question, endpoints_of
from fetcher.clients.binance_errors import classify
from fetcher.clients.http import HttpSession
from fetcher.clients.unzip import unzip
from fetcher.clients.ways import ways
from fetcher.clock import ServerClock, format_utc
from fetcher.errors import BadPayload, CannotServe, NotPublished
from fetcher.model import TIMEFRAMES
from fetcher.periods import DAILY, MONTHLY
from fetcher.wire import excerpt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fetcher.clients.base import Answer, CandleRequest, Endpoint, Market
    from fetcher.clients.http import HttpRecord
    from fetcher.clock import Clock
    from fetcher.config import BinanceSource
    from fetcher.errors import SourceError
    from fetcher.model import Timeframe
    from fetcher.periods import Period
    from fetcher.wire import WirePage

LONGEST_CONNECT = 5.0  # seconds
NO_DAILY = frozenset({"3d", "1w", "1M"})
_CHECKSUM = re.compile(r"([0-9a-f]{64})\s+\*?(\S+)\s*", re.ASCII)
_LABELS = {MONTHLY: slice(0, 7), DAILY: slice(0, 10)}  # of 2024-01-15T00:00:00Z


def file_name(market_id: str, timeframe: Timeframe, period: Period) -> str:
    """The name of a zip: `BTCUSDT-1m-2024-01.zip`, `BTCUSDT-1mo-2024-01.zip`, `BTCUSDT-1m-2024-01-15.zip`."""
    return f"{market_id}-{_interval(timeframe)}-{format_utc(period.start)[_LABELS[period.kind]]}.zip"


def file_path(market_id: str, timeframe: Timeframe, period: Period) -> str:
    """The path of a zip below the archive's address."""
    folder = f"/data/spot/{period.kind}/klines/{market_id}/{_interval(timeframe)}"
    return f"{folder}/{file_name(market_id, timeframe, period)}"


def _interval(timeframe: Timeframe) -> str:
    return "1mo" if timeframe.name == "1M" else timeframe.name  # 1M would be 1m on file systems that ignore case


def parse_zip(body: bytes, name: str) -> WirePage:
    """Read the candles of a zip, which holds one CSV of the same name; BadPayload where it is no such zip.

    Columns as `parse_csv` gives them; memory for one piece of the CSV, not all of it.
    """
    return parse_csv(unzip(body, f"{name.removesuffix('.zip')}.csv"))


def checksum_in(text: str, name: str) -> str | None:
    """The SHA-256 (64 hexadecimal digits) that the text of a CHECKSUM file names for the file `name`; None for none."""
    found = _CHECKSUM.fullmatch(text)
    return found[1] if found is not None and found[2] == name else None


def modified_ms(record: HttpRecord) -> int | None:
    """When a file was published, by its Last-Modified header: ms UTC; None where it does not say."""
    return ServerClock.dated_ms(record.headers.get("Last-Modified"))


class BinanceArchiveClient(BaseAPIClient):
    """The archive at one address, or anything that serves its paths (mirror, sandbox); the source is `binance` still.

    Times out after `timeout` = (connect, read) seconds; each of `proxies` (None: without one) is a way in.
    """

    route = "archive"

    def __init__(
        self, source: str, url: str, clock: Clock, timeout: tuple[float, float] = (5.0, 15.0),
        proxies: Sequence[str | None] = (None,),
    ) -> None:  # fmt: skip
        self.source = source
        self.capabilities = Capabilities(
            timeframes=frozenset(TIMEFRAMES),
            rows_per_request=44_640,
            candle_cost=1,
            time_cost=0,
            symbols_cost=0,
            weight_per_minute=0,  # no limit is documented, none is counted
        )
        address = url.rstrip("/")
        self.endpoints = tuple(endpoints_of(f"{source} archive", {address: address}, ways(proxies)))
        self._clock = clock
        self.timeout = timeout
        self._http = HttpSession(clock, timeout)

    @classmethod
    def configured(cls, source: str, settings: BinanceSource, clock: Clock) -> Self:
        """Make the client that a section of `sources:` asks for, where it has an `archive_url`."""
        timeout = (min(settings.timeout, LONGEST_CONNECT), settings.timeout)
        return cls(source, settings.archive_url or "", clock, timeout, settings.proxy)

    def zip(self, endpoint: Endpoint, market_id: str, timeframe: Timeframe, period: Period) -> Answer[bytes]:
        """A file as it came; NotPublished where there is none, BadPayload where it is no zip."""
        path = file_path(market_id, timeframe, period)
        return self._ask(endpoint, Question(path, self._as_zip))

    def checksum(self, endpoint: Endpoint, market_id: str, timeframe: Timeframe, period: Period) -> Answer[str]:
        """The text beside a zip that names its SHA-256 (`checksum_in`); NotPublished where there is none."""
        path = f"{file_path(market_id, timeframe, period)}.CHECKSUM"
        return self._ask(endpoint, Question(path, lambda body: body.decode("ascii", "backslashreplace")))

    def used_weight(self, record: HttpRecord) -> int | None:
        """It counts none."""
        del record
        return None

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def _as_zip(self, body: bytes) -> bytes:
        if body[:2] != b"PK":
            raise BadPayload(f"{self.source}'s archive sent no zip but '{excerpt(body, 80)}'")
        return body

    def _candles(self, request: CandleRequest) -> NoReturn:
        raise CannotServe(f"{self.source}'s archive has files, not pages of {request.market_id}")

    def _server_time(self) -> NoReturn:
        raise CannotServe(f"{self.source}'s archive tells no time")

    def _symbols(self) -> Question[list[Market]]:
        raise CannotServe(f"{self.source}'s archive lists no markets")

    def _send(self, endpoint: Endpoint, path: str, params: Mapping[str, str | int]) -> HttpRecord:
        return self._http.get(endpoint.base_url, path, params, endpoint.way.proxy)

    def _classify(self, record: HttpRecord) -> SourceError | None:
        if record.status == HTTPStatus.NOT_FOUND or (
            record.status == HTTPStatus.FORBIDDEN and b"<Code>" in record.body
        ):
            return NotPublished(f"{self.source}'s archive has no {record.url.rpartition('/')[2]}")  # S3 says either
        return classify(record, self._clock.now_ms(), f"{self.source}'s archive")
