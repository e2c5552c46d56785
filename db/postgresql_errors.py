"""PostgreSQL's errors about the database itself, sorted by what to do about them.

By SQLSTATE; what is refused while connecting comes as text alone, from the server, from libpq or from PgBouncer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from sqlalchemy.exc import DBAPIError

from db.errors import TABLE_GONE, DatabaseLost, DatabaseProblem, DatabaseUnusable, TableGone

if TYPE_CHECKING:
    from collections.abc import Mapping

_Told = tuple[type[DatabaseProblem], str]

_SHOWN = 300
_GONE: _Told = (DatabaseLost, "cannot be reached ({reason}); is the server running, are host and port right?")
_BROKEN: _Told = (DatabaseLost, "broke the connection ({reason}); it was restarted, or the network failed: run again")
_BUSY: _Told = (DatabaseLost, "takes no connections just now ({reason}); run again when it has started")
_FULL: _Told = (DatabaseLost, "has no connection left for us; raise its max_connections, or put PgBouncer before it")
_PASSWORD: _Told = (DatabaseUnusable, "refuses the user or its password; mend database_url")
_MISSING: _Told = (DatabaseUnusable, "does not exist on that server; create it (encoding UTF8), or mend database_url")
_DENIED: _Told = (DatabaseProblem, "refuses this ({reason}); grant it to the user, or name another in database_url")
_READ_ONLY: _Told = (
    DatabaseProblem,
    "cannot be written (a standby, or set so); name the primary server in database_url",
)
_OPTION: _Told = (DatabaseUnusable, "has an option in its URL that cannot be used ({reason}); mend database_url")
_CERTIFICATE: _Told = (DatabaseUnusable, "cannot be asked ({reason}); mend the options at the end of database_url")
_TLS: _Told = (DatabaseProblem, "is not as sslmode asks for ({reason}); mend the server, or sslmode in database_url")
_SERVER: _Told = (DatabaseProblem, "cannot be used: {reason}")
_DAMAGED: _Told = (DatabaseProblem, "is damaged ({reason}); look at the server's log and disk, restore the last backup")

_BY_STATE: Mapping[str, _Told] = {
    "22P05": (DatabaseUnusable, "is not encoded in UTF8 and cannot hold every text; create one with ENCODING 'UTF8'"),
    "25006": _READ_ONLY,
    "25P03": _BROKEN,
    "28000": _PASSWORD,
    "28P01": _PASSWORD,
    "3D000": _MISSING,
    "3F000": (DatabaseProblem, "has no schema that this user may use; grant USAGE and CREATE on one"),
    "40001": (DatabaseLost, "asked to try again, since others write at the same time; run again"),
    "40P01": (DatabaseLost, "asked to try again, since others write at the same time; run again"),
    "42501": _DENIED,
    "42P01": (TableGone, TABLE_GONE),
    "53100": (
        DatabaseProblem,
        "cannot grow: the server's disk is full; make room and run again, nothing committed is lost",
    ),
    "53200": (DatabaseProblem, "has no memory left on the server; run again later, nothing committed is lost"),
    "53300": _FULL,
    "55P03": (DatabaseProblem, "is kept locked by another process; end that process or try again later"),
    "57014": (DatabaseProblem, "ended a statement ({reason}); is statement_timeout set for this user?"),
    "57P01": _BROKEN,
    "57P02": _BROKEN,
    "57P03": _BUSY,
    "57P05": _BROKEN,
    "58030": _DAMAGED,
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}
_BY_WORDS: Mapping[str, _Told] = {
    "too many": _FULL,
    "remaining connection slots": _FULL,
    "no more connections allowed": _FULL,
    "password authentication failed": _PASSWORD,
    "no password supplied": _PASSWORD,
    "sasl authentication failed": _PASSWORD,
    "no such user": _PASSWORD,
    "is not permitted to log in": _DENIED,
    'role "': _PASSWORD,
    "no pg_hba.conf entry": (DatabaseProblem, "lets this user not in from here: its pg_hba.conf has no line for it"),
    "certificate file": _CERTIFICATE,  # before "does not exist": that is said of files too
    "private key file": _CERTIFICATE,
    "does not support ssl": _TLS,
    "server certificate": _TLS,
    "certificate verify failed": _TLS,
    "no such database": _MISSING,
    "does not exist": _MISSING,
    "permission denied": _DENIED,
    "invalid connection option": _OPTION,
    "invalid uri": _OPTION,
    'value: "': _OPTION,
    "bad value for": _OPTION,
    "for connection option": _OPTION,
    "definition of service": _OPTION,
    "service file": _OPTION,
    "starting up": _BUSY,
    "shutting down": _BUSY,
    "not yet accepting": _BUSY,
    "not accepting": _BUSY,
    "in recovery": _BUSY,
    "server login": _BUSY,
    "connection failed": _GONE,
    "connection to server": _GONE,
    "connection timeout": _GONE,
    "connection attempts failed": _GONE,
    "failed to resolve": _GONE,
    "could not translate host name": _GONE,
}  # fmt: skip


def in_words(error: DBAPIError | psycopg.Error) -> _Told | None:
    """What an error says of the database itself: its kind, and the rest of a sentence; None where it is our bug."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, psycopg.Error):
        return None
    told = _sorted(cause)
    if told is None:
        return None
    # What the server refused inside a transaction comes with the place in our statement, which is nobody's business.
    said = " ".join((cause.diag.message_primary or str(cause)).split())
    reason = said.removeprefix("connection failed: ").partition(" Is the server running")[0]
    return told[0], told[1].format(reason=reason if len(reason) <= _SHOWN else f"{reason[:_SHOWN]} …")


def _sorted(cause: psycopg.Error) -> _Told | None:
    state = cause.sqlstate
    if state is not None and state in _BY_STATE:
        return _BY_STATE[state]
    if state is not None and not state.startswith("08"):
        return _SERVER if isinstance(cause, psycopg.OperationalError) else None
    text = str(cause).lower()
    for words, told in _BY_WORDS.items():
        if words in text:
            return told
    return _BROKEN if isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError)) else None
