"""Rows as an SQLite database: SQLite finds it sound and reads the same rows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db import candles, images
from db.candles import COLUMNS, STORED_DTYPE
from db.engine import open_engine, reading, writing
from db.images import image
from db.manager import DatabaseManager

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from db.images import Rows

DTYPE = np.dtype([(name, STORED_DTYPE[name]) for name in COLUMNS])
MANY = candles._ROWS_OF_AN_IMAGE


def some_rows(number: int, first: int = 0) -> Rows:
    """Rows with prices of all digits, and here and there one whose amounts are unknown."""
    rows = np.zeros(number, dtype=DTYPE)
    rng = np.random.default_rng(number)
    rows["open_time"] = 60_000 * np.arange(first, first + number)
    for name in COLUMNS:
        if DTYPE[name].kind == "f":
            rows[name] = rng.random(number) * 1e5
    rows["trades"] = rng.integers(0, 2**40, number)
    rows["flags"] = rng.integers(0, 8, number)
    for name in ("volume", "quote_volume", "taker_base", "taker_quote"):
        rows[name][::7] = np.nan
    rows["trades"][::7] = -1
    return rows


def attached(connection: Connection) -> set[str]:
    """What a connection has attached."""
    return {row[1] for row in connection.exec_driver_sql("PRAGMA database_list")} - {"main", "temp"}


def plain(rows: Rows) -> list[tuple[Any, ...]]:
    """Rows as SQLite gives them: NaN is NULL."""
    return [tuple(None if cell != cell else cell for cell in row) for row in rows.tolist()]  # noqa: PLR0124 (NaN)


def opened(rows: Rows) -> tuple[list[tuple[str]], list[tuple[Any, ...]]]:
    """What SQLite says of an image, and what it reads from it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(image(rows))
        return connection.execute("PRAGMA integrity_check").fetchall(), connection.execute("SELECT * FROM t").fetchall()


ON_A_PAGE = 327  # 32,768 bytes, less a header of 8, by cells of 98 bytes and two that say where each is


@pytest.mark.parametrize(
    "number", [1, 2, ON_A_PAGE - 1, ON_A_PAGE, ON_A_PAGE + 1, 2 * ON_A_PAGE, 2 * ON_A_PAGE + 1, 44_640]
)
def test_every_number_of_rows_is_a_sound_database(number: int) -> None:
    """One page, exactly full pages, a last page with a single row, a month of minutes."""
    rows = some_rows(number)
    said, read = opened(rows)
    assert said == [("ok",)]
    assert read == plain(rows)


def test_as_many_rows_as_one_image_may_have() -> None:
    """The page above the leaves has room for all of them, and their numbers are of one length."""
    rows = some_rows(images.MOST_ROWS)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(image(rows))
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        [told] = connection.execute("SELECT count(*), sum(open_time), max(rowid) - min(rowid) + 1 FROM t").fetchall()
    assert told == (len(rows), int(rows["open_time"].sum()), len(rows))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1), st.integers(-(2**15), 2**15 - 1), st.floats(allow_nan=False), st.floats()
        ),
        min_size=1,
        max_size=300,
    )
)
def test_any_number_is_itself(cells: list[tuple[int, int, float, float]]) -> None:
    """Whole numbers of eight and of two bytes to their ends, and doubles bit for bit."""
    rows = np.array(cells, dtype=[("a", "i8"), ("b", "i2"), ("c", "f8"), ("d", "f8")])
    said, read = opened(rows)
    assert said == [("ok",)]
    assert read == plain(rows)
    assert np.array([row[2] for row in read]).tobytes() == rows["c"].tobytes()


