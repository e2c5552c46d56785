"""The session that libraries send through: it keeps what really happened, whatever the library makes of it.

ccxt, pycoingecko and yfinance hide outcomes (an HTML page with 200 becomes `[]`, a geo-block a network error), so that
the only witness is the exchange of messages itself.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import requests

from fetcher.clients.http import TRANSPORT_FAILURES, HttpRecord, read_body, shown_url, transport_failure
from fetcher.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetcher.clock import Clock


class RecordingSession(requests.Session):
    """A session of one thread that records each whole answer, or why none came, since the last `clear()`.

    `timeout` is (connect, read) in real seconds, whatever the library asks for; a whole answer gets connect + 3 x read.
    Nothing is retried, certificates are verified, the environment's proxies are not used, and redirects are followed
    only with `follow`, of which the last hop is recorded.
    """

    def __init__(
        self, clock: Clock, timeout: tuple[float, float], proxy: str | None = None, *, follow: bool = False
    ) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["User-Agent"] = "candle-fetcher"
        self.headers["Accept-Encoding"] = "gzip"
        if proxy:
            self.proxies = {"http": proxy, "https": proxy}
        self._clock = clock
        self._timeout = timeout
        self._proxy = proxy
        self._follow = follow
        self._outcomes: list[HttpRecord | SourceError] = []
        self._newest: requests.Response | None = None

    def clear(self) -> None:
        """Forget what was recorded: the next question starts."""
        self._outcomes.clear()

    def last(self) -> HttpRecord | SourceError | None:
        """What the newest request came to: a whole answer, or the error of one that never came; None without any."""
        return self._outcomes[-1] if self._outcomes else None

    def outcomes(self) -> list[HttpRecord | SourceError]:
        """What every request since `clear()` came to, oldest first."""
        return list(self._outcomes)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - requests' own
        """Send as requests does, by our own rules, and record; transport failures stay requests' exceptions."""
        kwargs |= {"timeout": self._timeout, "stream": True, "proxies": dict(self.proxies), "verify": self.verify}
        kwargs["allow_redirects"] = self._follow and kwargs.get("allow_redirects", True)
        url = request.url or ""
        sent_at = self._clock.elapsed()
        try:
            response = super().send(request, **kwargs)
            if response is not self._newest:  # else a redirect led here, and its own send() has recorded it
                self._record(response, sent_at)
        except SourceError as error:
            self._outcomes.append(error)
            raise requests.ConnectionError(str(error), request=request) from None
        except TRANSPORT_FAILURES as error:
            self._outcomes.append(transport_failure(error, url, self._timeout, self._proxy))
            if isinstance(error, requests.RequestException):
                raise
            raise requests.ConnectionError(type(error).__name__, request=request) from None
        return response

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - the same
        """As requests does; an address that cannot even be asked for is recorded too."""
        known = len(self._outcomes)
        try:
            return super().request(method, url, *args, **kwargs)
        except TRANSPORT_FAILURES as error:
            if len(self._outcomes) == known:
                self._outcomes.append(transport_failure(error, str(url), self._timeout, self._proxy))
            raise

    def resolve_redirects(self, *args: Any, **kwargs: Any) -> Iterator[requests.Response]:  # noqa: ANN401 - the same
        """Look for redirects only where they are followed: requests reads the whole body to find none."""
        return super().resolve_redirects(*args, **kwargs) if self._follow else iter(())

    def _record(self, response: requests.Response, sent_at: float) -> None:
        with response:
            body = read_body(response, self._clock, sent_at, self._timeout)
        response._content = body  # noqa: SLF001 - requests' own way of handing over a body that was read
        response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001 - the same
        self._newest = response
        seconds = self._clock.elapsed() - sent_at
        self._outcomes.append(
            HttpRecord(shown_url(response.url), response.status_code, response.headers, body, sent_at, seconds)
        )


class RecordingSessions:
    """One RecordingSession per thread and proxy, made when it is first wanted; a thread's sessions go with it."""

    def __init__(self, clock: Clock, timeout: tuple[float, float], *, follow: bool = False) -> None:
        self._clock = clock
        self._timeout = timeout
        self._follow = follow
        self._local = threading.local()
        self._sessions: WeakSet[RecordingSession] = WeakSet()
        self._lock = threading.Lock()

    def mine(self, proxy: str | None = None) -> RecordingSession:
        """The calling thread's session for a proxy (None: without one)."""
        mine: dict[str | None, RecordingSession] = self._local.__dict__.setdefault("sessions", {})
        session = mine.get(proxy)
        if session is None:
            session = RecordingSession(self._clock, self._timeout, proxy, follow=self._follow)
            mine[proxy] = session
            with self._lock:
                self._sessions.add(session)
        return session

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for session in self._sessions:
                session.close()
