"""`sources`: whom we ask and how they are; `sources reset` asks again what rests.

JSON: `{"sources": [{"endpoint", "source", "state", "why", "until_ms", "breaker", "requests", "errors", "latency_ms",
"last_ok_ms", "last_error", "last_error_ms", "used", "weight_limit"}]}`; of reset: `{"reset": endpoints}`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from db import endpoints
from db.engine import reading, writing
from fetcher.cli.endpoints import endpoint_states
from fetcher.cli.show import put_json, put_table, utc
from fetcher.errors import ConfigError

if TYPE_CHECKING:
    from fetcher.cli.endpoints import EndpointState
    from fetcher.cli.invocation import Invocation

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def sources(ctx: typer.Context) -> int:
    """Show how each source is, and when a resting one is asked again.

    With its request weight reserved this minute, its requests, their latency and the last error.

    Example: python -m fetcher sources
    """
    if ctx.invoked_subcommand is not None:
        return 0
    call: Invocation = ctx.obj
    with call.database() as engine, reading(engine) as connection:
        states = endpoint_states(endpoints.read_all(connection), call.config, call.clock.now_ms())
    if call.as_json:
        put_json({"sources": [as_dict(each) for each in states]})
    elif not states:
        typer.echo("No source was asked yet; `doctor` asks each of them.")
    else:
        columns = ["endpoint", "state", "#weight", "#requests", "#errors", "#ms", "last answer", "last error"]
        put_table(columns, [_row(each) for each in states])
    return 0


@app.command()
def reset(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A source or endpoint; else all.")] = None,
) -> int:
    """Ask a resting source again at once.

    Closes its circuit breaker and forgets how long it asked us to wait. What the exchange itself forbids (429, 418) it
    will forbid again, and longer: mend the cause first.

    Example: python -m fetcher sources reset binance
    """
    call: Invocation = ctx.obj
    with call.database() as engine, writing(engine) as connection:
        known = {key for row in endpoints.read_all(connection) for key in (row.source, row.endpoint)}
        known |= set(call.config.sources)
        if name is not None and name not in known:
            raise ConfigError(f"no source is called {name!r}; known: {', '.join(sorted(known))}")
        endpoints.reset(connection, name)
        states = endpoint_states(endpoints.read_all(connection), call.config, call.clock.now_ms())
    mine = [each.endpoint for each in states if name in {None, each.source, each.endpoint}]
    if call.as_json:
        put_json({"reset": len(mine)})
    else:
        typer.echo(f"May be asked again: {', '.join(mine)}." if mine else "No source was asked yet: nothing rests.")
    return 0


def as_dict(state: EndpointState) -> dict[str, Any]:
    """An endpoint as JSON-able values."""
    return asdict(state)


def _row(each: EndpointState) -> tuple[object, ...]:
    limit = "?" if each.weight_limit is None else f"{each.weight_limit:,}"
    latency = "-" if each.latency_ms is None else f"{each.latency_ms:,.0f}"
    error = "-" if each.last_error is None else f"{utc(each.last_error_ms)} {each.last_error}"
    return (
        each.endpoint, each.sentence, f"{each.used:,}/{limit}", each.requests, each.errors, latency,
        utc(each.last_ok_ms), error,
    )  # fmt: skip
