"""`python -m fetcher.sandbox.demo` (`make demo`): the whole product without a network, told in steps, each one checked.

A sandbox plays the exchange in a process of its own; the program is run as its users run it, one process a command.
What was told is then looked up in the database and in the sandbox's log; exit code 1 when anything is not as told.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.errors import ConfigError
from fetcher.model import DAY, HOUR, MINUTE, Window
from fetcher.sandbox.control import spawn_sandbox

if TYPE_CHECKING:
    from fetcher.sandbox.control import SandboxControl

_ROOT = Path(__file__).resolve().parents[2]
_NOW = "2026-06-01T00:00:10Z"  # for the sandbox, where time stands still, and for the program
_SYMBOLS = ("BTC/USDT", "ETH/USDT")
_OUTAGE_MINUTES = 150
_HOLE_MINUTES = 90

_IN_HOLE = """\
FROM candles WHERE open_time >= ? AND open_time < ?
AND series_id = (SELECT id FROM series WHERE symbol = 'BTC/USDT' AND timeframe = '1m')
"""
_KEEP = f"INSERT INTO lost SELECT * {_IN_HOLE}"
_DELETE = f"DELETE {_IN_HOLE}"
_DIFFERENT = f"SELECT * FROM lost EXCEPT SELECT * {_IN_HOLE}"  # noqa: S608 - our own words

_CONFIG = """\
database_url: sqlite:///market.db
sources:
  binance: {{client: binance, base_urls: ["{url}"], archive_url: null}}
markets:
  - symbols: [BTC/USDT, ETH/USDT]
    timeframes: [1m, 1h]
    start: {start}
    sources: [binance]
