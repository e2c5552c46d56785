"""A backup of a PostgreSQL database by its own program, pg_dump; what it needs is told where it is not there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

from sqlalchemy import URL

from db.backups import new_part
from db.engine import reading, shown
from db.errors import DatabaseProblem

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

_SHOWN = 300
_SECRETS = ("password", "sslpassword", "passfile")


def dump(engine: Engine, path: Path) -> None:
    """Write the database as last committed into the new file `path`, in pg_dump's custom format; writers go on.

    The file appears under its name only when it is whole. Raises DatabaseProblem where it exists already or cannot be
    written, and where no pg_dump of the server's version or a newer one is on PATH: then with the command to run.
    """
    part = new_part(path)
    with reading(engine) as conn:
        server = int(conn.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000
    program = shutil.which("pg_dump")
    address = _without_secrets(engine.url)
    if program is None or _major(program) < server:
        found = "none is" if program is None else f"that of version {_major(program)} is"
        by_hand = shlex.join(["pg_dump", "--format=custom", f"--file={path}", address])
        raise DatabaseProblem(
            f"the backup needs pg_dump of PostgreSQL {server} or newer on PATH, where {found}; install it (Debian: "
            f"postgresql-client-{server}), or run it where it is: {by_hand}"
        )
    command = [program, "--format=custom", "--no-password", f"--file={part}", f"--dbname={address}"]
    try:
        # The password goes by the environment: what stands in the command everybody on this machine can read.
        ended = subprocess.run(  # noqa: S603 - pg_dump, and an address of the configuration
            command, env=_environment(engine.url), capture_output=True, text=True, errors="replace", check=False
        )
        if ended.returncode != 0:
            reason = " ".join(ended.stderr.split())[:_SHOWN]
            raise DatabaseProblem(f"the backup of {shown(engine.url)} failed: {reason}")
        part.rename(path)
    except OSError as error:
        raise DatabaseProblem(f"the backup {path} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _major(program: str) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603 - programs of PostgreSQL
    found = re.search(r"\) (\d+)", said)
    return int(found[1]) if found else 0


def _without_secrets(url: URL) -> str:
    rest = url.difference_update_query(_SECRETS)
    bare = URL.create("postgresql", rest.username, None, rest.host, rest.port, rest.database, rest.query)
    return bare.render_as_string(hide_password=False)


def _environment(url: URL) -> dict[str, str]:
    secrets = {"PGPASSWORD": url.password or url.query.get("password"), "PGPASSFILE": url.query.get("passfile")}
    told = {name: str(value) for name, value in secrets.items() if value}
    return {**os.environ, "PGCONNECT_TIMEOUT": "10", **told}
