"""yfinance made to ask one question over our own session, and to leave the answer to us.

What it does by itself (yfinance 1.7.0, run against a loopback server) and what is done about it here:
- Its data object is one per process and takes the last session passed: it gets one switchboard for good, which hands
  each request to the session of the calling thread. So several threads and several Yahoo sources ask side by side.
- It asks for a cookie and a crumb first, which the chart does without: they are asked for when an answer demands them.
- It caches error answers of past spans for the life of the process, asks up to 9 times after a status of 400 and more,
  and turns 500s and HTML into "possibly delisted": its call ends as soon as the chart's answer is recorded, so that
  none of this is reached, no DataFrame is made, and one question is one request.
- It writes time zones and cookies below the home folder: crypto's time zone is known (UTC), cookies, where demanded, go
  to a folder that goes with the process.
"""

from __future__ import annotations

import atexit
import logging
import math
import shutil
import threading
from contextlib import suppress
from functools import cache
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from msgspec import Struct, field
from msgspec.structs import replace

from fetcher.clients.http import HttpRecord
from fetcher.clients.yahoo_errors import wants_crumb
from fetcher.errors import RetryableError, SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fetcher.clients.recording import RecordingSession
    from fetcher.clock import Clock

CHART_PATH = "/v8/finance/chart/"
# Yahoo turns away clients that name themselves as programs.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
_NO_CRUMB = ""
# What yfinance lets out when the pages around cookie and crumb are not as it expects (its own errors: YFException).
_STUMBLES = (requests.RequestException, ValueError, TypeError, AttributeError, LookupError)

CRUMB_EVERY = 60.0  # seconds; who is refused in between is refused: each fetching costs up to six requests

_loading = threading.Lock()


class _Answered(Exception):
    """No error: ends yfinance's call once the chart's answer is recorded."""


class _CrumbWatch(Struct):
    """The one crumb of this process: the how manieth it is, and when one was last fetched by the clock's seconds."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    generation: int = 0
    tried_at: float = -math.inf


_crumb = _CrumbWatch()


class _Switchboard(requests.Session):
    """The session that yfinance holds: sends each request by the session that its thread has plugged in."""

    def __init__(self) -> None:
        super().__init__()
        self._plugged = threading.local()

    def plug(self, session: RecordingSession, base_url: str | None) -> None:
        """Let this thread's requests go by `session`, and to `base_url` instead of Yahoo's hosts where it is given."""
        session.headers["User-Agent"] = USER_AGENT
        session.cookies = self.cookies  # a crumb belongs to a cookie, and yfinance keeps one crumb for all threads
        self._plugged.session, self._plugged.base_url = session, base_url
        self._plugged.outcome = None
        self._plugged.sent = 0

    def sent(self) -> int:
        """How many requests this thread has sent since its session was plugged in."""
        sent: int = self._plugged.sent
        return sent

    def outcome(self) -> HttpRecord | SourceError | None:
        """What this thread's chart came to since its session was plugged in; None when it was not asked for."""
        outcome: HttpRecord | SourceError | None = self._plugged.outcome
        return outcome

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - requests' own
        """Hand on; the call that asked for the chart ends here with _Answered, whatever came."""
        session: RecordingSession = self._plugged.session
        self._plugged.sent += 1
        host, path = _in_parts(str(url))
        if self._plugged.base_url:
            url = self._plugged.base_url + path
            kwargs["headers"] = dict(kwargs.get("headers") or {}) | {"X-Orig-Host": host}
        if not path.startswith(CHART_PATH):
            return session.request(method, url, *args, **kwargs)
        params = dict(kwargs.get("params") or {})
        if params.get("crumb") == _NO_CRUMB:
            del params["crumb"]
        kwargs["params"] = params
        session.clear()
        with suppress(requests.RequestException):  # recorded
            session.request(method, url, *args, **kwargs)
        self._plugged.outcome = session.last()
        raise _Answered


