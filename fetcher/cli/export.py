"""`export`: stored candles as files for other programs; the database is only read.

JSON: `{"files": [{"file", "symbol", "timeframe", "from_ms", "to_ms", "rows", "filled", "bytes", "missing"}],
"gaps": as of the command gaps, with two more kinds of why: unwanted, lost}`; `missing` counts the slots of the stored
series, `timeframe` is the file's.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from db import coverage, jobs
from db.engine import reading
from fetcher.cli.choose import chosen, moment
from fetcher.cli.gaps import put_gaps
from fetcher.cli.missing import explained
from fetcher.cli.places import named
from fetcher.cli.show import put_json, put_table, utc
from fetcher.cli.signals import stopping
from fetcher.cli.working import display
from fetcher.clock import Stop
from fetcher.errors import ConfigError
from fetcher.events import PageStored, Planned
from fetcher.export import FORMATS, LAYOUTS, columns_of, file_name, write_candles
from fetcher.observe import logs
from fetcher.observe.progress import Progress
from fetcher.outcome import EXIT_INCOMPLETE, EXIT_OK
from fetcher.ranges import asked
from fetcher.reading import CandleReader, opened, source_names, stored_series
from fetcher.wording import few

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Engine

    from fetcher.cli.invocation import Invocation
    from fetcher.ranges import Asked
    from fetcher.reading import Part

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def export(  # noqa: PLR0913, PLR0917 (typer reads each option)
    ctx: typer.Context,
    out: Annotated[
        Path, typer.Option("--out", metavar="PATH", parser=named, help="The file; of several series, their folder.")
    ],
    symbol: Annotated[
        list[str] | None, typer.Option("--symbol", metavar="BASE/QUOTE", help="Of these markets; else all stored.")
    ] = None,
    timeframe: Annotated[
        list[str] | None, typer.Option("--timeframe", metavar="1m…1M", help="At these lengths; else all stored.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="First open time, UTC; else the series' first candle.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="Open times before this, UTC; else to the last close.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", metavar="|".join(FORMATS), help="Else as the ending of PATH says.")
    ] = None,
    layout: Annotated[
        str, typer.Option("--layout", metavar="|".join(LAYOUTS), help="Every column, or the six that freqtrade reads.")
    ] = "pandas",
    resample: Annotated[
        str | None, typer.Option("--resample", metavar="TIMEFRAME", help="Add the stored candles up to these.")
    ] = None,
    fill: Annotated[
        bool, typer.Option("--fill", help="A row, flagged, where there was no trade: at the last close, volume 0.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> int:
    """Write stored candles into files for other programs.

    What is missing is never filled: it is told, and the exit code is 1. A file gets its name when it is whole.

    Example: python -m fetcher export --symbol BTC/USDT --timeframe 1m --out btc.parquet
    """
    call: Invocation = ctx.obj
    first = None if start is None else moment("--from", start)
    last = None if end is None else moment("--to", end)
    _check_layout(layout, fill=fill)
    now = call.clock.now_ms()
    with opened(call.config.database_url) as engine:
        with reading(engine) as connection:
            every = stored_series(connection)
        series = chosen(every, symbol, timeframe, "stored")
        questions = [asked(every, each, first, last, now, resample=resample, fill=fill) for each in series]
        form = _format(form, out, layout, folder=_is_folder(out, questions))
        paths = _paths(out, questions, form, force=force)
        logs.set_up(call.config, call.clock, call.verbosity)
        stop = Stop(call.clock)
        with stopping(stop), _showing(call, questions) as heard:
            made = [
                _export(engine, question, path, form, layout, heard, stop)
                for question, path in zip(questions, paths, strict=True)
            ]
    return _put(call, [file for file, _ in made], [gap for _, gaps in made for gap in gaps])


def _export(
    engine: Engine, question: Asked, path: Path, form: str, layout: str, heard: Callable[[Asked, Part], None],
    stop: Stop,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:  # fmt: skip
    """Write one file: what is told of it, and what it lacks."""
    series, window = question.series, question.window
    with reading(engine) as connection:
        reader = CandleReader(connection, question, columns_of(layout))
        names = source_names(connection)
        written = write_candles(reader, names, path, form, layout, lambda part: heard(question, part), stop)
        covered = coverage.read(connection, series.id, window.start, window.end) if reader.missing else []
        waiting = [job for job in jobs.open_windows(connection) if job.series_id == series.id] if reader.missing else []
    gaps = explained(series, reader.missing, covered, waiting)
    return {
        "file": str(path),
        "symbol": series.symbol,
        "timeframe": question.timeframe.name,
        "from_ms": window.start,
        "to_ms": window.end,
        "rows": written.rows,
        "filled": written.filled,
        "bytes": written.bytes,
        "missing": sum(gap["missing"] for gap in gaps),
    }, gaps


def _put(call: Invocation, files: Sequence[dict[str, Any]], gaps: Sequence[dict[str, Any]]) -> int:
    """Tell what was written and what is missing; the exit code."""
    if call.as_json:
        put_json({"files": files, "gaps": gaps})
    elif call.verbosity >= 0 or gaps:
        rows = [
            (
                each["file"], utc(each["from_ms"]), utc(each["to_ms"]), each["rows"], each["filled"], each["missing"],
                f"{each['bytes'] / 1e6:,.1f}",
            )
            for each in files
        ]  # fmt: skip
        put_table(["file", "from", "to", "#rows", "#filled", "#missing", "#MB"], rows)
        if gaps:
            typer.echo()
            put_gaps(gaps)
    return EXIT_INCOMPLETE if gaps else EXIT_OK


@contextmanager
def _showing(call: Invocation, questions: Sequence[Asked]) -> Iterator[Callable[[Asked, Part], None]]:
    """Show progress while the block works, which tells of each part that was written."""
    if call.verbosity < 0:
        yield lambda _question, _part: None
        return
    left = Counter({str(each): each.grid.count(each.window) for each in questions})
    progress = Progress(call.clock, lambda: left, display(call.clock))
    progress(Planned(len(left), left.total()))

    def heard(question: Asked, part: Part) -> None:
        left[str(question)] -= question.grid.count(part.window)
        progress(PageStored(str(question), "", len(part.rows), 0, ()))

    try:
        yield heard
    finally:
        progress.close()


def _check_layout(layout: str, *, fill: bool) -> None:
    if layout not in LAYOUTS:
        raise ConfigError(f"--layout {layout!r} is none; one of {' '.join(LAYOUTS)}")
    if layout == "freqtrade" and fill:
        raise ConfigError(
            "--fill goes with --layout pandas: freqtrade's files cannot say what is filled, and it fills itself"
        )


def _is_folder(out: Path, questions: Sequence[Asked]) -> bool:
    return len(questions) > 1 or out.is_dir()


def _format(form: str | None, out: Path, layout: str, *, folder: bool) -> str:
    """The format, as told or as the file's ending says."""
    ending = out.suffix.removeprefix(".").lower()
    if form is None and (folder or ending not in FORMATS):
        raise ConfigError(f"--format is needed: one of {' '.join(FORMATS)}, or end --out with it (btc.parquet)")
    form = ending if form is None else form
    if form not in FORMATS:
        raise ConfigError(f"--format {form!r} is none; one of {' '.join(FORMATS)}")
    if form not in LAYOUTS[layout]:
        raise ConfigError(f"--format {form} is none of --layout {layout}; one of {' '.join(LAYOUTS[layout])}")
    if not folder and ending != form:
        raise ConfigError(f"--out {out} does not end with .{form}, as --format says")
    return form


def _paths(out: Path, questions: Sequence[Asked], form: str, *, force: bool) -> list[Path]:
    """Where each series goes; ConfigError where one cannot go there."""
    folder = _is_folder(out, questions)
    paths = [out / file_name(each, form) for each in questions] if folder else [out]
    for path, count in Counter(paths).items():
        if count > 1:
            raise ConfigError(
                f"{path} would be written {count} times, from several timeframes; choose one by --timeframe"
            )
    if odd := [str(path) for path in paths if path.exists() and not (path.is_file() or path.is_dir())]:
        raise ConfigError(f"--out {few(odd)} is no plain file, and would be replaced by one; name another")
    if (there := [str(path) for path in paths if os.path.lexists(path)]) and not force:
        raise ConfigError(f"{few(there)} exists already; --force replaces it")
    if blocked := [str(path) for path in paths if path.is_dir()]:
        raise ConfigError(f"--out {', '.join(blocked)} is a folder")
    place = out if folder else out.parent
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise ConfigError(f"--out {out} cannot be written: {place} is no folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {out} cannot be written: there is no right to write in {place.absolute()}")
    return paths
