"""`audit`: proves what the program believes it has against the candles that are there.

JSON: `{"sound", "repaired", "findings": [{"symbol", "timeframe", "kind", "start_ms", "end_ms", "rows", "message",
"repaired"}]}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from db import series as series_rows
from db.engine import reading
from db.errors import DatabaseProblem
from fetcher.audit import audit as examine
from fetcher.cli.show import put_json, put_table, utc
from fetcher.jobqueue import as_series

if TYPE_CHECKING:
    from fetcher.audit import AuditReport, Finding
    from fetcher.cli.invocation import Invocation

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def audit(
    ctx: typer.Context,
    repair: Annotated[
        bool, typer.Option("--repair", help="Take back what coverage claims wrongly: the next run fetches it again.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also add candles up against the coarser ones of the same market.")
    ] = False,
) -> int:
    """Prove what is believed to be stored against the candles.

    Tells each difference. Exit code 1 when something is wrong that was not repaired.

    Example: python -m fetcher audit --repair
    """
    call: Invocation = ctx.obj
    with call.database() as engine:
        with reading(engine) as connection:
            all_series = [as_series(row) for row in series_rows.read_series(connection)]
        try:
            report = examine(engine, all_series, repair=repair, deep=deep)
        except OverflowError as error:  # written by another hand: the program stores nothing that it cannot read
            raise DatabaseProblem(
                f"a row of `candles` holds a number that no candle can have ({error}); delete that row, then "
                "`audit --repair` and a run fetch it again"
            ) from error
    if call.as_json:
        put_json(_as_json(report))
    else:
        _put(report, len(all_series))
    return 0 if report.sound else 1


def _put(report: AuditReport, count: int) -> None:
    if report.findings:
        columns = ["series", "from", "to", "#candles", "what", "repaired", "in words"]
        put_table(columns, [_row(finding) for finding in report.findings])
    if report.repaired:
        typer.echo(f"{report.repaired} repaired; the next run fetches what is gone.")
    if report.sound and not report.repaired:
        typer.echo(f"Sound: in all {count} series the candles are what coverage says.")
    elif any(finding.repairable and not finding.repaired for finding in report.findings):
        typer.echo("Not sound: `audit --repair` takes back what coverage claims wrongly.")
    elif not report.sound:
        typer.echo("Not sound: what is left no repair can mend; the last column says what to do.")


def _row(finding: Finding) -> tuple[object, ...]:
    return (
        str(finding.series), utc(finding.start_ms), utc(finding.end_ms), finding.rows, finding.kind,
        "yes" if finding.repaired else "no", finding.message,
    )  # fmt: skip


def _as_json(report: AuditReport) -> dict[str, Any]:
    return {
        "sound": report.sound,
        "repaired": report.repaired,
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
            }
            for finding in report.findings
        ],
    }