def test_an_image_stores_what_parameters_store(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the type of each cell, also over rows that are there."""
    rows, again = some_rows(MANY), some_rows(MANY, first=MANY // 2)
    with writing(engine) as connection:
        candles.insert(connection, 1, 1, rows)
        candles.insert(connection, 1, 2, again)
        assert len(connection.info[images._ATTACHED]) == 2
    monkeypatch.setattr(images, "can_attach", lambda *_: False)
    with writing(engine) as connection:
        candles.insert(connection, 2, 1, rows)
        candles.insert(connection, 2, 2, again)
    cells = ", ".join(f"{name}, typeof({name})" for name in (*COLUMNS, "source_id"))
    with reading(engine) as connection:
        by_image, by_parameters = (
            connection.exec_driver_sql(f"SELECT {cells} FROM candles WHERE series_id = {n} ORDER BY open_time").all()  # noqa: S608 (our names)
            for n in (1, 2)
        )
    assert len(by_image) == MANY + MANY // 2
    assert by_image == by_parameters


def test_more_than_a_transaction_has_room_for_go_as_parameters(engine: Engine) -> None:
    """SQLite attaches ten databases at most; the next transaction has room again, and nothing stays attached."""
    for number in (1, 2):
        with writing(engine) as connection:
            for turn in range(images._MOST_IMAGES + 2):
                candles.insert(connection, number, 1, some_rows(MANY, first=turn * MANY))
            assert len(connection.info[images._ATTACHED]) == images._MOST_IMAGES
            assert candles.count(connection, number, 0, 2**62) == MANY * (images._MOST_IMAGES + 2)
    with writing(engine) as connection:
        assert not attached(connection)


def test_what_a_rolled_back_transaction_attached_is_let_go(engine: Engine) -> None:
    """A price that is no number is refused as ever; nothing of its page is stored, and the connection goes on."""
    rows = some_rows(MANY)
    rows["close"][-1] = np.nan
    for _ in range(3 * images._MOST_IMAGES):
        with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"), writing(engine) as connection:
            candles.insert(connection, 1, 1, rows)
    with writing(engine) as connection:
        assert candles.count(connection, 1, 0, 2**62) == 0
        candles.insert(connection, 1, 1, some_rows(MANY))
    with reading(engine) as connection:
        assert candles.count(connection, 1, 0, 2**62) == MANY
        assert not attached(connection)


def test_a_row_that_is_too_wide_is_refused() -> None:
    """An image of it would be rubbish: lengths are one byte."""
    image(np.ones(3, dtype=[(f"c{n}", "f8") for n in range(14)]))
    with pytest.raises(ValueError, match="a row of an image has 127 bytes at most, not 136"):
        image(np.ones(3, dtype=[(f"c{n}", "f8") for n in range(15)]))


def test_where_nothing_can_be_attached_rows_go_as_parameters(engine: Engine) -> None:
    """As SQLite may be built; and it reads no image beside a database in another encoding, which somebody else made."""
    with writing(engine) as connection:
        driver: Any = connection.connection.driver_connection
        before = driver.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        candles.insert(connection, 1, 1, some_rows(MANY))
        driver.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, before)
        assert candles.count(connection, 1, 0, 2**62) == MANY


def test_a_database_in_utf_16_takes_many_rows(tmp_path: Path) -> None:
    """Made by hand before the program met it."""
    path = tmp_path / "wide.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA encoding = 'UTF-16le'")
        connection.execute("CREATE TABLE mine (x)")
        connection.execute("DROP TABLE mine")
    wide = open_engine(f"sqlite:///{path}")
    DatabaseManager(wide, f"sqlite:///{path}").prepare()
    with writing(wide) as conn:
        candles.insert(conn, 1, 1, some_rows(MANY))
        assert candles.count(conn, 1, 0, 2**62) == MANY
    wide.dispose()


def test_a_connection_that_is_gone_has_nothing_to_let_go(engine: Engine) -> None:
    """What went wrong is told, not that it cannot be detached any more; and the next one is as new."""

    def interrupted() -> None:
        with writing(engine) as connection:
            candles.insert(connection, 1, 1, some_rows(MANY))
            connection.invalidate()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with writing(engine) as connection:
        assert candles.count(connection, 1, 0, 2**62) == 0
        candles.insert(connection, 1, 1, some_rows(MANY))
        assert connection.info[images._ATTACHED] == ["image0"]


def test_a_connection_that_holds_on_to_an_image_is_closed(engine: Engine) -> None:
    """A cursor left open on one: what was committed is committed, and the pool has no connection that still has it."""
    with writing(engine) as connection:
        candles.insert(connection, 1, 1, some_rows(MANY))
        driver: Any = connection.connection.driver_connection
        held = driver.execute("SELECT * FROM image0.t")
        held.fetchone()
    with reading(engine) as connection:
        assert candles.count(connection, 1, 0, 2**62) == MANY
        assert not attached(connection)
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        held.fetchone()
