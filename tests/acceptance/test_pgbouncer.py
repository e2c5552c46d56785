"""The program behind the real PgBouncer in transaction mode, with fewer connections to the server than threads."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from fetcher.audit import audit
from fetcher.clock import Clock, parse_utc
from fetcher.model import MINUTE, Window
from tests.databases import PostgreSQLServer, chosen
from tests.integration.kills import OUTAGE, SYMBOLS, assert_right, survive
from tests.integration.storms import weather
from tests.integration.world import market, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgresql import Server

PATIENCE = 20.0
SETTINGS = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
server_idle_timeout = 5
logfile = {folder}/log
"""


class Pooled(PostgreSQLServer):
    """Databases of a server that are reached by way of PgBouncer."""

    def __init__(self, server: Server, port: int) -> None:
        super().__init__(server)
        self._port = port

    def url(self, folder: Path) -> str:
        """As Databases has it."""
        return super().url(folder).replace(f":{self.server.port}/", f":{self._port}/")


@contextmanager
def bouncing(server: Server, folder: Path) -> Iterator[int]:
    """PgBouncer before a server; its port."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None, "this test needs PgBouncer: apt-get install pgbouncer"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    folder.chmod(0o755)
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "settings.ini").write_text(SETTINGS.format(server=server.port, own=port, folder=folder))
    mine: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses root
        nobody = pwd.getpwnam("nobody")
        mine = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    child = subprocess.Popen([program, "-q", str(folder / "settings.ini")], cwd=folder, **mine)
    clock = Clock()
    try:
        while True:
            try:
                psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres").close()
                break
            except psycopg.OperationalError:
                assert child.poll() is None, "PgBouncer did not start"
                assert clock.elapsed() < PATIENCE
                Event().wait(0.05)
        yield port
    finally:
        child.terminate()
        child.wait()


@pytest.fixture
def pooled(postgresql: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pooled]:
    """Worlds are made behind PgBouncer."""
    folder = postgresql.base / tmp_path_factory.mktemp("pgbouncer").name  # where `nobody` may go
    folder.mkdir()
    with bouncing(postgresql, folder) as port:
        made = Pooled(postgresql, port)
        with chosen(made):
            yield made
        made.drop_all()


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("pooled")
def test_kills(tmp_path: Path) -> None:
    """Ten kill -9: the same promises as with a connection of one's own."""
    survive(tmp_path, seed=1, kills=10, days=60, most_seconds=0.5)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("pooled")
def test_every_fault_together(tmp_path: Path) -> None:
    """Retries, quarantine, proofs of absence: everything that writes."""
    weather(tmp_path, 1, days=10)


@pytest.mark.timeout(300)
def test_three_programs_and_a_server_that_restarts(tmp_path: Path, pooled: Pooled) -> None:
    """More threads than connections: everything is fetched once, and a restart of the server in between is no end."""
    asked = Window(start := parse_utc("2024-02-01"), start + 60 * 1440 * MINUTE)
    with open_world(tmp_path, "--latency", "20ms", "--outage", OUTAGE) as world:
        world.configure(market(" ".join(SYMBOLS), "1m", "2024-02-01"), workers=4)
        with world.app() as app:
            app.fetcher.sync()
        children = [world.child(asked) for _ in range(3)]
        clock = Clock()
        while len(world.klines()) < 20 and clock.elapsed() < PATIENCE:
            Event().wait(0.01)
        pooled.server.stop()
        Event().wait(0.5)
        pooled.server.start()
        for child in children:
            child.wait(120)
        assert world.child(asked).wait(120) == 0
        assert_right(world, asked)
        with world.app() as app:
            assert audit(app.engine, app.fetcher.sync()).findings == ()
