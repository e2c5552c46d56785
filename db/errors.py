"""The database package's own errors; the application maps them to its own."""


class DatabaseProblem(Exception):
    """The database cannot be used as it is; the message says what happened and what to do."""


class DatabaseLost(DatabaseProblem):
    """The connection broke, or the server asks to try again; nothing of the transaction was kept: it may be redone."""


class DatabaseUnusable(DatabaseProblem):
    """No run could use it: a URL that is none, another program's or a newer one's; the configuration must change."""


class TableGone(DatabaseProblem):
    """A table or view of ours is not there: removed by another hand, or a restore that was cut short."""


def unreadable_row(error: Exception) -> DatabaseProblem:
    """What a row that another hand wrote is told as: the program stores nothing that it cannot read."""
    return DatabaseProblem(
        f"a row of `candles` holds a number that no candle can have ({error}); delete that row, then `audit --repair` "
        "and a run fetch it again"
    )


TABLE_GONE = "lacks a table of this program; `db check` names it"
