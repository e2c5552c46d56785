"""`archive`: months of minutes from the sandbox's archive at 80 ms latency, into both databases."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from fetcher.archive import FILES_AT_ONCE
from fetcher.clients.binance_archive import file_path
from fetcher.clock import format_utc, parse_utc
from fetcher.model import MonthGrid, Timeframe, Window
from fetcher.periods import months
from fetcher.sandbox.binance import KLINES
from fetcher.sandbox.control import spawn_sandbox
from tests.bench import raw
from tests.bench.figures import Figure, Goal, Limit
from tests.bench.places import KINDS, POSTGRESQL, SQLITE, opened
from tests.bench.size import COINS, LATENCY_SECONDS, UNLIMITED
from tests.bench.sockets import read_by_sockets
from tests.bench.spans import Span
from tests.bench.stage import market, stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetcher.sandbox.control import SandboxControl
    from tests.bench.places import Place
    from tests.bench.size import Say, Size
    from tests.bench.stage import Stage

CLOCK = "2026-06-01T00:00:00Z"
ROOM = ("--kept-archive", "4096")  # MiB: each zip is made once
CONNECTIONS = 2 * FILES_AT_ONCE  # each file with its checksum
START = "2022-01-01"
_YEAR_START = "2023-01-01"  # 365 days
_GOAL = Goal(at_least=300_000)
_SHARE = 0.6
_NOT_SLOWER = 0.95  # of one symbol's rows a second: a twentieth is noise
_SMALLEST = 60  # bytes: a checksum and a name


def archive(size: Size, say: Say) -> list[Figure]:
    """Rows a second from the archive's file to the committed row."""
    figures = []
    with spawn_sandbox("--clock", CLOCK, "--latency", f"{LATENCY_SECONDS}s", *UNLIMITED, *ROOM) as sandbox:
        say("archive: the sandbox makes its files")
        render(sandbox, COINS[:1], START, max(size.long_months, 12 + size.year_months, 10 * size.ten_months))
        render(sandbox, COINS[:10], START, size.ten_months)
        for kind in KINDS:
            with opened(kind) as place:
                figures += _of_one(sandbox, place, size, say)
                figures += _of_ten(sandbox, place, size, say)
    return figures


def later(start: str, number: int) -> str:
    """So many months later."""
    return format_utc(MonthGrid().advance(parse_utc(start), number))


def files(symbols: Sequence[str], start: str, number: int) -> list[str]:
    """The paths of these months' zips and checksums, newest first, as the program asks for them."""
    window = Window(parse_utc(start), parse_utc(later(start, number)))
    zips = [
        file_path(symbol.replace("/", ""), Timeframe("1m"), period)
        for period in reversed(months(window))
        for symbol in symbols
    ]
    return [path for zipped in zips for path in (zipped, f"{zipped}.CHECKSUM")]


def render(sandbox: SandboxControl, symbols: Sequence[str], start: str, number: int) -> None:
    """Have the sandbox make these files: from then on it has them in memory."""
    read_by_sockets(sandbox, files(symbols, start, number), 2, _SMALLEST)


def _of_one(sandbox: SandboxControl, place: Place, size: Size, say: Say) -> list[Figure]:
    figures = []
    spans = (
        ("a year", _YEAR_START, size.year_months, None),
        ("four years", START, size.long_months, _SHARE),
    )
    for name, start, number, share in spans:
        say(f"archive → {place.kind}: {name} of one symbol ({number} months), {size.repeats} times")
        share = _SHARE if place.kind == POSTGRESQL else share  # noqa: PLW2901 - there both are judged so
        goal = _GOAL if place.kind == SQLITE and share is None else None
        with stage(sandbox.url, place, [market(COINS[:1], ["1m"], start)], archive=True) as here:
            span = Span(f"archive → {place.kind}, {name} of 1m", here, start, later(start, number))
            sandbox.clear_log()
            rows = span.warm()
            _check_route(sandbox)
            wanted = files(COINS[:1], start, number)

            def read(wanted: Sequence[str] = wanted, rows: int = len(rows)) -> float:
                return rows / read_by_sockets(sandbox, wanted, CONNECTIONS, _SMALLEST)

            def bare(here: Stage = here, wanted: Sequence[str] = wanted[::2], count: int = len(rows)) -> float:
                ran = here.bare(sandbox.url, wanted)
                if int(ran.printed) != count:
                    raise RuntimeError(f"{ran.printed} of {count} rows came")
                return count / ran.wall

            sockets = {f"{CONNECTIONS} plain sockets, the same files": read}
            span.measure(
                size.repeats, raw.by_month(rows), sockets, {"the same libraries, answers and INSERTs bare": bare}
            )
            _check_route(sandbox)
            figures += span.figures(outside=goal, share=share)
    return figures


def _of_ten(sandbox: SandboxControl, place: Place, size: Size, say: Say) -> list[Figure]:
    """Ten symbols at once beside as many files of one, in turns."""
    say(f"archive → {place.kind}: ten symbols, {size.ten_months} months each, {size.repeats} times")
    spans = []
    with ExitStack() as stages:
        for symbols, number in ((COINS[:10], size.ten_months), (COINS[:1], 10 * size.ten_months)):
            markets = [market(symbols, ["1m"], START)]
            here = stages.enter_context(stage(sandbox.url, place, markets, archive=True))
            span = Span(f"archive → {place.kind}, {len(symbols)} symbols", here, START, later(START, number))
            span.warm()
            spans.append(span)
        for _ in range(size.repeats):
            for span in spans:
                span.measure_inside()
    _check_route(sandbox)
    ten, one = spans
    beside = Limit(f"one symbol, as many files ({one.rows:,} rows)", one.inside, Goal(at_least=_NOT_SLOWER))
    name = f"archive → {place.kind}, ten symbols at once ({ten.rows:,} rows)"
    return [Figure(name, "rows/s", ten.inside, (beside,))]


def _check_route(sandbox: SandboxControl) -> None:
    """RuntimeError where any page came by the API: it was to be the archive alone."""
    if paged := [entry for entry in sandbox.log(KLINES) if (entry["rows"] or 0) > 1]:
        raise RuntimeError(f"{len(paged)} pages came by the API where the archive was to be measured")
