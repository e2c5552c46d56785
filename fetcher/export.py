"""Stored candles as a file for other programs (CSV, Parquet, Feather), whole or not at all, in bounded memory."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct

from fetcher.errors import ExportFailed, Stopped
from fetcher.frames import frame_of
from fetcher.owners import is_running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from threading import Event

    import pandas as pd

    from fetcher.ranges import Asked
    from fetcher.reading import CandleReader, Part

FREQTRADE_COLUMNS = ("open_time", "open", "high", "low", "close", "volume")
LAYOUTS = {"pandas": ("csv", "parquet", "feather"), "freqtrade": ("parquet", "feather")}
"""Each layout and the formats that it has; freqtrade reads no CSV."""


class Written(Struct, frozen=True):
    """A file that was written: `rows` in it, `filled` of them made up, and how many `bytes` it has."""

    rows: int
    filled: int
    bytes: int


def file_name(question: Asked, ending: str) -> str:
    """What a file is called where only its folder was: as freqtrade looks for it (`BTC_USDT-1m.feather`, `1Mo`)."""
    symbol = "".join("_" if c in "/ .@$+:" else c for c in question.series.symbol)
    return f"{symbol}-{question.timeframe.name.replace('M', 'Mo')}.{ending}"


def columns_of(layout: str) -> tuple[str, ...] | None:
    """The stored columns that a layout needs; None: all."""
    return FREQTRADE_COLUMNS if layout == "freqtrade" else None


def write_candles(
    reader: CandleReader, names: Mapping[int, str], path: Path, form: str, layout: str,
    heard: Callable[[Part], None], stop: Event,
) -> Written:  # fmt: skip
    """Write what the reader reads to `path`, replacing what is there; `heard` is told each part once it is written.

    `form` is one of FORMATS, `names` are the sources'. Raises ExportFailed where the file cannot be written, Stopped
    where `stop` was set meanwhile; the path is as before then.
    """
    import pyarrow as pa

    make = _freqtrade if layout == "freqtrade" else frame_of
    rows = filled = 0
    with _replacing(path) as file:
        writer, schema = None, None
        for part in reader.parts():
            frame = make([part], reader.asked, names)
            if writer is None or schema is None:
                schema = _schema(frame)
                writer = FORMATS[form](file, schema)
            writer.write_table(pa.Table.from_pandas(frame, schema=schema))
            rows += len(part.rows)
            filled += int(part.filled.sum())
            heard(part)
            if stop.is_set():
                raise Stopped(f"stopped before {path} was whole; it is as it was")
        if writer is not None:
            writer.close()
    return Written(rows, filled, path.stat().st_size)


def _freqtrade(parts: list[Part], _question: Asked, _names: Mapping[int, str]) -> pd.DataFrame:
    """The columns that freqtrade reads, in its order and with its names."""
    import pandas as pd

    [part] = parts
    times = pd.DatetimeIndex(part.rows["open_time"].astype("datetime64[ms]")).tz_localize("UTC")
    return pd.DataFrame({"date": times} | {name: part.rows[name] for name in FREQTRADE_COLUMNS[1:]})


def _schema(frame: pd.DataFrame) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Arrow's schema of a frame, the index first."""
    import pyarrow as pa

    schema = pa.Schema.from_pandas(frame, preserve_index=frame.index.name is not None)
    if frame.index.name is None:
        return schema
    place = schema.get_field_index(frame.index.name)
    return pa.schema(
        [schema.field(place), *(field for field in schema if field.name != frame.index.name)], schema.metadata
    )


class _Csv:
    """CSV: times to the second with their zone, nothing for what is unknown."""

    def __init__(self, file: BinaryIO, schema: Any) -> None:  # noqa: ANN401 - pyarrow has no types
        import pyarrow as pa
        from pyarrow import csv

        def plain(kind: Any) -> Any:  # noqa: ANN401 - the same
            if pa.types.is_timestamp(kind):
                return pa.timestamp("s", kind.tz)
            return pa.string() if pa.types.is_dictionary(kind) else kind

        self._schema = pa.schema([field.with_type(plain(field.type)) for field in schema])
        self._writer = csv.CSVWriter(file, self._schema, write_options=csv.WriteOptions(quoting_style="needed"))

    def write_table(self, table: Any) -> None:  # noqa: ANN401 - the same
        """Write a table's rows."""
        self._writer.write_table(table.cast(self._schema))

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def _parquet(file: BinaryIO, schema: Any) -> Any:  # noqa: ANN401 - the same
    from pyarrow import parquet

    class Writer(parquet.ParquetWriter):  # type: ignore[misc] # pyarrow has no types
        def __del__(self) -> None:
            """Leave what was given up: theirs writes its end into a file that is closed, and tells that on stderr."""

    return Writer(file, schema, compression="zstd")


def _feather(file: BinaryIO, schema: Any) -> Any:  # noqa: ANN401 - the same
    from pyarrow import ipc

    return ipc.new_file(file, schema, options=ipc.IpcWriteOptions(compression="lz4"))


FORMATS: Mapping[str, Callable[[BinaryIO, Any], Any]] = {"csv": _Csv, "parquet": _parquet, "feather": _feather}
"""Each format, which is also the ending of its files, and what makes its writer of a file and a schema."""


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well; else nothing is left of it.

    Its name holds our pid, so that two exports of one file do not write into each other's; the last one's stays.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ExportFailed(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink()


def _clear(path: Path) -> None:
    """Remove what exports of this file left that were killed."""
    for left in path.parent.iterdir():
        pid = left.name.removeprefix(f"{path.name}.").removesuffix(".part")
        if left.name == f"{path.name}.{pid}.part" and pid.isdecimal() and not is_running(int(pid)):
            left.unlink(missing_ok=True)
