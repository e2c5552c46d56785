"""Who hears of what: an alert's way from first seen to over, damped, so that nobody is told the same thing twice. Pure.

An alert begins when a finding has lasted long enough. It is told again when it has become twice as bad, and once in
`repeat_ms`. It is over when it was not seen for `calm_ms`: twice as long after each new beginning, so that what comes
and goes falls silent. In quiet hours only urgent ones begin; what was held back is told when they end.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from db.alerts import AlertRow
from fetcher.model import DAY, HOUR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fetcher.observe.alerts.findings import Finding

WORSE_MS = HOUR  # between two messages that the same thing has become worse
LONGEST_CALM_MS = 6 * HOUR
FORGOTTEN_MS = 7 * DAY  # what a machine found that was not heard of since, or what is over and has nobody to be told to


class Turn(Enum):
    """What is new about an alert."""

    BEGUN = "begun"
    WORSE = "worse"
    STILL = "still"
    OVER = "over"
    PASSED = "passed"  # it came and went while nobody wanted to be told


class News(Struct, frozen=True):
    """One thing to tell of an alert, as it is."""

    turn: Turn
    alert: AlertRow


class Manners(Struct, frozen=True):
    """How this process tells: durations in ms, whether it is quiet now, and whether it has anybody to tell at all."""

    host: str
    repeat_ms: int
    calm_ms: int
    quiet: bool = False
    tells: bool = True


class Decision(Struct, frozen=True):
    """Alerts to store, keys to forget, and what to tell."""

    changed: tuple[AlertRow, ...]
    dropped: tuple[str, ...]
    news: tuple[News, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.dropped)


def decide(known: Mapping[str, AlertRow], findings: Iterable[Finding], now_ms: int, manners: Manners) -> Decision:
    """What becomes of the known alerts, now that these things are found."""
    found = {finding.key: finding for finding in findings}
    changed, dropped, news = [], [], []
    row: AlertRow | None
    turn: Turn | None
    for key in [*known, *(key for key in found if key not in known)]:
        before = _in_the_past(known[key], now_ms) if key in known else None
        if key in found:
            row, turn = _there(before, found[key], now_ms, manners)
        elif before is not None and before.host in {None, manners.host}:
            row, turn = _gone(before, now_ms, manners)
        else:  # another machine's affair, which only that one can see
            row, turn = before, None
            if before is not None and now_ms - before.seen_ms >= FORGOTTEN_MS:
                row = None
        if row is None:
            dropped.append(key)
        elif row != known.get(key):
            changed.append(row)
        if turn is not None:
            told = before if turn in {Turn.OVER, Turn.PASSED} and before is not None else row
            if told is not None:
                news.append(News(turn, told))
    return Decision(tuple(changed), tuple(dropped), tuple(news))


def is_open(row: AlertRow) -> bool:
    """Whether an alert stands: it was told, or waits to be; not one that is over and only remembered."""
    return row.gone_ms is None or row.sent_ms is not None or row.held


def _in_the_past(row: AlertRow, now_ms: int) -> AlertRow:
    """The same without times to come, which a clock that was set back since has left."""
    if max(row.since_ms, row.seen_ms, row.gone_ms or 0, row.sent_ms or 0) <= now_ms:
        return row
    return replace(
        row,
        since_ms=min(row.since_ms, now_ms),
        seen_ms=min(row.seen_ms, now_ms),
        gone_ms=None if row.gone_ms is None else min(row.gone_ms, now_ms),
        sent_ms=None if row.sent_ms is None else min(row.sent_ms, now_ms),
    )


def _there(
    before: AlertRow | None, finding: Finding, now_ms: int, manners: Manners
) -> tuple[AlertRow, Turn | None]:  # fmt: skip
    row = _seen(before, finding, now_ms)
    turn = _turn(row, now_ms, manners)
    if turn is None or not manners.tells or now_ms - row.since_ms < finding.after_ms:
        return row, None
    if manners.quiet and not finding.urgent:
        return replace(row, held=turn is Turn.BEGUN), None
    times = row.times + (turn is Turn.BEGUN)
    level = finding.level
    return replace(row, sent_ms=now_ms, level=level, told_level=level, held=False, times=times), turn


def _seen(before: AlertRow | None, finding: Finding, now_ms: int) -> AlertRow:
    fresh = AlertRow(
        finding.key, finding.kind, finding.host, finding.message, finding.urgent, finding.level, now_ms, now_ms
    )
    if before is None:
        return fresh
    if not is_open(before):
        return replace(fresh, times=before.times)
    since, level = before.since_ms, finding.level
    if finding.stuck and before.sent_ms is None:  # against the least so far: what comes and goes on top is no progress
        since, level = (now_ms if level < before.level else since), min(level, before.level)
    return replace(
        fresh, since_ms=since, level=level, sent_ms=before.sent_ms, told_level=before.told_level, times=before.times,
        held=before.held,
    )  # fmt: skip


def _turn(row: AlertRow, now_ms: int, manners: Manners) -> Turn | None:
    if row.sent_ms is None:
        return Turn.BEGUN
    ago = now_ms - row.sent_ms
    if row.level >= 2 * max(1, row.told_level) and ago >= WORSE_MS:
        return Turn.WORSE
    return Turn.STILL if ago >= manners.repeat_ms else None


def _gone(before: AlertRow, now_ms: int, manners: Manners) -> tuple[AlertRow | None, Turn | None]:
    row = before if before.gone_ms is not None else replace(before, gone_ms=now_ms)
    since = now_ms if row.gone_ms is None else row.gone_ms
    if before.sent_ms is None and not before.held:
        forget = before.times == 0 or now_ms - since >= manners.repeat_ms
        return (None if forget else row), None
    patience = min(manners.calm_ms * 2 ** min(max(0, row.times - 1), 10), LONGEST_CALM_MS)
    if not manners.tells and now_ms - since >= FORGOTTEN_MS:
        return None, None
    if now_ms - since < patience or manners.quiet or not manners.tells:
        return row, None
    over = replace(row, sent_ms=None, told_level=0, held=False, times=max(1, row.times))
    return over, Turn.OVER if before.sent_ms is not None else Turn.PASSED
