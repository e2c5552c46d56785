"""What a service manager is told (sd_notify): ready, reloading, stopping, alive. Nothing where none listens."""

from __future__ import annotations

import os
import socket

from fetcher.clock import monotonic_usec


def ready(status: str) -> None:
    """The program works; `status` in words is what `systemctl status` shows."""
    _tell("READY=1", f"STATUS={status}")


def reloading() -> None:
    """The configuration is being read anew; `ready` follows."""
    _tell("RELOADING=1", f"MONOTONIC_USEC={monotonic_usec()}")


def stopping() -> None:
    """The program ends."""
    _tell("STOPPING=1")


def status(words: str) -> None:
    """What it does, in words."""
    _tell(f"STATUS={words}")


def alive() -> None:
    """It does not hang: to be told more often than the unit's WatchdogSec."""
    if "WATCHDOG_USEC" in os.environ:
        _tell("WATCHDOG=1")


def _tell(*lines: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    text = "\n".join(line.replace("\n", " ") for line in lines)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(1.0)
            sender.sendto(text.encode(), "\0" + address[1:] if address[0] == "@" else address)
    except OSError:
        return  # whoever listened is gone; the candles matter more