def ask_chart(
    session: RecordingSession, base_url: str | None, ticker: str, params: Mapping[str, str | int], clock: Clock
) -> HttpRecord:
    """Ask for a chart by yfinance: `params` are start, end (s UTC) and interval of Ticker.history.

    Returns the recorded answer, whatever its status; raises the recorded RetryableError where none came. Only an answer
    that demands a cookie and crumb is followed by those (2 to 6 requests, kept for the process) and the question again.
    One thread fetches them, at most once a minute; the others wait for it and ask again with what it brought.
    """
    with _loading:
        library, switchboard = _load()
    with _crumb.lock:  # not while one is fetched: the library would have every thread fetch its own
        asked_with = _crumb.generation
    switchboard.plug(session, base_url)
    outcome = _history(library, switchboard, ticker, params)
    if isinstance(outcome, HttpRecord) and wants_crumb(outcome):
        with _crumb.lock:
            is_new = asked_with != _crumb.generation  # another thread has been there
            if not is_new and clock.elapsed() - _crumb.tried_at >= CRUMB_EVERY:
                _crumb.tried_at = clock.elapsed()
                outcome = _with_new_crumb(library, switchboard, ticker, params) or outcome
        if is_new:
            outcome = _history(library, switchboard, ticker, params) or outcome
    if isinstance(outcome, HttpRecord):
        return replace(outcome, requests=switchboard.sent())
    raise outcome or RetryableError(f"yfinance did not ask for {ticker}; check its version (1.7 is known to)")


def _with_new_crumb(
    library: Any,  # noqa: ANN401 - yfinance has no types
    switchboard: _Switchboard,
    ticker: str,
    params: Mapping[str, str | int],
) -> HttpRecord | SourceError | None:
    """Have the library fetch cookie and crumb before it asks, and keep them."""
    _keep_cookies_apart(library)
    held = library.data.YfData(session=switchboard)
    held._cookie = held._crumb = None  # noqa: SLF001 - there is no public way
    outcome = _history(library, switchboard, ticker, params)
    brought = held._crumb or _NO_CRUMB  # noqa: SLF001 - the same
    crumb = _NO_CRUMB if "<" in brought else brought  # the library keeps even a page of HTML
    held._cookie, held._crumb = True, crumb  # noqa: SLF001 - the same
    _crumb.generation += crumb != _NO_CRUMB
    return outcome


def _history(
    library: Any,  # noqa: ANN401 - yfinance has no types
    switchboard: _Switchboard,
    ticker: str,
    params: Mapping[str, str | int],
) -> HttpRecord | SourceError | None:
    with suppress(_Answered, library.exceptions.YFException, *_STUMBLES):
        asked = library.Ticker(ticker, session=switchboard)
        asked._tz = "UTC"  # noqa: SLF001 - else one more request a ticker, cached on disk
        asked.history(auto_adjust=False, **params)
    return switchboard.outcome()  # what came last may be a cookie's answer, over which yfinance stumbled


@cache
def _load() -> tuple[Any, _Switchboard]:
    """The library (0.4 s and 90 MB: loaded when used) and its switchboard, once per process."""
    import yfinance

    # What it logs (as warnings and errors) is told by our own account of each attempt.
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)
    yfinance.config.debug.hide_exceptions = False  # else it goes on after the switchboard ended its call
    switchboard = _Switchboard()
    held = yfinance.data.YfData(session=switchboard)
    held._cookie, held._crumb = True, _NO_CRUMB  # noqa: SLF001 - "have them already": see the module's docstring
    return yfinance, switchboard


@cache
def _keep_cookies_apart(library: Any) -> None:  # noqa: ANN401 - yfinance has no types
    """Let the library pickle its cookies in a folder that nobody else can write to and that goes with the process."""
    folder = mkdtemp(prefix="candle-fetcher-yahoo-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library.set_tz_cache_location(folder)


def _in_parts(url: str) -> tuple[str, str]:
    """Host and path (with query) of an address."""
    parts = urlsplit(url)
    return parts.netloc, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
