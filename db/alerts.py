"""Alerts: what is wrong and who was told of it, and messages on their way. Times are ms UTC.

All functions run in the caller's transaction; those that write need `writing()`. Whoever reads alerts, judges and
writes them back holds `ALERTS` of db/locks.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update

from db.dialect import upsert
from db.schema import alert_messages, alerts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

_m = alert_messages.c


class AlertRow(Struct, frozen=True):
    """One alert as stored: what it says, and how far people know of it.

    `since_ms` … `gone_ms`: when it was first seen, and since when it is not any more (None: it is there). `sent_ms`:
    when somebody was last told that it is there, `told_level` how bad it was then; None: nobody was told yet. `times`:
    how often it began lately. `held`: quiet hours keep it back. `host`: the machine that it is about; None: all.
    """

    key: str
    kind: str
    host: str | None
    message: str
    urgent: bool
    level: int
    since_ms: int
    seen_ms: int
    gone_ms: int | None = None
    sent_ms: int | None = None
    told_level: int = 0
    times: int = 0
    held: bool = False


class Message(Struct, frozen=True):
    """A message for one target: not to be sent before `due_ms`, which whoever sends it moves ahead."""

    id: int
    target: str
    title: str
    body: str
    made_ms: int
    due_ms: int
    tries: int


_ALERT_COLUMNS = tuple(alerts.c[tuple(AlertRow.__struct_fields__)])
_MESSAGE_COLUMNS = tuple(_m[tuple(Message.__struct_fields__)])


def read(conn: Connection) -> dict[str, AlertRow]:
    """Every alert by its key, oldest first."""
    rows = conn.execute(select(*_ALERT_COLUMNS).order_by(alerts.c.since_ms, alerts.c.key))
    return {fields[0]: AlertRow(*fields) for fields in map(tuple, rows)}


def put(conn: Connection, rows: Iterable[AlertRow]) -> None:
    """Store alerts, replacing those of the same keys."""
    for row in rows:
        put_one = upsert(conn, alerts).values(asdict(row))
        replaced = {name: put_one.excluded[name] for name in AlertRow.__struct_fields__ if name != "key"}
        conn.execute(put_one.on_conflict_do_update(index_elements=["key"], set_=replaced))


def drop(conn: Connection, keys: Iterable[str]) -> None:
    """Forget alerts."""
    for key in keys:
        conn.execute(delete(alerts).where(alerts.c.key == key))


def post(conn: Connection, targets: Sequence[str], title: str, body: str, now_ms: int) -> None:
    """Put a message on its way to each target; it leaves together with those that wait for the same one."""
    message = {"title": title, "body": body, "made_ms": now_ms, "tries": 0}
    for target in targets:
        waits = conn.execute(select(func.max(_m.due_ms)).where(_m.target == target)).scalar()
        conn.execute(insert(alert_messages).values(message | {"target": target, "due_ms": max(now_ms, waits or 0)}))


def is_due(conn: Connection, targets: Sequence[str], now_ms: int, latest_ms: int) -> bool:
    """Whether a message for one of these targets may be sent now: see `claim`."""
    query = select(_m.id).where(_m.target.in_(targets), _is_due(now_ms, latest_ms)).limit(1)
    return conn.execute(query).first() is not None


def waiting(conn: Connection, since_ms: int = 0) -> int:
    """How many messages made since then were not delivered yet."""
    found: int = conn.execute(
        select(func.count()).select_from(alert_messages).where(_m.made_ms >= since_ms)
    ).scalar_one()
    return found


def claim(conn: Connection, targets: Sequence[str], now_ms: int, until_ms: int, latest_ms: int) -> list[Message]:
    """Become the one who sends these targets' due messages, oldest first; others leave them alone until `until_ms`.

    Due are also those that wait beyond `latest_ms`, as nobody lets them: a clock that was ahead did.
    """
    mine = _m.target.in_(targets), _is_due(now_ms, latest_ms)
    query = select(*_MESSAGE_COLUMNS).where(*mine).order_by(_m.id)
    return [
        message
        for message in (Message(*fields) for fields in map(tuple, conn.execute(query).all()))
        if conn.execute(
            update(alert_messages)
            .where(_m.id == message.id, _m.due_ms == message.due_ms)
            .values(due_ms=until_ms, tries=_m.tries + 1)
        ).rowcount
        == 1
    ]


def delivered(conn: Connection, messages: Iterable[Message]) -> None:
    """Forget messages that have arrived."""
    for message in messages:
        conn.execute(delete(alert_messages).where(_m.id == message.id))


def postpone(conn: Connection, target: str, due_ms: int) -> None:
    """Let all that waits for a target be tried again at `due_ms`."""
    conn.execute(update(alert_messages).where(_m.target == target).values(due_ms=due_ms))


def prune(conn: Connection, before_ms: int) -> int:
    """Forget messages made before `before_ms`, which nobody wants to be told any more; how many."""
    return conn.execute(delete(alert_messages).where(_m.made_ms < before_ms)).rowcount


def _is_due(now_ms: int, latest_ms: int) -> ColumnElement[bool]:
    return or_(_m.due_ms <= now_ms, _m.due_ms > latest_ms)
