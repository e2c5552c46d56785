"""A sign of life for each run, in healthchecks.io's convention: URL/start, URL, URL/fail. Who misses it calls."""

from __future__ import annotations

from threading import Lock, Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from fetcher.observe.lines import LOG

if TYPE_CHECKING:
    from fetcher.clock import Clock
    from fetcher.events import Fact

START, SUCCESS, FAIL = "start", "", "fail"
LIMIT_SECONDS = 5.0  # on the wall, for all that is waited for at the end of a run
LEAVING_SECONDS = 0.5  # the same where somebody waits for the program to end
_SOCKET_SECONDS = 3.0
_EVERY_SECONDS = 55.0  # a daemon pings at most once in a minute


class Pulse:
    """Tells `url` how runs go; without one it does nothing, but say what `problem` there is with it, once.

    A ping that fails is a line in the log.

    `is_well`: what the end of this run will be told as; `is_hurried`: whether somebody waits for the program to end.
    """

    def __init__(self, url: str | None, clock: Clock, problem: str | None = None) -> None:
        self.is_well = True
        self.is_hurried = False
        self._url = url
        self._problem = problem
        self._clock = clock
        self._thread: Thread | None = None
        self._lock = Lock()
        self._is_started = False
        self._last: tuple[float, str] | None = None

    def __call__(self, fact: Fact) -> None:
        """Hear a fact: the first, in whatever thread, says that a run has begun, and is alone; nobody waits."""
        del fact
        with self._lock:
            if not self._is_started:
                self._is_started = True
                self._ping(START)

    def end(self) -> None:
        """Say that the run ended, and wait for the answer, not for long."""
        limit, began = LEAVING_SECONDS if self.is_hurried else LIMIT_SECONDS, self._clock.elapsed()
        if self._thread is not None:
            self._thread.join(limit)
        left = limit - self._clock.real_seconds(self._clock.elapsed() - began)
        self._ping(SUCCESS if self.is_well else FAIL, max(0.0, left))

    def beat(self, *, well: bool) -> None:
        """Say that a daemon's step ended, at most once in a minute unless it went otherwise than the last."""
        word, now = SUCCESS if well else FAIL, self._clock.real_seconds(self._clock.elapsed())
        if self._last is not None and self._last[1] == word and now - self._last[0] < _EVERY_SECONDS:
            return
        if self._thread is None or not self._thread.is_alive():  # one that hangs is not joined by more
            self._last = (now, word)
            self._ping(word)

    def _ping(self, word: str, seconds: float | None = None) -> None:
        """Ask for the word's address, and wait for the answer for so many seconds on the wall, if at all."""
        if self._problem is not None:
            LOG.warning("alerts: %s", self._problem)
            self._problem = None
        if self._url is None:
            return
        # A thread that may be left behind, since a server can send a byte now and then for ever.
        self._thread = Thread(target=_get, args=(_address(self._url, word), word), name="ping", daemon=True)
        self._thread.start()
        if seconds is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                _complain(word, "no answer in time")


def _address(url: str, word: str) -> str:
    """The URL with the word at the end of its path."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{word}")) if word else url


def _get(address: str, word: str) -> None:
    import requests  # noqa: PLC0415 (every run has loaded it by now, --help need not)

    try:
        with requests.get(address, timeout=_SOCKET_SECONDS, stream=True) as answer:
            if not answer.ok:
                _complain(word, f"it answered {answer.status_code}")
    except requests.Timeout:
        _complain(word, "no answer in time")
    except (requests.RequestException, ValueError) as error:  # its words hold the address, which is a secret
        _complain(word, f"it cannot be reached ({type(error).__name__})")


def _complain(word: str, what: str) -> None:
    LOG.warning("the sign of life (%s) did not arrive: %s", word or "success", what)
