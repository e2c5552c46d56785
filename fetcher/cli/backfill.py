"""`backfill`: fetch a date range of configured series, to the end; with `--plan`, what that would take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from db.engine import reading
from fetcher.cli.choose import chosen, moment
from fetcher.cli.plan import put_plan
from fetcher.cli.show import utc
from fetcher.cli.summary import put_result
from fetcher.cli.working import Troubles, unusable, working
from fetcher.errors import ConfigError
from fetcher.model import Series, Window
from fetcher.standing import configured_series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.app import App
    from fetcher.cli.invocation import Invocation

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def backfill(
    ctx: typer.Context,
    symbol: Annotated[
        list[str] | None, typer.Option("--symbol", metavar="BASE/QUOTE", help="Of these markets; else all configured.")
    ] = None,
    timeframe: Annotated[
        list[str] | None, typer.Option("--timeframe", metavar="1m…1M", help="At these lengths; else all configured.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="DATE", help="First open time, UTC; else each series' configured start."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="Open times before this, UTC; else all closed by now.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only tell requests, weight, bytes, rows and time; fetch nothing.")
    ] = False,
) -> int:
    """Fetch what is missing of a date range, to the end.

    There is no time budget, and a bare run may work beside it: nothing is fetched twice, and what that has begun is
    waited for. --symbol and --timeframe may be given several times.

    Example: python -m fetcher backfill --symbol BTC/USDT --timeframe 1m --from 2020-01-01 --to 2024-01-01 --plan
    """
    call: Invocation = ctx.obj
    first = None if start is None else moment("--from", start)
    last = None if end is None else moment("--to", end)
    chosen(_unsaved(call), symbol, timeframe)  # before the database is touched
    with call.app() as program:
        if plan:
            asked = _windows(_chosen_now(program, call, symbol, timeframe), first, last, call.clock.now_ms())
            put_plan(call, program, asked)
            return 0
        program.fetcher.sync()
        asked = _windows(_chosen_now(program, call, symbol, timeframe), first, last, call.clock.now_ms())
        by_name = {str(series): window for series, window in asked}
        troubles = Troubles()
        program.hooks.add(troubles)
        with working(call, program, by_name):
            result = program.fetcher.backfill(asked)
        return put_result(call, result, troubles.sentences(program, result), by_name, unusable(program))


def _unsaved(call: Invocation) -> list[Series]:
    return [Series(-1, w.symbol, w.timeframe, w.start_ms, w.sources) for w in call.config.series()]


def _chosen_now(
    program: App, call: Invocation, symbols: Sequence[str] | None, timeframes: Sequence[str] | None
) -> list[Series]:
    with reading(program.engine) as connection:
        return chosen(configured_series(connection, call.config), symbols, timeframes)


def _windows(
    all_series: Sequence[Series], first: int | None, end: int | None, now_ms: int
) -> list[tuple[Series, Window]]:
    """What is asked of each series, leaving out those configured from later on; ConfigError where nothing is left."""
    last = now_ms if end is None else end
    starts = [(series, series.wanted_start_ms if first is None else first) for series in all_series]
    asked = [(series, Window(start, last)) for series, start in starts if start < last]
    if not asked:
        start = min(start for _, start in starts)
        if first is None:
            raise ConfigError(f"nothing to fetch yet: the configured start {utc(start)} is not before {utc(last)}")
        if end is None:
            raise ConfigError(f"--from {utc(start)} lies in the future: nothing is closed there yet")
        raise ConfigError(f"nothing lies between --from {utc(start)} and --to {utc(last)}; --to is exclusive")
    return asked
