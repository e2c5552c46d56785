"""`audit`: proves what the program believes it has against the candles that are there.

JSON: `{"sound", "agrees", "files", "repaired", "findings": [{"symbol", "timeframe", "kind", "start_ms", "end_ms",
"rows", "message", "repaired", "source"}]}`; `agrees` is null without `--cross`, and where nothing could be compared,
`source` the one compared with, else null; `files` is how many `--archive` asked about, else null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from db import series as series_rows
from db.engine import reading
from db.errors import unreadable_row
from fetcher.audit import audit as examine
from fetcher.audit_archive import NOT_ASKED, republished
from fetcher.audit_cross import CrossFinding, CrossReport, cross
from fetcher.cli.hand import hand
from fetcher.cli.show import put_json, put_table, utc
from fetcher.cli.signals import stopping
from fetcher.jobqueue import as_series
from fetcher.observe import logs
from fetcher.observe.factlog import FactLog
from fetcher.standing import configured_series
from fetcher.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from db.audit_log import Hand
    from fetcher.app import App
    from fetcher.audit import AuditReport
    from fetcher.cli.invocation import Invocation
    from fetcher.finding import Finding
    from fetcher.model import Series

    AnyFinding = Finding | CrossFinding

T = TypeVar("T")
app = typer.Typer(add_completion=False, rich_markup_mode=None)

OLDER_PAGES = 3  # of each series, besides the newest, that --cross compares


@app.command()
def audit(
    ctx: typer.Context,
    repair: Annotated[
        bool, typer.Option("--repair", help="Take back what coverage claims wrongly: the next run fetches it again.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also add candles up against the coarser ones of the same market.")
    ] = False,
    across: Annotated[
        bool, typer.Option("--cross", help="Also ask a second source for some of the candles, and compare.")
    ] = False,
    archive: Annotated[
        bool, typer.Option("--archive", help="Also ask whether files that were read were published anew since.")
    ] = False,
) -> int:
    """Prove what is believed to be stored against the candles.

    Tells each difference. Exit code 1 when something is wrong that was not repaired, or two sources disagree. --cross
    asks for the newest page and a few older ones of each series with two sources, and stores nothing of it. --archive
    asks for the checksum of each file that was read; with --repair the next run reads anew what is another file now.

    Example: python -m fetcher audit --repair
    """
    call: Invocation = ctx.obj
    with call.database() as engine:
        with reading(engine) as connection:
            all_series = [as_series(row) for row in series_rows.read_series(connection)]
        try:
            report = examine(engine, all_series, repair=repair, deep=deep, by=_hand(call))
        except OverflowError as error:
            raise unreadable_row(error) from error
    files, anew = _archive(call, repair=repair) if archive else (None, [])
    crossed = _cross(call) if across else None
    agrees, found = (None, ()) if crossed is None else (crossed.agrees, crossed.findings)
    findings: list[AnyFinding] = [*report.findings, *anew, *found]
    if call.as_json:
        put_json(_as_json(report, findings, agrees) | {"files": files})
    else:
        _put(report, findings, len(all_series))
        if files is not None:
            typer.echo(_of_files(files, anew))
        if crossed is not None:
            typer.echo(verdict(crossed))
    is_current = all(finding.repaired for finding in anew)
    return 0 if report.sound and is_current and agrees is not False else 1


def _hand(call: Invocation) -> Hand:
    return hand(call, "audit --repair")


def _archive(call: Invocation, *, repair: bool) -> tuple[int, list[Finding]]:
    def ask(program: App, known: Sequence[Series]) -> tuple[int, list[Finding]]:
        return republished(program.archive, program.engine, known, repair=repair, by=_hand(call))

    return _asking(call, ask)


def _cross(call: Invocation) -> CrossReport:
    seed = call.clock.now_ms()  # each audit looks elsewhere

    def ask(program: App, known: Sequence[Series]) -> CrossReport:
        return cross(program.router, program.engine, known, windows=OLDER_PAGES, seed=seed)

    return _asking(call, ask)


def _asking(call: Invocation, ask: Callable[[App, Sequence[Series]], T]) -> T:
    """Have the whole program ask about the configured series that are stored."""
    with call.app() as program, stopping(program.stop):
        logs.set_up(call.config, call.clock, call.verbosity)
        program.hooks.add(FactLog())
        with reading(program.engine) as connection:
            known = [series for series in configured_series(connection, call.config) if series.id > 0]
        return ask(program, known)


def _of_files(files: int, anew: Sequence[Finding]) -> str:
    unknown = sum(finding.kind == NOT_ASKED for finding in anew)
    others = len(anew) - unknown
    text = f"Files of the archive that were read: {files}; another now: {others}."
    return f"{text} {unknown} could not be asked about." if unknown else text


def verdict(crossed: CrossReport) -> str:
    """What the comparison came to, in words."""
    differ = sum(finding.disagrees for finding in crossed.findings)
    left = len(crossed.findings) - differ
    if not crossed.compared:
        reason = "the last column says why" if left else "of no series are candles stored that a second source offers"
        return f"Nothing was compared: {reason}."
    text = f"Sources disagree in {counted(differ, 'place')}." if differ else "Where sources were compared, they agree."
    return f"{text} {left} could not be compared." if left else text


def _put(report: AuditReport, findings: Sequence[AnyFinding], count: int) -> None:
    if findings:
        columns = ["series", "from", "to", "#candles", "what", "repaired", "in words"]
        put_table(columns, [_row(finding) for finding in findings])
    repaired = sum(finding.repaired for finding in findings)
    if repaired:
        typer.echo(f"{repaired} repaired; the next run fetches what is gone.")
    if report.sound and not report.repaired:
        typer.echo(f"Sound: in all {count} series the candles are what coverage says.")
    elif any(finding.repairable and not finding.repaired for finding in report.findings):
        typer.echo("Not sound: `audit --repair` takes back what coverage claims wrongly.")
    elif not report.sound:
        typer.echo("Not sound: what is left no repair can mend; the last column says what to do.")


def _row(finding: AnyFinding) -> tuple[object, ...]:
    return (
        str(finding.series), utc(finding.start_ms), utc(finding.end_ms), finding.rows, finding.kind,
        "yes" if finding.repaired else "no", finding.message,
    )  # fmt: skip


def _as_json(report: AuditReport, findings: Sequence[AnyFinding], agrees: bool | None) -> dict[str, Any]:
    return {
        "sound": report.sound,
        "agrees": agrees,
        "repaired": sum(finding.repaired for finding in findings),
        "findings": [
            {
                "symbol": finding.series.symbol,
                "timeframe": finding.series.timeframe.name,
                "kind": finding.kind,
                "start_ms": finding.start_ms,
                "end_ms": finding.end_ms,
                "rows": finding.rows,
                "message": finding.message,
                "repaired": finding.repaired,
                "source": finding.other if isinstance(finding, CrossFinding) else None,
            }
            for finding in findings
        ],
    }
