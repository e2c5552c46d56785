"""What the files of Binance's archive are called, which candles each holds, and when it is published.

Source: binance-public-data `README.md` and `python/enums.py`; the hour of publication is from objects seen in 2026.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from msgspec import Struct

from fetcher.model import DAY, SECOND, TIMEFRAMES, Timeframe, Window

PUBLISHED_AT = 27_000_000
"""07:30 UTC: of the next day for a day's file, of the first Monday after it for a month's."""
CHECKSUM = ".CHECKSUM"
CHECKSUM_EARLIER = SECOND  # it is written before its zip, so that there can be one without the other

_MICROS_FROM = 1_735_689_600_000  # files of 2025-01-01 and later tell their times in µs
_MONTHS, _WEEKS = Timeframe("1M").grid(), Timeframe("1w").grid()
_INTERVALS = {name: name for name in TIMEFRAMES if name != "1M"} | {"1mo": "1M"}  # file systems may ignore case
_MONTHLY_ALONE = {"3d", "1w", "1M"}
_PATH = re.compile(
    r"/data/spot/(?P<period>monthly|daily)/klines/(?P<symbol>[^/]+)/(?P<interval>[^/]+)/"
    r"(?P<stem>(?P=symbol)-(?P=interval)-(?P<date>[12][0-9]{3}-[0-9]{2}(-[0-9]{2})?))\.zip(?P<checksum>\.CHECKSUM)?"
)


class Lateness(Struct, frozen=True):
    """How much later (ms) than usual files of days and of months are published; earlier where negative."""

    daily_ms: int = 0
    monthly_ms: int = 0


class FileName(Struct, frozen=True):
    """One zip of the archive by the name it has without `.zip`: candles of a symbol that open within the period."""

    stem: str
    symbol: str
    timeframe: Timeframe
    period: Window
    monthly: bool

    @property
    def zip(self) -> str:
        """The name of the zip alone."""
        return f"{self.stem}.zip"

    @property
    def micros(self) -> bool:
        """Whether its times are in µs, which the period decides and no single candle."""
        return self.period.start >= _MICROS_FROM

    def published_ms(self, late: Lateness) -> int:
        """When the zip appears, in ms UTC."""
        if self.monthly:
            return _WEEKS.ceil(self.period.end) + PUBLISHED_AT + late.monthly_ms
        return self.period.end + PUBLISHED_AT + late.daily_ms


def read_path(path: str) -> tuple[FileName, bool] | None:
    """The file a path names, and whether its CHECKSUM is meant; None where no such file can ever be."""
    match = _PATH.fullmatch(path)
    if match is None or match["interval"] not in _INTERVALS:
        return None
    timeframe, monthly = Timeframe(_INTERVALS[match["interval"]]), match["period"] == "monthly"
    if monthly == (match[6] is not None) or (not monthly and timeframe.name in _MONTHLY_ALONE):
        return None
    try:
        day = datetime.strptime(match["date"] + "-01" * monthly, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    start = int(day.timestamp()) * 1000
    period = Window(start, _MONTHS.next(start) if monthly else start + DAY)
    return FileName(match["stem"], match["symbol"], timeframe, period, monthly), match["checksum"] is not None
