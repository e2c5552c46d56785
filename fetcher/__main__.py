"""`python -m fetcher`, and the console script `fetcher`: the command line."""

import atexit
import gc
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

# What a start loads is no garbage: looking for some in it again and again was an eighth of every cron start.
gc.set_threshold(250_000, 20, 100)

# numpy would start a thread per core for linear algebra that is never done here: 0.05 s of every cron start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# While the program is being loaded nobody could catch an interrupt: it ends us without a traceback instead.
_INTERRUPTIBLE = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _INTERRUPTIBLE:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from fetcher import cli  # noqa: E402 (what stands above must come first)


def main() -> int:
    """Do what the arguments say and return the exit code."""
    if _INTERRUPTIBLE:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return cli.main()


def start() -> NoReturn:
    """`main`, and leave at once: the system takes everything back, and no thread that hangs is waited for.

    An interpreter that takes itself apart first needs 15 ms more.
    """
    code = main()
    atexit._run_exitfuncs()  # noqa: SLF001 (the folder of yfinance, what coverage saves: os._exit leaves them out)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # whoever read it has left, or it is closed
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    start()
