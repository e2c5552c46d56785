"""HTTP as every client uses it: one session per thread, whole answers only, failures as sentences."""

from __future__ import annotations

import re
import ssl
import threading
from http.client import IncompleteRead, RemoteDisconnected
from socket import gaierror
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode
from weakref import WeakSet

import requests
import urllib3
from msgspec import Struct
from requests.exceptions import InvalidProxyURL, InvalidSchema, InvalidURL, MissingSchema

from fetcher.clients.ways import host_of, without_password
from fetcher.errors import BadPayload, BrokenAddress, RetryableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fetcher.clock import Clock
    from fetcher.errors import SourceError

MAX_BODY_BYTES = 64 * 2**20  # the longest real answer, a full symbol list, has some 20 MB
_CHUNK = 2**18
_SECRET = re.compile(r"key|token|secret|signature|password", re.IGNORECASE)
TRANSPORT_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
_BROKEN_ADDRESS = (InvalidURL, InvalidSchema, MissingSchema, InvalidProxyURL, UnicodeError)


class HttpRecord(Struct, frozen=True):
    """One whole answer as it came, whatever its status; immutable, so that it can be judged later.

    `url` holds no secret; `headers` ignores the case of names; `body` is decompressed. `sent_at` is the program clock's
    elapsed second when the request left, `seconds` how long the answer took by the same clock, `requests` how many a
    library sent to get it.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    sent_at: float
    seconds: float
    requests: int = 1


class HttpSession:
    """GET requests with connections kept open per thread and proxy; certificates verified, redirects never followed.

    `timeout` is (connect, read) in real seconds: how long a connection may take, and each wait for more of an answer. A
    whole answer gets connect + 3 x read seconds. Nothing is retried here, and the environment's proxies are not used.
    """

    def __init__(self, clock: Clock, timeout: tuple[float, float]) -> None:
        self._clock = clock
        self._timeout = timeout
        self._local = threading.local()
        self._sessions: WeakSet[requests.Session] = WeakSet()  # a thread's session goes with its thread
        self._lock = threading.Lock()

    def get(
        self, base_url: str, path: str, params: Mapping[str, str | int] | None = None, proxy: str | None = None
    ) -> HttpRecord:
        """One request; RetryableError when no whole answer came, BrokenAddress when the address can never be used."""
        base = base_url.rstrip("/") + quote(path)
        sent_at = self._clock.elapsed()
        try:
            with self._session(proxy).get(
                f"{base}?{urlencode(params)}" if params else base,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                body = read_body(response, self._clock, sent_at, self._timeout)
                status, headers = response.status_code, response.headers
        except TRANSPORT_FAILURES as error:
            # Its text is a dump of pools and objects.
            raise transport_failure(error, base_url, self._timeout, proxy) from None
        return HttpRecord(_shown(base, params or {}), status, headers, body, sent_at, self._clock.elapsed() - sent_at)

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for session in self._sessions:
                session.close()

    def _session(self, proxy: str | None) -> requests.Session:
        mine: dict[str | None, requests.Session] = self._local.__dict__.setdefault("sessions", {})
        session = mine.get(proxy)
        if session is None:
            session = requests.Session()
            session.trust_env = False
            session.headers["User-Agent"] = "candle-fetcher"
            session.headers["Accept-Encoding"] = "gzip"
            if proxy:
                session.proxies = {"http": proxy, "https": proxy}
            mine[proxy] = session
            with self._lock:
                self._sessions.add(session)
        return session


def longest_answer(timeout: tuple[float, float]) -> float:
    """How many real seconds a whole answer may take; `timeout` is (connect, read)."""
    connect, read = timeout
    return connect + 3 * read


def read_body(response: requests.Response, clock: Clock, sent_at: float, timeout: tuple[float, float]) -> bytes:
    """The whole, decompressed body of a streamed answer, within connect + 3 x read seconds of `sent_at`.

    RetryableError when it takes longer, BadPayload when it is too big to be an answer, else what the transport raises.
    """
    # read1 returns what has come: the deadline also holds against a body that drips a byte at a time
    allowed = longest_answer(timeout)
    chunks, size = [], 0
    while chunk := response.raw.read1(_CHUNK, decode_content=True):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise BadPayload(f"{host_of(response.url)} sent more than {MAX_BODY_BYTES} bytes; check the address")
        if clock.real_seconds(clock.elapsed() - sent_at) > allowed:
            raise RetryableError(f"{host_of(response.url)} had not finished its answer after {allowed:g} s")
    return b"".join(chunks)


def transport_failure(error: Exception, url: str, timeout: tuple[float, float], proxy: str | None) -> SourceError:
    """What became of a request to `url` that brought no whole answer: RetryableError, or BrokenAddress if none can."""
    host = host_of(url) or "(no host)"
    if proxy:
        host = f"{host} through the proxy {host_of(proxy)}"
    causes = list(_causes(error))
    if any(isinstance(cause, _BROKEN_ADDRESS) for cause in causes):
        return BrokenAddress(f"{host} cannot be asked: the address is broken; check base_urls and proxy")
    return RetryableError(f"{host} {_what_happened(causes, timeout)}")


def shown_url(url: str) -> str:
    """An address with its query as it may be logged: no user, no password, no value of a parameter that is a secret."""
    base, _, query = url.partition("?")
    return _shown(base, dict(parse_qsl(query.partition("#")[0], keep_blank_values=True)))


def _shown(base: str, params: Mapping[str, str | int]) -> str:
    kept = {name: "***" if _SECRET.search(name) else value for name, value in params.items()}
    return without_password(base) + (f"?{urlencode(kept, safe='*')}" if kept else "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it wraps: requests and urllib3 hide the cause in args, reason or context."""
    waiting, seen = [error], set()
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]
        waiting.extend(cause for cause in inner if isinstance(cause, BaseException))


def _what_happened(causes: list[BaseException], timeout: tuple[float, float]) -> str:
    connect, read = timeout
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if tls is not None:
        return f"failed the TLS handshake: {getattr(tls, 'verify_message', None) or tls.reason or 'protocol error'}"
    sentences: dict[type[BaseException], str] = {
        gaierror: "has no address: its name could not be resolved (DNS)",
        requests.ConnectTimeout: f"could not be connected to: timed out after {connect:g} s",
        requests.ReadTimeout: f"did not answer: timed out after {read:g} s",
        urllib3.exceptions.ReadTimeoutError: f"stopped in the middle of its answer: timed out after {read:g} s",
        ConnectionRefusedError: "refused the connection",
        IncompleteRead: "sent a truncated answer",
        urllib3.exceptions.InvalidChunkLength: "sent a truncated answer",
        urllib3.exceptions.DecodeError: "sent an answer that cannot be decompressed",
        RemoteDisconnected: "closed the connection without an answer (connection reset)",
        ConnectionResetError: "reset the connection",
        BrokenPipeError: "reset the connection",
    }
    for kind, sentence in sentences.items():
        if any(isinstance(cause, kind) for cause in causes):
            return sentence
    system = next((cause for cause in causes if isinstance(cause, OSError) and cause.strerror), None)
    if system is not None:
        return f"could not be reached: {system.strerror}"
    return f"did not send a proper HTTP answer ({type(causes[-1]).__name__})"
