"""What is in flight: tasks handed to threads, and waiting for them to land."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from fetcher.clock import Stop

LANDING_SECONDS = 3.0  # on the wall, that a program which is to end waits for answers; a time-out may be far longer
_LOOK_SECONDS = 0.25


class Flight:
    """So many threads that do what they are handed, for one time of work."""

    def __init__(self, workers: int, stop: Stop) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="fetch")
        self._stop = stop
        self._flying: set[Future[None]] = set()

    def start(self, do: Callable[[], None]) -> None:
        """Do it in a thread, as soon as one is free; it must raise nothing."""
        future = self._pool.submit(do)
        self._flying.add(future)
        future.add_done_callback(self._flying.discard)

    def land(self) -> None:
        """Begin nothing more, and wait for what is under way.

        Where the program is to end only so long: what does not come is left behind, and fetched by whoever comes next.
        """
        self._pool.shutdown(wait=False, cancel_futures=True)
        while (flying := list(self._flying)) and self._stop.left_for() < LANDING_SECONDS:
            wait(flying, timeout=_LOOK_SECONDS)
