"""`sustained`: whether a backfill spends all of the weight that a limit allows, minute by minute, and never more.

The limits are a tenth of the real ones; the clock is the real one, on both databases at once, each with an exchange of
its own. The first minute, begun in its middle, does not count.
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from fetcher.model import MINUTE
from fetcher.sandbox.control import spawn_sandbox
from tests.bench.figures import Figure, Goal
from tests.bench.places import KINDS, opened
from tests.bench.size import COINS, LATENCY_SECONDS
from tests.bench.stage import command, market, stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetcher.sandbox.control import SandboxControl
    from tests.bench.size import Say, Size

_WEIGHT = 600  # a minute
_START = "2018-01-01"  # some 4 million minutes: 300 pages a minute never bring them
_REFUSED = {418, 429}
_PATIENCE = 60.0
_SLACK = 2.0  # seconds into the next minute, so that what counts for the last one is in the log


@dataclass(frozen=True, slots=True)
class _Running:
    kind: str
    sandbox: SandboxControl
    child: subprocess.Popen[bytes]
    complaints: IO[str]


def sustained(size: Size, say: Say) -> list[Figure]:
    """The share of a limited weight that was spent, and how often the exchange had to refuse."""
    say(f"sustained: {size.sustained_minutes} full minutes of the clock at {_WEIGHT} weight a minute")
    figures = []
    with ExitStack() as stack:
        running = [stack.enter_context(_backfilling(kind)) for kind in KINDS]
        now = time.time()
        first = int(now // 60 + 1)  # a minute of the clock, as a number
        time.sleep((first + size.sustained_minutes) * 60 + _SLACK - now)
        for each in running:
            figures += _figures(each, first, size.sustained_minutes)
    return figures


@contextmanager
def _backfilling(kind: str) -> Iterator[_Running]:
    """A backfill at work in a process of its own, on limits of its own."""
    limits = ("--weight-limit", str(_WEIGHT), "--latency", f"{LATENCY_SECONDS}s")
    with (
        opened(kind) as place,
        spawn_sandbox(*limits, "--kept-pages", "16") as sandbox,
        stage(sandbox.url, place, [market(COINS[:1], ["1m"], _START)], weight=_WEIGHT) as here,
        tempfile.TemporaryFile("w+") as complaints,
    ):
        asked = command("-m", "fetcher", "--config", str(here.config), "-q", "backfill")
        child = subprocess.Popen(**asked, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaints)
        try:
            yield _Running(kind, sandbox, child, complaints)
        finally:
            child.kill()
            child.wait()


def _figures(each: _Running, first: int, minutes: int) -> list[Figure]:
    if each.child.poll() is not None:
        raise RuntimeError(f"the backfill on {each.kind} ended by itself: {_said(each)}")
    log = each.sandbox.log()
    spent = [_spent(log, first + number) for number in range(minutes)]
    refused = sum(entry["status"] in _REFUSED for entry in log)
    began = time.perf_counter()
    each.child.send_signal(signal.SIGTERM)
    code = each.child.wait(_PATIENCE)
    left = time.perf_counter() - began
    if code != 1:  # something is still missing
        raise RuntimeError(f"after SIGTERM the backfill on {each.kind} ended with {code}: {_said(each)}")
    name = f"sustained on {each.kind}"
    share = sum(spent) / (_WEIGHT * minutes)
    return [
        Figure(f"{name}: share of {minutes} minutes' weight spent", "×", [share], goal=Goal(at_least=0.95)),
        Figure(f"{name}: share by minute", "×", [weight / _WEIGHT for weight in spent]),
        Figure(f"{name}: answers 429 or 418", "", [refused], goal=Goal(at_most=0)),
        Figure(f"{name}: from SIGTERM to the end", "s", [left]),
    ]


def _spent(log: list[dict[str, Any]], minute: int) -> int:
    """The weight that the exchange counted in a minute of the clock; refused requests are counted by it, too."""
    return max((entry["weight_used"] for entry in log if entry["at_ms"] // MINUTE == minute), default=0)


def _said(each: _Running) -> str:
    each.complaints.seek(0)
    return each.complaints.read().strip()
