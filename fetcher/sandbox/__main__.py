"""`python -m fetcher.sandbox`: run an exchange on loopback until interrupted."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fetcher.errors import ConfigError
from fetcher.sandbox import options as read
from fetcher.sandbox.archive import KEPT_MB
from fetcher.sandbox.archive_faults import FILE_FAULTS
from fetcher.sandbox.binance import KLINES
from fetcher.sandbox.faults import FAULTS, Severity
from fetcher.sandbox.generated import History
from fetcher.sandbox.server import serve


def parser() -> argparse.ArgumentParser:
    """The arguments, each with its default."""
    made = argparse.ArgumentParser(prog="python -m fetcher.sandbox", description=__doc__)
    add = made.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8080, help="0 takes a free one (default 8080)")
    add("--data", type=Path, help="folder of recorded SYMBOL-TIMEFRAME.csv.gz files instead of the generated market")
    add("--seed", type=int, default=0, help="another seed, another generated market")
    add("--clock", default="real", help="real, a UTC time to stand still at, or 'TIME xSPEED'")
    add("--latency", default="0ms", help="added to every answer, like 80ms")
    add(
        "--fault",
        action="append",
        default=[],
        metavar="[VENUE:]NAME=CHANCE",
        help=f"{', '.join(FAULTS)}; transient, all",
    )
    add("--fault-path", action="append", metavar="PATH", help="where faults happen (default /api/v3/klines)")
    add("--fault-seed", type=int, default=0)
    add("--hang", default="30s", help="how long the fault hang lasts")
    add("--retry-after", type=int, default=1, help="seconds, of an injected 429 or 418")
    add("--outage", action="append", default=[], metavar="START/END", help="minutes that never existed")
    add("--off-grid", action="append", default=[], metavar="START/END/OFFSET_MS", help="minutes with late times")
    add("--listed", action="append", default=[], metavar="SYMBOL=DATE")
    add("--delisted", action="append", default=[], metavar="SYMBOL=DATE")
    add("--weight-limit", type=int, default=6000, help="per minute (default 6000)")
    add("--ban-after", type=int, default=10, help="requests during a 429 until 418 (default 10)")
    add("--ban-seconds", type=int, default=120)
    add("--kept-pages", type=int, default=512, help="rendered pages kept in memory, about 170 kB each")
    add("--venue-down", action="append", default=[], metavar="VENUE=START/END", help="nobody is answered; or always")
    add("--venue-outage", action="append", default=[], metavar="VENUE=START/END", help="minutes this venue never had")
    add("--venue-limit", action="append", default=[], metavar="VENUE=COUNT/SPAN", help="requests, like okx=40/2s")
    add("--venue-ahead", action="append", default=[], metavar="VENUE=DURATION", help="its clock's error, like -250ms")
    add("--archive-fault", action="append", default=[], metavar="NAME=PATTERN", help=f"files: {', '.join(FILE_FAULTS)}")
    add("--archive-late", action="append", default=[], metavar="PERIOD=DURATION", help="like daily=6h, monthly=12d")
    add("--archive-down", action="append", default=[], metavar="START/END", help="the archive alone; or always")
    add("--kept-archive", type=int, default=KEPT_MB, metavar="MIB", help="files of the archive kept in memory")
    add("--die-with-stdin", action="store_true", help="end when standard input does")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; 2 with one sentence when something cannot be used."""
    told = parser().parse_args(arguments)
    try:
        own, others = read.split_faults(told.fault)
        serve(
            read.SandboxOptions(
                host=told.host,
                port=told.port,
                data=told.data,
                history=History(
                    seed=told.seed,
                    outages=tuple(map(read.read_window, told.outage)),
                    off_grid=tuple(map(read.read_shifted, told.off_grid)),
                    listed=read.read_dates(told.listed),
                    delisted=read.read_dates(told.delisted),
                ),
                clock=told.clock,
                latency_seconds=read.read_seconds(told.latency),
                faults=read.read_chances(own),
                fault_paths=tuple(told.fault_path or [KLINES]),
                fault_seed=told.fault_seed,
                severity=Severity(hang_seconds=read.read_seconds(told.hang), retry_after=told.retry_after),
                weight_limit=told.weight_limit,
                ban_after=told.ban_after,
                ban_seconds=told.ban_seconds,
                kept_pages=told.kept_pages,
                die_with_stdin=told.die_with_stdin,
                venues=read.read_venues(others, told.venue_down, told.venue_outage, told.venue_limit, told.venue_ahead),
                archive=read.read_archive(told.archive_fault, told.archive_late, told.archive_down, told.kept_archive),
            )
        )
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
