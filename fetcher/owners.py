"""Who holds a lease or a lock: a process by its host, pid and start, and whether it still runs."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import cache
from hashlib import blake2s
from pathlib import Path


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
    return is_of_this_host(owner) and _started(int(pid)) != started


def is_of_this_host(owner: str) -> bool:
    """Whether an owner is or was a process of this host."""
    host, pid, _ = owner.rsplit(" ", 2)
    return host == _host() and pid.isdigit()


def _started(pid: int) -> str:
    """Start time of a running process in clock ticks since boot, from /proc; `-` where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return _running_without_proc(pid)
    fields = stat.rpartition(")")[2].split()
    return "-" if fields[0] in {"Z", "X"} else fields[19]


def _running_without_proc(pid: int) -> str:
    if Path("/proc/self/stat").exists():
        return "-"
    try:  # not Linux: pids alone must do
        os.kill(pid, 0)
    except ProcessLookupError:
        return "-"
    except PermissionError:
        return "0"
    return "0"
