"""`memory`: peak memory of a large backfill beside that of a much smaller one, by both routes, on both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.clock import format_utc, parse_utc
from fetcher.model import MINUTE
from fetcher.sandbox.control import spawn_sandbox
from tests.bench import archive
from tests.bench.figures import Figure, Goal, Limit
from tests.bench.places import KINDS, count_rows, opened
from tests.bench.size import COINS, UNLIMITED
from tests.bench.stage import market, stage

if TYPE_CHECKING:
    from fetcher.sandbox.control import SandboxControl
    from tests.bench.size import Say, Size

_TEN_YEARS_AGO = "2016-01-01"
_START = "2018-01-01"
_GOAL = Goal(at_most=250)
_FLAT = Goal(at_most=1.2)


def memory(size: Size, say: Say) -> list[Figure]:
    """MB that the process itself had at most: ten years of minutes by the archive, three million rows by the API."""
    listed = ("--listed", f"BTCUSDT={_TEN_YEARS_AGO}")
    with spawn_sandbox("--clock", archive.CLOCK, *listed, *UNLIMITED, *archive.ROOM) as sandbox:
        say("memory: the sandbox makes its files")
        archive.render(sandbox, COINS[:1], _TEN_YEARS_AGO, size.memory_months)
        ends = [archive.later(_TEN_YEARS_AGO, number) for number in (size.memory_few_months, size.memory_months)]
        figures = [_peaks(sandbox, kind, "archive", _TEN_YEARS_AGO, ends, say) for kind in KINDS]
    with spawn_sandbox(*UNLIMITED, "--kept-pages", "64") as sandbox:
        sizes = (size.memory_few_minutes, size.memory_minutes)
        ends = [format_utc(parse_utc(_START) + minutes * MINUTE) for minutes in sizes]
        figures += [_peaks(sandbox, kind, "REST", _START, ends, say) for kind in KINDS]
    return figures


def _peaks(sandbox: SandboxControl, kind: str, route: str, start: str, ends: list[str], say: Say) -> Figure:
    peaks, rows = [], []
    by_files = route == "archive"
    with (
        opened(kind) as place,
        stage(sandbox.url, place, [market(COINS[:1], ["1m"], start)], archive=by_files) as here,
    ):
        for end in ends:
            wanted = (parse_utc(end) - parse_utc(start)) // MINUTE
            say(f"memory: {route} → {kind}, {wanted:,} rows")
            told, _ = here.backfill(start, end)
            if told["rows"] != wanted or count_rows(place) != wanted:
                raise RuntimeError(f"{told['rows']:,} of {wanted:,} rows came")
            peaks.append(told["peak_mb"])
            rows.append(wanted)
    few, many = peaks
    beside = Limit(f"of {rows[0]:,} rows", [few], _FLAT)
    return Figure(f"peak memory, {route} → {kind}, {rows[1]:,} rows", "MB", [many], (beside,), _GOAL)
