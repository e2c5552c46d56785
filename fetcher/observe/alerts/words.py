"""Alerts in words: all that is new at one look as one message. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetcher.clock import brief_utc
from fetcher.model import MINUTE
from fetcher.observe.alerts.telling import Turn
from fetcher.observe.progress import duration
from fetcher.wire import excerpt
from fetcher.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from db.alerts import AlertRow, Message
    from fetcher.observe.alerts.telling import News

LONGEST_WORDS = 200  # of a stranger
_SHOWN = 5  # of one kind; the others are counted
_MARKS = str.maketrans({"<": "‹", ">": "›", "[": "(", "]": ")", "`": "'", "@": "(at)", "*": "+"})  # noqa: RUF001 - look-alikes, on purpose
_ORDER = (Turn.BEGUN, Turn.WORSE, Turn.STILL, Turn.OVER, Turn.PASSED)


def strangers(text: str | None) -> str:
    """What a source said, in one short line that no service of messages takes for markup or for a call to somebody."""
    return excerpt(excerpt(text or "nothing is known of why", LONGEST_WORDS).translate(_MARKS), LONGEST_WORDS)


def compose(news: Sequence[News], host: str, now_ms: int) -> tuple[str, str]:
    """Title and body of one message that tells all of it, the urgent things first."""
    problems = sum(each.turn in {Turn.BEGUN, Turn.WORSE, Turn.STILL} for each in news)
    over = len(news) - problems
    counts = ([counted(problems, "problem")] if problems else []) + ([f"{over} over"] if over else [])
    title = f"fetcher on {host}: {', '.join(counts)}"
    groups: dict[tuple[Turn, str], list[News]] = {}
    for each in sorted(news, key=lambda each: (_ORDER.index(each.turn), not each.alert.urgent)):
        groups.setdefault((each.turn, each.alert.kind), []).append(each)
    lines = []
    for mine in groups.values():
        lines += [_line(each, now_ms) for each in mine[:_SHOWN]]
        if len(mine) > _SHOWN:
            lines.append(f"… and {len(mine) - _SHOWN} more like these; `python -m fetcher alerts` lists all")
    return title, "\n".join(lines)


def joined(messages: Sequence[Message]) -> tuple[str, str]:
    """Several messages for one target as one, oldest first; each under its time where there are several."""
    if len(messages) == 1:
        return messages[0].title, messages[0].body
    title = f"{messages[-1].title} (and {len(messages) - 1} earlier)"
    return title, "\n\n".join(f"{minute(each.made_ms)}\n{each.body}" for each in messages)


def _line(news: News, now_ms: int) -> str:
    alert = news.alert
    lasted = duration((now_ms - alert.since_ms) / 1000)
    gone = now_ms if alert.gone_ms is None else alert.gone_ms
    match news.turn:
        case Turn.BEGUN:
            since = "" if alert.since_ms == now_ms else f" (since {minute(alert.since_ms)})"
            return f"{'URGENT' if alert.urgent else 'PROBLEM'}: {alert.message}{since}"
        case Turn.WORSE:
            return f"WORSE: {alert.message} (since {minute(alert.since_ms)})"
        case Turn.STILL:
            return f"STILL, for {lasted}: {alert.message}"
        case Turn.OVER:
            return f"OVER after {duration((gone - alert.since_ms) / 1000)}: {alert.message}"
        case Turn.PASSED:
            return f"WAS from {minute(alert.since_ms)} to {minute(gone)}, in quiet hours: {alert.message}"


def as_dict(row: AlertRow) -> Mapping[str, object]:
    """An alert as JSON-able values, for machines."""
    return {
        "key": row.key, "kind": row.kind, "host": row.host, "message": row.message, "urgent": row.urgent,
        "level": row.level, "since_ms": row.since_ms, "seen_ms": row.seen_ms, "gone_ms": row.gone_ms,
        "told_ms": row.sent_ms, "held": row.held,
    }  # fmt: skip


def minute(ms: int) -> str:
    """A moment (ms UTC) to the minute: `2026-06-01T12:00Z`."""
    return brief_utc(ms - ms % MINUTE)
