"""The HTTP session's own promises: bounded answers, broken addresses, no secret in a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fetcher.clients import http
from fetcher.clients.http import HttpSession
from fetcher.clients.ways import host_of, without_password
from fetcher.clock import Clock
from fetcher.errors import BadPayload, CannotServe
from tests.contract.wire import Reply, WireServer

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENT = (5.0, 5.0)


@pytest.fixture
def wire() -> Iterator[WireServer]:
    """A server that answers as told."""
    with WireServer() as server:
        yield server


@pytest.fixture
def session() -> Iterator[HttpSession]:
    """A session without a proxy."""
    made = HttpSession(Clock(), PATIENT)
    yield made
    made.close()


def test_an_endless_answer_is_cut_off(wire: WireServer, session: HttpSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body larger than any real one is refused before it fills the memory."""
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 1000)
    wire.answer(Reply(body=b"x" * 1001), Reply(body=b"x" * 1000))
    with pytest.raises(BadPayload, match="sent more than 1000 bytes"):
        session.get(wire.url, "/")
    assert len(session.get(wire.url, "/").body) == 1000


@pytest.mark.parametrize(
    "address",
    ["http://", "ftp://127.0.0.1", "nonsense", "http://[::1", "http://127.0.0.1:99999", f"http://{'a' * 64}.com"],
)
def test_a_broken_address_is_not_worth_a_retry(session: HttpSession, address: str) -> None:
    """What can only be a mistake in the configuration says so."""
    with pytest.raises(CannotServe, match="check base_urls"):
        session.get(address, "/api/v3/time")


@pytest.mark.parametrize("proxy", ["http://", "socks9://user:hush@127.0.0.1:1"])
def test_a_broken_proxy_is_not_worth_a_retry(proxy: str) -> None:
    """The same for the proxy, without its password."""
    session = HttpSession(Clock(), PATIENT)
    with pytest.raises(CannotServe, match="check base_urls and proxy") as caught:
        session.get("http://api.binance.example", "/api/v3/time", proxy=proxy)
    assert "hush" not in str(caught.value)
    session.close()


def test_keys_among_the_parameters_are_not_recorded(wire: WireServer, session: HttpSession) -> None:
    """The server gets the key, the record does not."""
    wire.answer(Reply())
    record = session.get(wire.url, "/simple/price", {"x_cg_demo_api_key": "hush", "ids": "bitcoin"})
    assert "x_cg_demo_api_key=hush" in wire.seen[0]
    assert record.url == f"{wire.url}/simple/price?x_cg_demo_api_key=***&ids=bitcoin"


def test_only_gzip_is_asked_for(wire: WireServer, session: HttpSession) -> None:
    """Nothing is accepted that an installation might be unable to undo."""
    wire.answer(Reply())
    session.get(wire.url, "/")
    assert wire.headers[0]["accept-encoding"] == "gzip"


def test_times_of_a_record_are_the_program_clocks(wire: WireServer) -> None:
    """When the request left and how long it took are told in program seconds, sped up or not."""
    clock = Clock(0, speed=1000.0)
    session = HttpSession(clock, PATIENT)
    wire.answer(Reply(), Reply())
    before = clock.elapsed()
    record = session.get(wire.url, "/")
    assert before <= record.sent_at <= record.sent_at + record.seconds <= clock.elapsed()
    session.close()


def test_a_closed_session_holds_no_connection(wire: WireServer, session: HttpSession) -> None:
    """After close, the next request needs a connection of its own."""
    wire.answer(Reply(), Reply())
    session.get(wire.url, "/")
    session.close()
    session.get(wire.url, "/")
    assert len(wire.connections) == 2


@pytest.mark.parametrize(
    ("url", "host", "bare"),
    [
        ("https://api.binance.com", "api.binance.com", "https://api.binance.com"),
        ("http://user:hush@h:81/base", "h:81", "http://h:81/base"),
        ("http://user:hu/sh@h:81", "h:81", "http://h:81"),
        ("http://[::1]:80/x", "[::1]:80", "http://[::1]:80/x"),
    ],
)
def test_addresses_are_shown_without_passwords(url: str, host: str, bare: str) -> None:
    """User and password never reach a message or the database."""
    assert (host_of(url), without_password(url)) == (host, bare)
