"""Who changed what by hand: a row in the transaction that made the change. Times are ms UTC.

All functions run in the caller's transaction; those that write need `writing()`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from sqlalchemy import insert, select

from db.schema import audit_log

if TYPE_CHECKING:
    from sqlalchemy import Connection

_LONGEST_NAME = 200


class Hand(Struct, frozen=True):
    """Somebody (`user@host`) who does something by hand, by which command, and when."""

    who: str
    action: str
    at_ms: int

    def note(self, conn: Connection, **detail: object) -> None:
        """Write down what it was done to; `detail` is anything JSON can hold."""
        done = {"at_ms": self.at_ms, "who": self.who[:_LONGEST_NAME], "action": self.action}
        conn.execute(insert(audit_log).values(done | {"detail": json.dumps(detail, ensure_ascii=False)}))


class Deed(Struct, frozen=True):
    """One change made by hand, as it was noted."""

    id: int
    at_ms: int
    who: str
    action: str
    detail: dict[str, Any]


def read(conn: Connection, limit: int) -> list[Deed]:
    """The last changes, newest first."""
    columns = audit_log.c[tuple(Deed.__struct_fields__)]
    rows = conn.execute(select(*columns).order_by(audit_log.c.id.desc()).limit(limit))
    return [Deed(number, at_ms, who, action, json.loads(detail)) for number, at_ms, who, action, detail in rows]
