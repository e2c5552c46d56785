"""`sources`: whom we ask and how they are; `sources reset` asks again what rests.

JSON: `{"sources": [{"endpoint", "source", "state", "why", "until_ms", "breaker", "requests", "errors", "latency_ms",
"last_ok_ms", "last_error", "last_error_ms", "used", "weight_limit", "budget_ms", "pool", "hour", "day"}]}`: `used` by
all endpoints of one `pool`, `hour` and `day` null or `{"requests", "errors", "success": 0…1, "p50_ms", "p95_ms",
"mean_ms"}`; of reset: `{"reset": endpoints}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import to_builtins
from msgspec.structs import replace

from db import endpoints, jobs
from db.engine import reading, writing
from fetcher.cli.hand import hand
from fetcher.cli.show import put_json, put_table, utc
from fetcher.endpoints import endpoint_states, read_states
from fetcher.errors import ConfigError
from fetcher.healing import forget_unserved
from fetcher.observe.progress import duration

if TYPE_CHECKING:
    from db.health import Spell
    from fetcher.cli.invocation import Invocation
    from fetcher.endpoints import EndpointState

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def sources(ctx: typer.Context) -> int:
    """Show how each source is, and when a resting one is asked again.

    With its breaker, its request weight taken in the current span (for about 20 requests ahead by processes at work),
    and over the last hour and day how many requests were answered well and how fast: half of the answers, and 95 of
    100, came within so many milliseconds.

    Example: python -m fetcher sources
    """
    if ctx.invoked_subcommand is not None:
        return 0
    call: Invocation = ctx.obj
    with call.database() as engine, reading(engine) as connection:
        states = read_states(connection, call.config, call.clock.now_ms())
    if call.as_json:
        put_json({"sources": [as_dict(each) for each in states]})
    else:
        columns = ["endpoint", "state", "breaker", "#weight", "last hour", "last day", "last answer", "last error"]
        put_table(columns, [_row(each) for each in states])
        if not any(each.last_ok_ms or each.last_error_ms for each in states):
            typer.echo("No source was asked yet; `doctor` asks each of them.")
    return 0


@app.command()
def reset(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A source or endpoint; else all.")] = None,
) -> int:
    """Ask a resting source again at once.

    Closes its circuit breaker, forgets how long it asked us to wait and which markets it did not list, and makes due
    what waits for it. What the exchange itself forbids (429, 418) it will forbid again, and longer: mend the cause
    first.

    Example: python -m fetcher sources reset binance
    """
    call: Invocation = ctx.obj
    with call.database() as engine, writing(engine) as connection:
        known = {key for row in endpoints.read_all(connection) for key in (row.source, row.endpoint)}
        known |= set(call.config.sources)
        if name is not None and name not in known:
            raise ConfigError(f"no source is called {name!r}; known: {', '.join(sorted(known))}")
        endpoints.reset(connection, name)
        meant = [row for row in endpoints.read_all(connection) if name in {None, row.source, row.endpoint}]
        if meant:
            hand(call, "sources reset").note(connection, endpoints=[row.endpoint for row in meant])
        for source in {row.source for row in meant}:
            forget_unserved(connection, source)
            jobs.hasten(connection, source, call.clock.now_ms())
        states = endpoint_states(endpoints.read_all(connection), call.config, call.clock.now_ms())
        asked = {row.endpoint for row in endpoints.read_all(connection)}
    mine = [s.endpoint for s in states if name in {None, s.source, s.endpoint} and s.endpoint in asked]
    if call.as_json:
        put_json({"reset": len(mine)})
    else:
        typer.echo(f"May be asked again: {', '.join(mine)}." if mine else "No source was asked yet: nothing rests.")
    return 0


def as_dict(state: EndpointState) -> dict[str, Any]:
    """An endpoint as JSON-able values."""
    values: dict[str, Any] = to_builtins(state)
    return values


def spell_words(spell: Spell | None) -> str:
    """`99.2 % of 1,204, 80/310 ms`: how many requests were answered well, and within how long half and 95 % of them."""
    if spell is None:
        return "-"
    share = "100" if spell.success == 1 else f"{min(spell.success * 100, 99.9):.1f}"
    times = "" if spell.p50_ms is None or spell.p95_ms is None else f", {spell.p50_ms:,.0f}/{spell.p95_ms:,.0f} ms"
    return f"{share} % of {spell.requests:,}{times}"


def _row(each: EndpointState) -> tuple[object, ...]:
    span = duration(each.budget_ms / 1000)
    weight = "-" if each.weight_limit is None else f"{each.used:,}/{each.weight_limit:,} in {span}"
    state = replace(each, why=None).sentence if each.why == each.last_error else each.sentence  # told once is enough
    error = "-" if each.last_error is None else f"{utc(each.last_error_ms)} {each.last_error}"
    return (
        each.endpoint, state, each.breaker, weight, spell_words(each.hour), spell_words(each.day),
        utc(each.last_ok_ms), error,
    )  # fmt: skip
