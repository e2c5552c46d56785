"""Connections to PostgreSQL that break: found before they are used, done again, and no COMMIT in doubt."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text

from db import retrying, state
from db.engine import open_engine, reading, writing
from db.errors import DatabaseLost, DatabaseProblem
from db.retrying import PAUSES, Patience, retried
from tests.contract.store_base import T0
from tests.relay import relay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.postgresql import Server

ADD = text("INSERT INTO runs (kind, started_ms, host, pid) VALUES ('run', 0, 'here', 1)")


@pytest.fixture
def name(postgresql: Server) -> Iterator[str]:
    """A database with our tables."""
    made = postgresql.prepared()
    yield made
    postgresql.drop(made)


@pytest.fixture
def engine(postgresql: Server, name: str) -> Iterator[Engine]:
    """An engine on it."""
    opened = open_engine(postgresql.url(name))
    yield opened
    opened.dispose()


def runs(engine: Engine) -> int:
    """How many rows ADD has made."""
    with reading(engine) as conn:
        return int(conn.execute(text("SELECT count(*) FROM runs")).scalar_one())


def test_a_connection_closed_meanwhile_costs_a_reconnect(engine: Engine, postgresql: Server, name: str) -> None:
    """Pooled connections that the server ended are noticed before anything is sent on them."""
    with reading(engine), reading(engine), writing(engine):
        pass
    assert postgresql.cut(name) == 3
    for _ in range(3):
        assert runs(engine) == 0


def test_connections_that_break_as_soon_as_they_are_made(engine: Engine, postgresql: Server, name: str) -> None:
    """As while a server shuts down: told in a sentence like any other, and tried again."""
    cuts = [1, 1]

    def cut(*_: object) -> None:
        if cuts:
            cuts.pop()
            postgresql.cut(name)

    assert runs(engine) == 0
    postgresql.cut(name)
    event.listen(engine, "connect", cut)
    with pytest.raises(DatabaseLost, match="broke the connection"):
        runs(engine)
    assert retried(runs)(engine) == 0
    assert cuts == []


def test_a_restarted_server_costs_a_reconnect(engine: Engine, postgresql: Server) -> None:
    """The same when all of the server was away for a moment."""
    assert runs(engine) == 0
    postgresql.stop()
    postgresql.start()
    assert runs(engine) == 0


def test_what_was_cut_in_the_middle_is_told_and_not_kept(engine: Engine, postgresql: Server, name: str) -> None:
    """The whole transaction is lost, the error says so in a sentence, and the next one works."""

    def write() -> None:
        with writing(engine) as conn:
            conn.execute(ADD)
            postgresql.cut(name)
            conn.execute(ADD)

    with pytest.raises(DatabaseLost, match="broke the connection"):
        write()
    assert runs(engine) == 0


def test_what_is_one_transaction_is_done_again(engine: Engine, postgresql: Server, name: str) -> None:
    """A function marked as such is called until it gets through, and leaves its effect once."""
    cuts = [True, True, False]

    @retried
    def add(engine: Engine) -> str:
        with writing(engine) as conn:
            conn.execute(ADD)
            if cuts.pop(0):
                postgresql.cut(name)
        return "done"

    assert add(engine) == "done"
    assert runs(engine) == 1


@pytest.mark.parametrize("swallow", [False, True], ids=["the answer is lost", "the COMMIT is lost"])
def test_a_commit_without_an_answer_is_looked_up(postgresql: Server, name: str, *, swallow: bool) -> None:
    """Where the server had committed nothing is done again; where it had not everything is: once in the end."""
    with relay(postgresql.port) as way:
        way.swallow = swallow
        engine = open_engine(postgresql.url(name).replace(str(postgresql.port), str(way.port)))
        tries = []

        @retried
        def add(engine: Engine) -> None:
            tries.append(1)
            with writing(engine) as conn:
                conn.execute(ADD)
                if len(tries) == 1:
                    way.armed.set()

        add(engine)
        assert (way.cuts, len(tries)) == (1, 2 if swallow else 1)
        assert runs(engine) == 1
        engine.dispose()


def test_a_commit_that_can_not_be_looked_up_is_told(
    postgresql: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the server stays away nobody claims to know."""
    monkeypatch.setattr("db.postgresql.PAUSES", (0.0, 0.01))
    with relay(postgresql.port) as way:
        engine = open_engine(postgresql.url(name).replace(str(postgresql.port), str(way.port)))

        def write() -> None:
            with writing(engine) as conn:
                conn.execute(ADD)
                way.armed.set()
                way.close()

        with pytest.raises(DatabaseProblem, match="is not known") as caught:
            write()
        assert not isinstance(caught.value, DatabaseLost)
        engine.dispose()


def test_a_deadlock_is_done_again(engine: Engine) -> None:
    """Whom the server chose to end a deadlock tries again: here one who takes two rows in the other order."""
    with writing(engine) as conn:
        for key in "ab":
            state.cache_put(conn, key, "", T0)
    tries = []

    @retried
    def put(engine: Engine) -> None:
        tries.append(1)
        with writing(engine) as conn:
            conn.execute(text("SET LOCAL deadlock_timeout = '50ms'"))
            state.cache_put(conn, "b", "second", T0)
            if len(tries) == 1:
                held.set()
            state.cache_put(conn, "a", "second", T0)

    held = Event()
    with writing(engine) as other:
        other.execute(text("SET LOCAL deadlock_timeout = '10s'"))
        state.cache_put(other, "a", "first", T0)
        thread = Thread(target=put, args=(engine,))
        thread.start()
        assert held.wait(10)
        state.cache_put(other, "b", "first", T0)
    thread.join()
    assert len(tries) == 2
    with reading(engine) as conn:
        assert [state.cache_get(conn, key) for key in "ab"] == [("second", T0)] * 2


def test_waiting_ends_when_the_program_is_told_to_leave() -> None:
    """One more try at once, then none; and who waited in vain once is not waited for again until it answers."""
    leaving = Event()
    patience = Patience(leaving)
    assert patience.wait(1)
    leaving.set()
    assert patience.wait(0)
    assert not patience.wait(1)
    assert not Patience(None).wait(len(PAUSES))


def test_a_server_that_stays_away_is_told_in_one_sentence(
    postgresql: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last try the error passes; others who come meanwhile do not wait as long again."""
    monkeypatch.setattr(retrying, "PAUSES", (0.0, 0.01, 0.01))
    with relay(postgresql.port) as way:
        engine = open_engine(postgresql.url(name).replace(str(postgresql.port), str(way.port)))
        tries = []

        @retried
        def look(engine: Engine) -> None:
            tries.append(1)
            with reading(engine):
                pass

    for expected in (4, 5):  # the relay is gone
        with pytest.raises(DatabaseLost, match="cannot be reached"):
            look(engine)
        assert len(tries) == expected
    engine.dispose()
