"""`sandbox`: venues on loopback that speak the wire formats of Binance and of every other source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fetcher.cli.places import named
from fetcher.sandbox import options as read
from fetcher.sandbox.archive_faults import FILE_FAULTS
from fetcher.sandbox.binance import KLINES
from fetcher.sandbox.faults import FAULTS, Severity
from fetcher.sandbox.generated import History
from fetcher.sandbox.server import serve

app = typer.Typer(add_completion=False, rich_markup_mode=None)
Texts = list[str] | None


@app.command()
def sandbox(  # noqa: PLR0913, PLR0917 (each is an option of its own)
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8080,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", parser=named, help="Serve recorded SYMBOL-TIMEFRAME.csv.gz, not generated candles."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another generated market.")] = 0,
    clock: Annotated[
        str, typer.Option("--clock", metavar="TIME", help="real, a UTC time to stand still at, or 'TIME xSPEED'.")
    ] = "real",
    latency: Annotated[
        str, typer.Option("--latency", metavar="DURATION", help="Added to each answer, like 80ms.")
    ] = "0ms",
    fault: Annotated[
        Texts,
        typer.Option(
            "--fault", metavar="[VENUE:]NAME=CHANCE", help=f"{', '.join(FAULTS)}; transient, all: each of several."
        ),
    ] = None,
    fault_path: Annotated[
        Texts, typer.Option("--fault-path", metavar="PATH", help=f"Where faults happen; else {KLINES}.")
    ] = None,
    fault_seed: Annotated[int, typer.Option("--fault-seed", help="Which answers the faults hit.")] = 0,
    hang: Annotated[str, typer.Option("--hang", metavar="DURATION", help="How long the fault `hang` lasts.")] = "30s",
    retry_after: Annotated[
        int, typer.Option("--retry-after", min=0, metavar="SECONDS", help="Of an injected 429 or 418.")
    ] = 1,
    outage: Annotated[
        Texts, typer.Option("--outage", metavar="START/END", help="Minutes that never existed: the exchange was down.")
    ] = None,
    off_grid: Annotated[
        Texts, typer.Option("--off-grid", metavar="START/END/OFFSET_MS", help="Minutes that open late, as in 2018-02.")
    ] = None,
    listed: Annotated[
        Texts, typer.Option("--listed", metavar="SYMBOL=DATE", help="When a market began, like NEWUSDT=2024-02-01.")
    ] = None,
    delisted: Annotated[
        Texts, typer.Option("--delisted", metavar="SYMBOL=DATE", help="When a market ended.")
    ] = None,
    weight_limit: Annotated[int, typer.Option("--weight-limit", min=1, help="Request weight per minute.")] = 6_000,
    ban_after: Annotated[int, typer.Option("--ban-after", min=1, help="Requests during a 429 until 418.")] = 10,
    ban_seconds: Annotated[int, typer.Option("--ban-seconds", min=1, help="How long a 418 lasts.")] = 120,
    venue_down: Annotated[
        Texts, typer.Option("--venue-down", metavar="VENUE=START/END", help="Nobody is answered then; or always.")
    ] = None,
    venue_outage: Annotated[
        Texts, typer.Option("--venue-outage", metavar="VENUE=START/END", help="Minutes that this venue never had.")
    ] = None,
    venue_limit: Annotated[
        Texts, typer.Option("--venue-limit", metavar="VENUE=COUNT/SPAN", help="Requests, like okx=40/2s.")
    ] = None,
    venue_ahead: Annotated[
        Texts, typer.Option("--venue-ahead", metavar="VENUE=DURATION", help="Its clock's error, like -250ms.")
    ] = None,
    archive_fault: Annotated[
        Texts,
        typer.Option(
            "--archive-fault", metavar="NAME=PATTERN",
            help=f"Zips, like *-2024-01-15.zip or once:*-01.zip: {', '.join(FILE_FAULTS)}.",
        ),
    ] = None,
    archive_late: Annotated[
        Texts, typer.Option("--archive-late", metavar="PERIOD=DURATION", help="Like daily=6h or monthly=12d.")
    ] = None,
    archive_down: Annotated[
        Texts, typer.Option("--archive-down", metavar="START/END", help="The archive alone is down; or always.")
    ] = None,
) -> int:  # fmt: skip
    """Run an exchange on this machine, to try things out.

    It speaks Binance's wire format, below /data/spot that of its archive, and below /okx, /kraken, /coinbase,
    /coingecko and /yahoo theirs. It needs no network, and ends when interrupted. Point a source's `base_urls`,
    `archive_url` or `base_url` at it. Options for faults, outages, off-grid stretches, listings, venues and the archive
    may be given several times; the venue * means all.

    Example: python -m fetcher sandbox --port 8080 --outage 2024-03-01T02:00/2024-03-01T04:30 --fault html=0.03
    """
    own_faults, venue_faults = read.split_faults(fault or ())
    serve(
        read.SandboxOptions(
            host=host,
            port=port,
            data=data,
            history=History(
                seed=seed,
                outages=tuple(map(read.read_window, outage or ())),
                off_grid=tuple(map(read.read_shifted, off_grid or ())),
                listed=read.read_dates(listed or ()),
                delisted=read.read_dates(delisted or ()),
            ),
            clock=clock,
            latency_seconds=read.read_seconds(latency),
            faults=read.read_chances(own_faults),
            fault_paths=tuple(fault_path or [KLINES]),
            fault_seed=fault_seed,
            severity=Severity(hang_seconds=read.read_seconds(hang), retry_after=retry_after),
            weight_limit=weight_limit,
            ban_after=ban_after,
            ban_seconds=ban_seconds,
            venues=read.read_venues(
                venue_faults, venue_down or (), venue_outage or (), venue_limit or (), venue_ahead or ()
            ),
            archive=read.read_archive(archive_fault or (), archive_late or (), archive_down or ()),
        )
    )
    return 0