"""


class NotAsToldError(Exception):
    """A step that did not come out as the demonstration says."""


class Stage(Struct, frozen=True):
    """The demonstration's folder, its exchange, and what happened there: `wanted` of which the `outage` never was."""

    folder: Path
    sandbox: SandboxControl
    wanted: Window
    outage: Window

    def fetcher(self, *arguments: str, exit_code: int = 0) -> None:
        """Run the program in the foreground; NotAsToldError when it ends with another code."""
        print(f"\n  $ python -m fetcher {' '.join(arguments)}".rstrip(), flush=True)
        command = [sys.executable, "-m", "fetcher", "--config", str(self.folder / "config.yaml"), *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FETCHER_")}
        paths = [str(_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
        environment |= {"FETCHER_CLOCK": _NOW, "PYTHONPATH": os.pathsep.join(paths)}
        ended = subprocess.run(command, check=False, env=environment).returncode  # noqa: S603 - our own program
        _expect(ended == exit_code, f"it ended with exit code {ended} instead of {exit_code}")

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What a statement finds in the database, or changes in it."""
        with closing(sqlite3.connect(self.folder / "market.db")) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def asked(self) -> list[str]:
        """The candle requests since the last look."""
        asked = [entry["query"] for entry in self.sandbox.log("/api/v3/klines")]
        self.sandbox.clear_log()
        return asked


def main(arguments: list[str] | None = None) -> int:
    """Show everything; 0 when all of it was as told, 1 when not, 2 for arguments that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m fetcher.sandbox.demo", description=__doc__)
    parser.add_argument("--days", type=int, default=120, help="how much history, 2 to 365 (default 120)")
    days = parser.parse_args(arguments).days
    if not 2 <= days <= 365:  # noqa: PLR2004 - as the help says; more would need more weight than a minute has
        parser.error(f"--days is {days}; choose 2 to 365")
    clock = Clock()
    try:
        _play(days)
    except (NotAsToldError, ConfigError) as error:
        print(f"\nNot as told: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(
        f"\nEverything was as told, in {clock.elapsed():.0f} s. Your own configuration: config.yaml, then `make run`."
    )
    return 0


def _play(days: int) -> None:
    end = parse_utc(_NOW) // DAY * DAY
    wanted = Window(end - days * DAY, end)
    halt = wanted.start + days * DAY // 2
    outage = Window(halt, halt + _OUTAGE_MINUTES * MINUTE)
    told = f"{format_utc(outage.start)}/{format_utc(outage.end)}"
    with (
        tempfile.TemporaryDirectory(prefix="fetcher-demo-") as folder,
        spawn_sandbox("--clock", _NOW, "--latency", "40ms", "--outage", told) as sandbox,
    ):
        stage = Stage(Path(folder), sandbox, wanted, outage)
        for step in (_configure, _backfill, _prove_outage, _make_hole, _heal, _look):
            step(stage)


def _configure(stage: Stage) -> None:
    _tell(
        f"A sandbox plays the exchange at {stage.sandbox.url}. It is {_NOW} there, and each answer takes 40 ms.",
        f"Nothing was traded from {format_utc(stage.outage.start)} to {format_utc(stage.outage.end)}.",
        "The program knows nothing of that yet. This is its configuration:",
    )
    text = _CONFIG.format(url=stage.sandbox.url, start=format_utc(stage.wanted.start)[:10])
    (stage.folder / "config.yaml").write_text(text, encoding="utf-8")
    print("\n" + "".join(f"    {line}\n" for line in text.splitlines()), end="")
    stage.fetcher("config", "check")


def _backfill(stage: Stage) -> None:
    _tell("What would it take to fetch all of it?")
    stage.fetcher("backfill", "--plan")
    _tell("Do it, and prove every slot.")
    stage.fetcher("backfill")
    days = stage.wanted.span // DAY
    minutes, hours = days * 1440 - _OUTAGE_MINUTES, days * 24 - _OUTAGE_MINUTES * MINUTE // HOUR
    counted = stage.rows("SELECT symbol, timeframe, count(*) FROM klines GROUP BY 1, 2 ORDER BY 1, 2 DESC")
    expected = [(symbol, *each) for symbol in _SYMBOLS for each in (("1m", minutes), ("1h", hours))]
    _expect(counted == expected, f"the database holds {counted} instead of {expected}")
    _tell(f"Stored: {sum(count for *_, count in counted):,} candles, each one closed, checked and with its source.")


def _prove_outage(stage: Stage) -> None:
    _tell("The outage: no rows came, which proves nothing. So the program asked again, beside stored candles, twice.")
    stage.fetcher("gaps", "--absent")
    proven = stage.rows(
        "SELECT start_ms, end_ms, min(answers) FROM coverage JOIN series ON id = series_id"
        " WHERE state = 'absent' AND timeframe = '1m' GROUP BY 1, 2"
    )
    _expect(
        [row[:2] for row in proven] == [(stage.outage.start, stage.outage.end)] and proven[0][2] > 1,
        f"proven absent is {proven}, not the outage",
    )


def _make_hole(stage: Stage) -> None:
    hole = _hole(stage)
    _tell(
        f"Now an accident: {_HOLE_MINUTES} minutes of BTC/USDT are deleted behind the program's back, from"
        f" {format_utc(hole.start)} on."
    )
    stage.rows("CREATE TABLE lost AS SELECT * FROM candles WHERE false")
    stage.rows(_KEEP, hole.start, hole.end)
    stage.rows(_DELETE, hole.start, hole.end)
    _tell("The audit counts the candles against what the database claims to hold, and takes the claim back.")
    stage.fetcher("audit", exit_code=1)
    stage.fetcher("audit", "--repair")
    stage.fetcher("gaps")
    found = stage.rows("SELECT symbol, timeframe, start_ms, end_ms, missing FROM gaps")
    _expect(found == [("BTC/USDT", "1m", hole.start, hole.end, _HOLE_MINUTES)], f"the gaps are {found}")


def _heal(stage: Stage) -> None:
    stage.asked()
    _tell("The next run, as cron starts it, finds the gap and fetches that, and nothing else.")
    stage.fetcher()
    hole = _hole(stage)
    asked = stage.asked()
    window = f"startTime={hole.start}&endTime={hole.end - 1}"
    _expect(len(asked) == 1 and window in asked[0], f"the exchange was asked {asked} instead of {window}")
    different = stage.rows(_DIFFERENT, hole.start, hole.end)
    _expect(not different, f"{len(different)} candles did not come back as they were")
    _tell(f"One request; all {_HOLE_MINUTES} candles are back, bit for bit. Another run has nothing to fetch:")
    stage.fetcher()
    _expect(not (again := stage.asked()), f"it asked for candles: {again}")


def _look(stage: Stage) -> None:
    _tell("How things stand:")
    stage.rows("DROP TABLE lost")
    stage.fetcher("status")
    stage.fetcher("sources")
    stage.fetcher("audit")


def _hole(stage: Stage) -> Window:
    start = stage.wanted.start + stage.wanted.span // 4
    return Window(start, start + _HOLE_MINUTES * MINUTE)


def _tell(*sentences: str) -> None:
    print("\n" + "\n".join(f"▸ {sentence}" for sentence in sentences), flush=True)


def _expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - what an assertion takes
    if not condition:
        raise NotAsToldError(otherwise)


if __name__ == "__main__":
    sys.exit(main())
