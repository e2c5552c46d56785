"""`quarantine`: rows that were refused, with what was received; `quarantine release` accepts them after all.

JSON: `{"reasons": {reason: rows}, "rows": [{"id", "symbol", "timeframe", "source", "route", "open_time_ms", "reason",
"payload", "received_ms", "seen", "last_seen_ms", "released_ms"}]}`; of release: `{"released": [{"id", "ok",
"message"}]}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import asdict

from db import quarantine as refused
from db import series as series_rows
from db.engine import reading
from fetcher.cli.choose import all_there, storable
from fetcher.cli.hand import hand
from fetcher.cli.show import plain, put_json, put_table, utc
from fetcher.errors import ConfigError
from fetcher.jobqueue import as_series
from fetcher.wire import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from db.quarantine import Quarantined
    from fetcher.cli.invocation import Invocation

app = typer.Typer(add_completion=False, rich_markup_mode=None)
Ids = Annotated[list[int], typer.Argument(metavar="ID", help="Rows by their ids, as `quarantine` lists them.")]
_WHOLE = 100_000


@app.callback(invoke_without_command=True)
def quarantine(
    ctx: typer.Context,
    reason: Annotated[str | None, typer.Option("--reason", metavar="NAME", help="Only rows refused for this.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1_000_000_000, help="At most so many of the newest.")
    ] = 20,
) -> int:
    """Show the rows that were refused, by reason.

    They are never part of the candles.

    Example: python -m fetcher quarantine --reason off_grid
    """
    if ctx.invoked_subcommand is not None:
        return 0
    call: Invocation = ctx.obj
    with call.database() as engine, reading(engine) as connection:
        counts = refused.counts(connection)
        if reason is not None and reason not in counts:
            known = ", ".join(counts) or "none"
            raise ConfigError(f"no row was refused for {reason!r}; reasons of those in quarantine: {known}")
        rows = _described(connection, refused.listing(connection, reason=reason, released=False, limit=limit))
    if call.as_json:
        put_json({"reasons": counts, "rows": rows})
    elif not counts:
        typer.echo("Quarantine is empty: nothing was refused.")
    else:
        put_table(["reason", "#rows"], sorted(counts.items()))
        typer.echo()
        columns = ["#id", "series", "source", "open time", "reason", "#seen", "received"]
        put_table(columns, [_row(each) for each in rows])
    return 0


@app.command()
def show(ctx: typer.Context, ids: Ids) -> int:
    """Show refused rows whole: why, and what was received.

    Everything unprintable is escaped.

    Example: python -m fetcher quarantine show 3
    """
    call: Invocation = ctx.obj
    with call.database() as engine, reading(engine) as connection:
        rows = _described(connection, _existing(connection, ids))
    if call.as_json:
        put_json({"rows": rows})
        return 0
    for row in rows:
        typer.echo(f"{row['id']}: {_name(row)} {_claimed(row['open_time_ms'])}, refused for {row['reason']}")
        typer.echo(f"  received from {row['source']} ({row['route']}) {utc(row['received_ms'])}, {row['seen']} times")
        if row["released_ms"] is not None:
            typer.echo(f"  released {utc(row['released_ms'])}")
        typer.echo(f"  {excerpt(row['payload'], _WHOLE)}")
    return 0


@app.command()
def release(ctx: typer.Context, ids: Ids) -> int:
    """Store refused rows as candles after all.

    They are flagged as an anomaly. A sound candle of the same or a better source is never replaced, and what cannot
    be a candle at all (a high below the low, a negative volume) is never stored.

    Example: python -m fetcher quarantine release 3
    """
    from fetcher.release import release as let_go  # noqa: PLC0415 (storage and numpy, for this one command)

    call: Invocation = ctx.obj
    with call.database() as engine:
        with reading(engine) as connection:
            _existing(connection, ids)
            all_series = [as_series(row) for row in series_rows.read_series(connection)]
        outcomes = let_go(engine, all_series, ids, call.clock.now_ms(), hand(call, "quarantine release"))
    if call.as_json:
        put_json({"released": [asdict(each) for each in outcomes]})
    else:
        for each in outcomes:
            typer.echo(f"{each.id}: {plain(each.message, _WHOLE)}")
    return 0 if all(each.ok for each in outcomes) else 1


def _existing(connection: Connection, ids: Sequence[int]) -> list[Quarantined]:
    storable("quarantined row", ids)
    found = {number: row for number in ids if (row := refused.get(connection, number)) is not None}
    all_there("quarantined row", ids, found.keys())
    return list(found.values())


def _described(connection: Connection, rows: Iterable[Quarantined]) -> list[dict[str, Any]]:
    by_id = {row.id: row for row in series_rows.read_series(connection)}
    names = {number: name for name, number in series_rows.source_ids(connection).items()}
    found = []
    for row in rows:
        series = by_id.get(row.series_id) if row.series_id is not None else None
        found.append(
            {
                "id": row.id,
                "symbol": None if series is None else series.symbol,
                "timeframe": None if series is None else series.timeframe,
                "source": names[row.source_id],
                "route": row.route,
                "open_time_ms": row.open_time,
                "reason": row.reason,
                "payload": row.payload,
                "received_ms": row.received_ms,
                "seen": row.seen,
                "last_seen_ms": row.last_seen_ms,
                "released_ms": row.released_ms,
            }
        )
    return found


def _name(row: dict[str, Any]) -> str:
    return "-" if row["symbol"] is None else f"{row['symbol']} {row['timeframe']}"


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    return (
        row["id"], _name(row), row["source"], _claimed(row["open_time_ms"]), row["reason"], row["seen"],
        utc(row["received_ms"]),
    )  # fmt: skip


def _claimed(open_time: int | None) -> str:
    """A refused row's open time, which may be any number at all."""
    try:
        return utc(open_time)
    except (ValueError, OverflowError, OSError):
        return str(open_time)
