"""Who holds a lease: whether that process still runs, as far as it can be seen."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fetcher import owners

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 2**22 + 1  # more than the kernel numbers


@pytest.fixture
def ended() -> Iterator[int]:
    """The pid of a process that has ended, and that nobody has asked about yet."""
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    yield child.pid
    child.communicate()


def named(pid: int) -> str:
    """An owner of this host."""
    host, _, started = owners.own_name().rsplit(" ", 2)
    return f"{host} {pid} {started}"


def test_who_runs_is_alive() -> None:
    """We are; one with our pid that began at another time is not."""
    assert owners.is_running(os.getpid())
    assert not owners.is_dead(owners.own_name())
    assert owners.is_dead(owners.own_name() + "1")


def test_who_has_ended_is_dead(ended: int) -> None:
    """Also before its parent has asked how it ended."""
    assert not owners.is_running(ended)
    assert owners.is_dead(named(ended))


@pytest.mark.parametrize("pid", [NOBODY, 2**70])
def test_a_number_that_no_process_has(pid: int) -> None:
    """Nor ever had."""
    assert not owners.is_running(pid)
    assert owners.is_dead(named(pid))


def test_another_users_process_that_is_hidden_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc is mounted with hidepid it shows none of others; its lease must not be taken over."""

    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert owners.is_running(NOBODY)
    assert not owners.is_dead(named(NOBODY))


def test_of_other_hosts_only_time_can_tell() -> None:
    """A pid means nothing there."""
    assert not owners.is_dead(f"elsewhere {NOBODY} 1")
