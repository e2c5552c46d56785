"""Who holds a lease or a lock: a process by its host, pid and start, and whether it still runs."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import cache
from hashlib import blake2s
from pathlib import Path

_NONE, _UNSEEN = "-", "0"  # in place of a start time: no such process; one that runs, begun nobody knows when


def own_name() -> str:
    """Name this process as a lease owner: host, pid and its start time, which no later process repeats."""
    return f"{_host()} {os.getpid()} {_started(os.getpid())}"


@cache
def _host() -> str:
    """Name this host, and the pid namespace in which its pids mean anything (containers may share the host's name).

    Two machines that share a database may be called the same: then what tells them apart is the machine's id, hashed as
    its manual asks.
    """
    host = socket.gethostname()
    with suppress(OSError):
        machine = Path("/etc/machine-id").read_bytes().strip()
        host += f"/{blake2s(machine, digest_size=4).hexdigest()}" if machine else ""
    with suppress(OSError):
        host += f"/{Path('/proc/self/ns/pid').readlink().name}"
    return host


def is_dead(owner: str) -> bool:
    """Whether an owner was a process of this host that no longer runs; of other hosts only time can tell (False)."""
    _, pid, started = owner.rsplit(" ", 2)
    return is_of_this_host(owner) and _started(int(pid)) not in {started, _UNSEEN}


def is_running(pid: int) -> bool:
    """Whether a process of this host, by its pid alone, runs."""
    return _started(pid) != _NONE


def is_of_this_host(owner: str) -> bool:
    """Whether an owner is or was a process of this host."""
    host, pid, _ = owner.rsplit(" ", 2)
    return host == _host() and pid.isdigit()


def _started(pid: int) -> str:
    """Start time of a running process in clock ticks since boot, from /proc; else _NONE or _UNSEEN."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return _UNSEEN if _is_unseen(pid) else _NONE
    fields = stat.rpartition(")")[2].split()
    return _NONE if fields[0] in {"Z", "X"} else fields[19]


def _is_unseen(pid: int) -> bool:
    """Whether a process runs that /proc does not show: another user's (hidepid), or any where there is no Linux."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return not Path("/proc/self/stat").exists()
