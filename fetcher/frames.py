"""Stored candles as pandas has them: `read_candles`, and the frame that a part of a range becomes."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from db.engine import reading
from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.config import found_config, load
from fetcher.errors import ConfigError
from fetcher.model import LAST_MS, UNKNOWN_COUNT
from fetcher.ranges import asked, stored
from fetcher.reading import CandleReader, opened, source_names, stored_series
from fetcher.wording import counted, few

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from fetcher.ranges import Asked
    from fetcher.reading import Part

    Moment = str | date | datetime | int | None

_SHOWN = 3  # windows in a warning


class MissingCandles(UserWarning):
    """A range was read that is not complete; the message says what is missing."""


def read_candles(
    symbol: str,
    timeframe: str,
    *,
    start: Moment = None,
    end: Moment = None,
    config: str | os.PathLike[str] | None = None,
    database_url: str | None = None,
    fill: bool = False,
    resample: str | None = None,
) -> pd.DataFrame:
    """The stored candles of a series, indexed by `open_time` (UTC), ascending; the database is only read.

    `start` (inclusive; default: the series' first slot) and `end` (exclusive; default: its last proven close) are
    texts, dates (UTC unless they have a zone) or ms. The database is `database_url`, else that of `config`, else that
    of the configuration which the command line would take. `resample` adds the candles up to coarser ones (`1h`);
    `fill` puts a row, marked in the column `filled`, where there was no trade. docs/export.md tells the columns.

    What is missing is never filled: it is told by a MissingCandles warning, and counted in `attrs["missing"]`. Raises
    ConfigError or DatabaseProblem, with one sentence.
    """
    first, last = _ms("start", start), _ms("end", end)
    with opened(_database(config, database_url)) as engine, reading(engine) as conn:
        every = stored_series(conn)
        question = asked(
            every, stored(every, symbol, timeframe), first, last, Clock.from_environment().now_ms(),
            resample=resample, fill=fill,
        )  # fmt: skip
        reader = CandleReader(conn, question)
        found = frame_of(list(reader.parts()), question, source_names(conn))
    missing = sum(question.series.grid.count(window) for window in reader.missing)
    found.attrs = {"symbol": question.series.symbol, "timeframe": question.timeframe.name, "missing": missing}
    if missing:
        spans = [f"{format_utc(window.start)} to {format_utc(window.end)}" for window in reader.missing]
        verb = "is" if missing == 1 else "are"
        told = f"{counted(missing, 'candle')} of {question.series} {verb} missing: {few(spans, _SHOWN)}"
        warnings.warn(f"{told}; `python -m fetcher gaps` tells why", MissingCandles, stacklevel=2)
    return found


def frame_of(parts: Sequence[Part], question: Asked, names: Mapping[int, str]) -> pd.DataFrame:
    """The rows of some parts as a frame: every stored column, unknown as NaN or NA; `names` are the sources'."""
    import pandas as pd

    def column(name: str) -> np.ndarray[Any, Any]:
        return np.concatenate([part.rows[name] for part in parts])

    trades, times = column("trades"), column("open_time").astype("datetime64[ms]")
    ids = np.array(sorted(names), dtype=np.int64)
    owners = column("source_id")
    places = np.searchsorted(ids, owners)
    columns: dict[str, Any] = {
        name: column(name) for name in ("open", "high", "low", "close", "volume", "quote_volume")
    }
    columns["trades"] = pd.arrays.IntegerArray(trades, trades == UNKNOWN_COUNT)
    columns |= {name: column(name) for name in ("taker_base", "taker_quote")}
    known = np.where(owners == ids[np.minimum(places, len(ids) - 1)], places, -1)
    columns["source"] = pd.Categorical.from_codes(known, [names[number] for number in ids.tolist()])
    columns["flags"] = column("flags")
    if question.is_resampled:
        columns["candles"] = np.concatenate([part.made_of for part in parts]).astype(np.int32)
    if question.fill:
        columns["filled"] = np.concatenate([part.filled for part in parts])
    index = pd.DatetimeIndex(times, name="open_time").tz_localize("UTC")
    return pd.DataFrame(columns, index=index, copy=False)


def _database(config: str | os.PathLike[str] | None, database_url: str | None) -> str:
    """Where to read from."""
    if database_url is not None:
        return database_url
    return load(Path(config) if config is not None else found_config()).database_url


def _ms(name: str, moment: Moment) -> int | None:
    """A moment of the caller's as ms UTC; numbers that no calendar has (of ns, mostly) are none."""
    if moment is None:
        return None
    try:
        if isinstance(moment, datetime):  # a pandas Timestamp is one
            ms = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
        elif isinstance(moment, (str, date)):
            ms = parse_utc(str(moment))
        else:
            format_utc(ms := int(moment))
        return min(ms, LAST_MS)
    except (ValueError, TypeError, OverflowError, OSError):
        raise ConfigError(
            f"{name} {moment!r} is no date; write it like '2024-01-01' or '2024-01-01T12:00:00Z' (UTC)"
        ) from None
