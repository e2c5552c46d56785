"""`config check`: does the configuration load, and what does it mean.

JSON: `{"file", "database_url", "sources": [{"name", "client", "base_urls", "weight_per_minute", …}], "series":
[{"symbol", "timeframe", "start_ms", "sources"}], "run": {"workers", "time_budget_seconds"}, "warnings": [sentence],
"problems": [sentence]}`. `base_urls` is empty where the vendor's own hosts are asked, `weight_per_minute` null where it
follows from exchange or plan, `proxies` holds host and port of each (null: without one); of ccxt also `exchange`, of
coingecko `plan`, `api_key_env` (a name, several names, or null) and `api_key_file` (paths). `problems` are keys that
are not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from db.engine import checked_url
from fetcher.cli.exposure import exposed, unencrypted
from fetcher.cli.show import plain, put_json, put_table, utc
from fetcher.cli.unfetched import later_starts
from fetcher.cli.unserved import missing_keys, unoffered
from fetcher.clients.ccxt_library import check_exchange
from fetcher.clients.ways import host_of
from fetcher.endpoints import ways_of
from fetcher.errors import ConfigError
from fetcher.observe.lines import one_line
from fetcher.observe.progress import duration
from fetcher.outcome import EXIT_INCOMPLETE, EXIT_OK
from fetcher.secrecy import secrets_of
from fetcher.targets import problems_of

if TYPE_CHECKING:
    from fetcher.cli.invocation import Invocation
    from fetcher.config import Config, SourceSettings

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

    Exit code 2 and one sentence when it is wrong, 1 when a key that it names is not in the environment.

    Example: python -m fetcher --config market.yaml config check
    """
    call: Invocation = ctx.obj
    loaded = call.config
    _check_exchanges(loaded)
    checked_url(loaded.database_url)
    url = one_line(loaded.database_url, secrets_of(loaded))
    problems = [*missing_keys(loaded), *problems_of(loaded.alerts)]
    if call.as_json:
        put_json(_as_json(call, url, problems))
        return EXIT_INCOMPLETE if problems else EXIT_OK
    typer.echo(f"{call.config_path} is good" + (", but a key that it names is not there:" if problems else "."))
    typer.echo(f"database  {url}")
    typer.echo(f"one run   {loaded.run.workers} requests in flight, at most {duration(loaded.run.time_budget)}")
    for name, source in loaded.sources.items():
        typer.echo(f"source    {plain(name)}: {plain(_source_words(source))}")
    _put_series(loaded)
    for warning in _warnings(call):
        typer.echo(f"Note: {warning}")
    for problem in problems:
        typer.echo(f"BAD  {problem}")
    return EXIT_INCOMPLETE if problems else EXIT_OK


def _warnings(call: Invocation) -> list[str]:
    return [
        *exposed(call.config, call.config_path),
        *unencrypted(call.config),
        *unoffered(call.config),
        *later_starts(call.config.series(), call.clock.now_ms()),
    ]


def _check_exchanges(loaded: Config) -> None:
    """Refuse an exchange id that ccxt does not have a file for; looks at file names, loads nothing of it."""
    for name, source in loaded.sources.items():
        if source.client == "ccxt":
            try:
                check_exchange(source.exchange)
            except ConfigError as error:
                raise ConfigError(f"sources.{name}.exchange: {error}") from None


def _source_words(source: SourceSettings) -> str:
    """What a source is, where and how often it is asked; the client itself is not made: ccxt takes a second to load."""
    what = f"{source.client} {source.exchange}" if source.client == "ccxt" else source.client
    limit = source.weight_per_minute
    if source.client == "coingecko":
        what += f", plan {source.plan}" + (f" (key from {' and '.join(source.key_names)})" if source.key_names else "")
    where = f"at {', '.join(_base_urls(source))}" if _base_urls(source) else "at its own hosts"
    if source.proxy != (None,):
        where += f" through {' and '.join(each or 'no proxy' for each in _proxies(source))}"
    often = "as often as it allows" if limit is None else f"{limit:,} weight a minute"
    each = " each" if len({way.pool for way in ways_of(source)}) > 1 else ""
    return f"{what} {where}, {often}{each}"


def _proxies(source: SourceSettings) -> list[str | None]:
    return [None if each is None else host_of(each) for each in source.proxy]


def _base_urls(source: SourceSettings) -> list[str]:
    if source.client == "binance":
        return source.base_urls
    return [] if source.base_url is None else [source.base_url]


def _source_as_json(name: str, source: SourceSettings) -> dict[str, Any]:
    own: dict[str, Any] = {key: getattr(source, key) for key in ("exchange", "plan") if hasattr(source, key)}
    if source.client == "coingecko":
        names = source.api_key_env
        own["api_key_env"] = list(names) if len(names) > 1 else next(iter(names), None)
        own["api_key_file"] = list(source.api_key_file)
    return {
        "name": name,
        "client": source.client,
        "base_urls": _base_urls(source),
        "weight_per_minute": source.weight_per_minute,
        "proxies": _proxies(source),
        **own,
    }


def _put_series(loaded: Config) -> None:
    typer.echo()
    rows = [(w.symbol, w.timeframe.name, utc(w.start_ms), ", ".join(w.sources)) for w in loaded.series()]
    put_table(["symbol", "tf", "from", "sources"], rows)


def _as_json(call: Invocation, url: str, problems: list[str]) -> dict[str, Any]:
    loaded = call.config
    return {
        "file": str(call.config_path),
        "database_url": url,
        "sources": [_source_as_json(name, source) for name, source in loaded.sources.items()],
        "series": [
            {"symbol": w.symbol, "timeframe": w.timeframe.name, "start_ms": w.start_ms, "sources": list(w.sources)}
            for w in loaded.series()
        ],
        "run": {"workers": loaded.run.workers, "time_budget_seconds": loaded.run.time_budget},
        "warnings": _warnings(call),
        "problems": problems,
    }
