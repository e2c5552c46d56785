"""RecordingSession keeps what really happened between a library and a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

from fetcher.clients.http import HttpRecord
from fetcher.clients.recording import RecordingSession, RecordingSessions
from fetcher.clock import Clock
from fetcher.errors import CannotServe, RetryableError
from tests.contract.wire import Reply, WireServer

if TYPE_CHECKING:
    from collections.abc import Iterator

IMPATIENT = (0.5, 0.3)  # connect, read


@pytest.fixture
def wire() -> Iterator[WireServer]:
    """A server that answers as told."""
    with WireServer() as server:
        yield server


@pytest.fixture
def session() -> Iterator[RecordingSession]:
    """A session as a library gets it."""
    with RecordingSession(Clock(), IMPATIENT) as made:
        yield made


def statuses(session: RecordingSession) -> list[int]:
    """The statuses of everything recorded, which are all whole answers."""
    records = session.outcomes()
    assert all(isinstance(record, HttpRecord) for record in records)
    return [record.status for record in records if isinstance(record, HttpRecord)]


def test_the_library_reads_what_was_recorded(wire: WireServer, session: RecordingSession) -> None:
    """Both see the same decompressed body; nothing is read twice."""
    wire.answer(Reply(404, b'{"a": 1}', fault="gzip"))
    response = session.get(wire.url + "/x", params={"symbol": "BTC", "api_key": "hush"})
    record = session.last()
    assert isinstance(record, HttpRecord)
    assert response.json() == {"a": 1}
    assert (response.content, record.body) == (b'{"a": 1}', b'{"a": 1}')
    assert record.url == f"{wire.url}/x?symbol=BTC&api_key=***"
    assert "api_key=hush" in wire.seen[0]


def test_every_request_of_a_question_is_kept(wire: WireServer, session: RecordingSession) -> None:
    """In their order, until the next question clears them."""
    wire.answer(Reply(200), Reply(fault="reset"), Reply(503))
    session.get(wire.url)
    with pytest.raises(requests.ConnectionError):
        session.get(wire.url)
    session.get(wire.url)
    first, second, third = session.outcomes()
    assert isinstance(first, HttpRecord)
    assert isinstance(second, RetryableError)
    assert third is session.last()
    session.clear()
    assert session.last() is None


def test_a_library_cannot_ask_for_more_patience(wire: WireServer, session: RecordingSession) -> None:
    """The configured timeout holds, whatever is passed; the library sees an exception that it knows."""
    wire.answer(Reply(body=b"[]", fault="hang"))
    with pytest.raises(requests.ReadTimeout):
        session.get(wire.url, timeout=600, verify=False)
    assert "timed out after 0.3 s" in str(session.last())


@pytest.mark.parametrize("fault", ["drip", "truncate", "gzip_broken"])
def test_a_body_that_never_ends_well_is_a_connection_error(
    wire: WireServer, session: RecordingSession, fault: str
) -> None:
    """It fails while the session reads it, so that the library cannot take half of it for a whole."""
    wire.answer(Reply(body=b"x" * 200, fault=fault))
    with pytest.raises(requests.ConnectionError):
        session.get(wire.url)
    assert isinstance(session.last(), RetryableError)


def test_a_redirect_is_recorded_and_not_followed(wire: WireServer, session: RecordingSession) -> None:
    """The library gets the 302 itself."""
    wire.answer(Reply(302, b"moved", {"Location": "/elsewhere"}))
    assert session.get(wire.url).text == "moved"
    assert (statuses(session), len(wire.seen)) == ([302], 1)


def test_redirects_are_followed_on_request(wire: WireServer) -> None:
    """The last hop is what was answered; it is recorded once."""
    wire.answer(Reply(302, b"", {"Location": "/there"}), Reply(200, b"here"))
    with RecordingSession(Clock(), IMPATIENT, follow=True) as session:
        assert session.get(wire.url).text == "here"
        assert (statuses(session), wire.seen[-1]) == ([200], "/there")


def test_an_address_that_cannot_be_asked_is_recorded(session: RecordingSession) -> None:
    """A broken address is no trouble of the source, and will not pass."""
    with pytest.raises(requests.RequestException):
        session.get("http://:80:80/")
    assert isinstance(session.last(), CannotServe)


def test_the_environment_names_no_proxy(
    wire: WireServer, session: RecordingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the configuration does."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    wire.answer(Reply(200))
    session.get(wire.url, proxies={"http": "http://127.0.0.1:1"})
    assert statuses(session) == [200]


def test_a_thread_keeps_its_session() -> None:
    """One session per thread and proxy, made once."""
    sessions = RecordingSessions(Clock(), IMPATIENT)
    assert sessions.mine() is sessions.mine()
    by_proxy = sessions.mine("http://127.0.0.1:1")
    assert by_proxy is sessions.mine("http://127.0.0.1:1") is not sessions.mine()
    assert (by_proxy.proxies["https"], sessions.mine().proxies) == ("http://127.0.0.1:1", {})
    sessions.close()
