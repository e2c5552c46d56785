"""`rest`: a year of minutes by the API's pages at 80 ms latency, of one symbol and of ten, into both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.clock import format_utc, parse_utc
from fetcher.model import MINUTE
from fetcher.sandbox.control import spawn_sandbox
from tests.bench import raw
from tests.bench.figures import Figure, Goal
from tests.bench.places import KINDS, SQLITE, opened
from tests.bench.size import COINS, LATENCY_SECONDS, UNLIMITED, WORKERS
from tests.bench.sockets import pages_asked, read_by_sockets
from tests.bench.spans import Span
from tests.bench.stage import market, stage

if TYPE_CHECKING:
    from fetcher.sandbox.control import SandboxControl
    from tests.bench.places import Place
    from tests.bench.size import Say, Size

_START = "2023-01-01"
_COMMIT_ROWS = 20_000  # as the program's writer
_SMALLEST = 200  # bytes of a page; one row has about 170
_GOAL = Goal(at_least=100_000)


def rest(size: Size, say: Say) -> list[Figure]:
    """Rows a second from the API's page to the committed row."""
    figures = []
    for label, symbols in (("one symbol", COINS[:1]), ("ten symbols", COINS[:10])):
        kept = ("--kept-pages", str(2 * size.rest_minutes // 1000 + 100))
        with spawn_sandbox(*UNLIMITED, *kept) as sandbox:
            for kind in KINDS:
                say(f"REST → {kind}: {label}, {size.rest_minutes:,} minutes, {size.repeats} times")
                with opened(kind) as place:
                    figures += _into(place, sandbox, label, symbols, size)
    return figures


def _into(place: Place, sandbox: SandboxControl, label: str, symbols: tuple[str, ...], size: Size) -> list[Figure]:
    end = format_utc(parse_utc(_START) + size.rest_minutes // len(symbols) * MINUTE)
    alone: list[float] = []
    with stage(sandbox.url, place, [market(symbols, ["1m"], _START)]) as here:
        span = Span(f"REST → {place.kind}, {label}", here, _START, end)
        sandbox.configure(latency_seconds=LATENCY_SECONDS)
        sandbox.clear_log()
        rows = span.warm()  # the sandbox renders each page once, and has it ready from then on
        pages = pages_asked(sandbox)

        def read() -> float:
            sandbox.configure(latency_seconds=0)
            alone.append(len(rows) / read_by_sockets(sandbox, pages, WORKERS, _SMALLEST))
            sandbox.configure(latency_seconds=LATENCY_SECONDS)
            return len(rows) / read_by_sockets(sandbox, pages, WORKERS, _SMALLEST)

        beside = {f"{WORKERS} plain sockets, 80 ms latency": read}
        span.measure(size.repeats, raw.by_number(rows, _COMMIT_ROWS), beside)
    figures = span.figures(inside=_GOAL)
    if place.kind == SQLITE:
        figures.append(Figure(f"REST, {label}: the sandbox alone, plain sockets, no latency", "rows/s", alone))
    return figures
