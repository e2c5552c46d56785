"""`config check`: does the configuration load, and what does it mean.

JSON: `{"file", "database_url", "sources": [{"name", "client", "base_urls", "weight_per_minute"}], "series": [{"symbol",
"timeframe", "start_ms", "sources"}], "run": {"workers", "time_budget_seconds"}, "warnings": [sentence]}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from db.engine import checked_url
from fetcher.cli.show import plain, put_json, put_table, utc
from fetcher.cli.unfetched import later_starts
from fetcher.observe.logs import one_line, secrets_of
from fetcher.observe.progress import duration

if TYPE_CHECKING:
    from fetcher.cli.invocation import Invocation
    from fetcher.config import Config

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="Look at the configuration.\n\n"
    "Example: python -m fetcher --config market.yaml config check",
)  # fmt: skip


@app.callback()
def config() -> None:
    """Nothing by itself; it makes `check` a command of its own."""


@app.command()
def check(ctx: typer.Context) -> int:
    """Load the configuration and tell what was understood.

    Exit code 2 and one sentence when it is wrong.

    Example: python -m fetcher --config market.yaml config check
    """
    call: Invocation = ctx.obj
    loaded = call.config
    checked_url(loaded.database_url)
    url = one_line(loaded.database_url, secrets_of(loaded))
    if call.as_json:
        put_json(_as_json(call, url))
        return 0
    typer.echo(f"{call.config_path} is good.")
    typer.echo(f"database  {url}")
    typer.echo(f"one run   {loaded.run.workers} requests in flight, at most {duration(loaded.run.time_budget)}")
    for name, source in loaded.sources.items():
        hosts = ", ".join(source.base_urls)
        typer.echo(f"source    {plain(name)}: {source.client} at {hosts}, {source.weight_per_minute:,} weight a minute")
    _put_series(loaded)
    for warning in later_starts(loaded.series(), call.clock.now_ms()):
        typer.echo(f"Note: {warning}")
    return 0


def _put_series(loaded: Config) -> None:
    typer.echo()
    rows = [(w.symbol, w.timeframe.name, utc(w.start_ms), ", ".join(w.sources)) for w in loaded.series()]
    put_table(["symbol", "tf", "from", "sources"], rows)


def _as_json(call: Invocation, url: str) -> dict[str, Any]:
    loaded = call.config
    return {
        "file": str(call.config_path),
        "database_url": url,
        "sources": [
            {
                "name": name,
                "client": source.client,
                "base_urls": source.base_urls,
                "weight_per_minute": source.weight_per_minute,
            }
            for name, source in loaded.sources.items()
        ],
        "series": [
            {"symbol": w.symbol, "timeframe": w.timeframe.name, "start_ms": w.start_ms, "sources": list(w.sources)}
            for w in loaded.series()
        ],
        "run": {"workers": loaded.run.workers, "time_budget_seconds": loaded.run.time_budget},
        "warnings": later_starts(loaded.series(), call.clock.now_ms()),
    }
