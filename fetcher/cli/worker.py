"""`worker`: works the queue that others fill, on this machine or another one.

JSON: `{"done", "put_back", "given_up", "waiting", "exit_code", "sources": [{"source", "message"}]}`; jobs that this
process ended, put back with a reason or gave up, and jobs that wait in the queue now.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from db import jobs
from db.engine import reading
from fetcher.cli.show import plain, put_json
from fetcher.cli.working import Troubles, working
from fetcher.events import JobEnded
from fetcher.outcome import EXIT_INCOMPLETE, EXIT_OK

if TYPE_CHECKING:
    from fetcher.cli.invocation import Invocation
    from fetcher.events import Fact

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def worker(
    ctx: typer.Context,
    stay: Annotated[
        bool, typer.Option("--stay", help="Wait for more work, until SIGTERM or Ctrl-C; else end when nothing is due.")
    ] = False,
) -> int:
    """Work the jobs that wait in the queue, and plan none.

    For more machines on one PostgreSQL, or more processes on this one: each job is claimed once, and budgets, rests and
    breakers hold for all together. Give it the same configuration as the runs that plan.

    Example: python -m fetcher worker --stay
    """
    call: Invocation = ctx.obj
    with call.app() as program:
        ended, troubles = Counter[str](), Troubles()

        def count(fact: Fact) -> None:
            if isinstance(fact, JobEnded):
                ended[fact.status] += 1

        program.hooks.add(count)
        program.hooks.add(troubles)
        with working(call, program):
            result = program.fetcher.work_queue(stay=stay)
        with reading(program.engine) as connection:
            waiting = sum(number for (status, _), number in jobs.counts(connection).items() if status == jobs.QUEUED)
        told = troubles.sentences(program, result)
    code = EXIT_INCOMPLETE if ended[jobs.QUEUED] or ended[jobs.FAILED] else EXIT_OK
    if call.as_json:
        messages = [{"source": source, "message": message} for source, message in told.items()]
        put_json(
            {
                "done": ended[jobs.DONE], "put_back": ended[jobs.QUEUED], "given_up": ended[jobs.FAILED],
                "waiting": waiting, "exit_code": code, "sources": messages,
            }
        )  # fmt: skip
        return code
    if call.verbosity >= 0 or code:
        typer.echo(
            f"Jobs done: {ended[jobs.DONE]:,}; put back: {ended[jobs.QUEUED]:,}; given up: {ended[jobs.FAILED]:,}; "
            f"waiting now: {waiting:,}."
        )
    for message in told.values():
        typer.echo(plain(message, 1_000))
    return code
