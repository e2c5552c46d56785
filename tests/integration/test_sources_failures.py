"""Each source × each failure, by the real libraries over real sockets: error, router's decision, breaker."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Self

import pytest
import requests

from fetcher.app import App, build
from fetcher.clock import Clock, format_utc, parse_utc
from fetcher.config import load
from fetcher.errors import RateLimited
from fetcher.events import Attempt
from fetcher.model import DAY, Series
from tests.contract.wire import Reply, WireServer, unused_url
from tests.integration.failures_of_sources import BEFORE, REPLIES, SANDBOX_FAULTS, SOURCES, Expected
from tests.integration.world_of_sources import PATHS, SourceWorld, market_of, open_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fetcher.sandbox.control import SandboxControl
    from fetcher.served import Served

NOW = parse_utc("2026-06-01T00:00:30Z")
SPEED = 50  # of the program's clock: the pauses between tries shrink with it
ROWS = 20
CANDLES = {
    "binance": "/api/v3/klines", "okx": "*/market/*candles", "kraken": "*/OHLC", "coinbase": "*/candles",
    "coingecko": "*/ohlc", "yahoo": "*/chart/*",
}  # fmt: skip


class Relay(WireServer):
    """A source's address: questions for candles get the replies queued, all others are the sandbox's to answer."""

    def __init__(self, behind: str, candles: str) -> None:
        super().__init__()
        plain = self._server.RequestHandlerClass
        relay = self

        class Handler(plain):  # type: ignore[misc, valid-type]  # made where it is known
            def do_GET(self) -> None:  # noqa: N802 (the library's name)
                if not (relay.replies and fnmatchcase(self.path.partition("?")[0], candles)):
                    with requests.get(behind + self.path, timeout=10) as answer:
                        kept = {"Date": answer.headers["Date"]}
                        relay.replies.appendleft(Reply(answer.status_code, answer.content, kept))
                super().do_GET()

        self._server.RequestHandlerClass = Handler


@dataclass
class Place:
    """A program whose series prefers one source, at the sandbox itself or behind a relay; another stands by."""

    source: str
    world: SourceWorld
    app: App
    relay: Relay | None
    attempts: list[Attempt]

    @property
    def fallback(self) -> str:
        """Who is asked next."""
        return "okx" if self.source == "binance" else "binance"

    @property
    def series(self) -> Series:
        """The one series."""
        return self.app.fetcher.sync()[0]

    def ready(self) -> Self:
        """The source known to be well, its clock and markets read, with BEFORE failures counted at its breaker."""
        for line in self.app.lines:  # read anew, a clock would take a reply that is meant for candles
            if line.server.now_ms() is not None:
                line.server.learn(NOW)
        self._set(0)
        assert self.ask().source == self.source
        self._set(BEFORE)
        self.attempts.clear()
        self.world.sandbox.clear_log()
        return self

    def ask(self, ago: int = DAY) -> Served:
        """The newest ROWS candles of `ago` ms ago."""
        series = self.series
        end = series.grid.floor(NOW - ago)
        return self.app.router.candles(series, series.grid.advance(end, -ROWS), end)

    def asked(self, source: str) -> list[Attempt]:
        """The questions for candles that a source was sent."""
        return [each for each in self.attempts if each.source == source and each.purpose.endswith("candles")]

    def failures(self) -> tuple[str, int]:
        """The source's breaker and the failures in a row that it has counted."""
        return self.world.failures()[self.source]

    def _set(self, failures: int) -> None:
        self.world.change(
            "UPDATE endpoint_state SET breaker = 'closed', opened_ms = NULL, stop_until = NULL, failures = :n",
            n=failures,
        )
        for line in self.app.lines:
            for gate in line._gates.values():
                gate.look_again()


class Places:
    """Every place that was asked for, made once."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._made: dict[tuple[str, bool], Place] = {}
        unlimited = (f"--venue-limit={name}=1000000/60s" for name in SOURCES[1:])  # its clock stands still
        told = ("--clock", format_utc(NOW), "--retry-after", "60", *unlimited)
        self.sandbox = stack.enter_context(open_sources(folder, *told)).sandbox

    def at(self, source: str, *, relayed: bool = False) -> Place:
        """The place of a source, ready for its next case."""
        key = (source, relayed)
        if key not in self._made:
            self._made[key] = self._make(source, relayed=relayed)
        return self._made[key].ready()

    def _make(self, source: str, *, relayed: bool) -> Place:
        folder = self._folder / f"{source}-{relayed}"
        folder.mkdir()
        prefix = "" if source == "binance" else f"/{source}"
        relay = self._stack.enter_context(Relay(self.sandbox.url + prefix, CANDLES[source])) if relayed else None
        path = PATHS.get(source, prefix).removeprefix(prefix)
        return place(folder, source, self.sandbox, self._stack, relay=relay, url=relay.url + path if relay else None)


def place(
    folder: Path, source: str, sandbox: SandboxControl, stack: ExitStack, url: str | None = None,
    relay: Relay | None = None,
) -> Place:  # fmt: skip
    """A program that prefers `source` at `url`, else at the sandbox."""
    world = SourceWorld(sandbox, folder)
    other = "okx" if source == "binance" else "binance"
    timeframe = "4h" if source == "coingecko" else "1h"
    world.configure_sources(
        market_of("BTC/USDT", timeframe, "2020-01-01", source, other),
        timeout="0.3s",
        urls={source: url} if url else {},
        more=dict.fromkeys(SOURCES, ", weight_per_minute: 6000"),
    )
    app = stack.enter_context(closing(build(load(world.config_path, {}), Clock(NOW, SPEED))))
    attempts: list[Attempt] = []
    app.hooks.add(lambda fact: attempts.append(fact) if isinstance(fact, Attempt) else None)
    return Place(source, world, app, relay, attempts)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """One sandbox, and a program for each source as it is asked for."""
    with ExitStack() as stack:
        yield Places(tmp_path_factory.mktemp("failures"), stack)


def assert_failed_over(place: Place, served: Served, expected: Expected) -> None:
    """Each try failed as expected, then the next source was asked once and answered."""
    asked = place.asked(place.source)
    assert [each.outcome for each in asked] == [expected.error] * expected.tries, asked
    assert served.source == place.fallback
    assert len(served.page) == ROWS
    assert [each.outcome for each in place.asked(place.fallback)] == ["ok"]
    assert place.failures() == ("closed", expected.failures)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("fault", SANDBOX_FAULTS)
def test_faults_on_the_way(places: Places, source: str, fault: str) -> None:
    """What the sandbox does to an answer, in the words of each venue."""
    place = places.at(source)
    place.world.sandbox.script(fault, SANDBOX_FAULTS[fault].tries, venue=source)
    assert_failed_over(place, place.ask(), SANDBOX_FAULTS[fault])


@pytest.mark.parametrize(("source", "name"), REPLIES, ids=lambda each: each)
def test_refusals_and_garbage(places: Places, source: str, name: str) -> None:
    """What a venue, or something in its place, answers to a question for candles."""
    place = places.at(source, relayed=True)
    reply, expected = REPLIES[source, name]
    assert place.relay is not None
    place.relay.answer(*[reply] * expected.tries)
    assert_failed_over(place, place.ask(), expected)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("status", ["429", "418"])
def test_a_short_rest_is_sat_out(places: Places, source: str, status: str) -> None:
    """A source that wants a second's rest is asked again after it, and nobody else meanwhile."""
    place = places.at(source)
    place.world.sandbox.configure(venues={source: {"retry_after": 1}})
    place.world.sandbox.script(f"status:{status}", venue=source)
    try:
        served = place.ask()
    finally:
        place.world.sandbox.configure(venues={source: {"retry_after": 60}})
    assert served.source == source
    first, second = place.asked(source)
    assert (first.outcome, second.outcome) == ("RateLimited", "ok")
    assert second.at_ms - first.at_ms >= 500, "of a second: a busy machine tells of the first one late"
    assert place.asked(place.fallback) == []


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("fault", ["empty", "wrong_types", "nan", "short"])
def test_answers_are_no_failures(places: Places, source: str, fault: str) -> None:
    """No candles, fewer than asked for, or cells that cannot be read: an answer, after which nobody else is asked."""
    place = places.at(source)
    place.world.sandbox.script(fault, venue=source)
    served = place.ask()
    assert served.source == source
    assert len(served.page.rows) <= ROWS
    assert [each.outcome for each in place.asked(source)] == ["ok"]
    assert place.asked(place.fallback) == []
    assert place.failures() == ("closed", 0)


@pytest.mark.parametrize(("source", "days"), [("kraken", 40), ("coingecko", 35), ("yahoo", 740)])
def test_too_far_back_is_not_even_asked(places: Places, source: str, days: int) -> None:
    """A window beyond a source's reach goes to the next without a request, and counts for nothing."""
    place = places.at(source)
    assert_failed_over(place, place.ask(days * DAY), Expected("CannotServe", 0))


@pytest.mark.parametrize("source", ["binance", "okx", "coinbase"])
def test_before_the_listing_is_an_answer(places: Places, source: str) -> None:
    """Where history reaches back to the listing, nothing before it is no reason to ask anybody else."""
    place = places.at(source)
    served = place.ask(3500 * DAY)
    assert (served.source, len(served.page)) == (source, 0)
    assert place.asked(place.fallback) == []


def resolve(real: Callable[..., object], host: str, *rest: object, **more: object) -> object:
    """Real resolvers take up to 5 s to say that there is no such name."""
    if host.endswith(".invalid"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return real(host, *rest, **more)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("way", ["refused", "dns", "tls"])
def test_nobody_there(places: Places, tmp_path: Path, source: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection at all: the next source is asked; the breaker counts what was asked for candles alone."""
    monkeypatch.setattr(socket, "getaddrinfo", partial(resolve, socket.getaddrinfo))
    plain = places.sandbox.url.replace("http:", "https:")
    url = {"refused": unused_url(), "dns": "http://no-such-host.invalid", "tls": plain}[way]
    with ExitStack() as stack:
        there = place(tmp_path, source, places.sandbox, stack, url + PATHS.get(source, ""))
        served = there.ask()
        assert_failed_over(there, served, Expected("RetryableError", 5, 5))
        words = {"refused": "refused the connection", "dns": "DNS", "tls": "TLS"}[way]
        assert {words in each.message for each in there.asked(source)} == {True}


@pytest.mark.parametrize("source", SOURCES)
def test_ten_failures_open_the_breaker(places: Places, source: str) -> None:
    """Two questions of five tries; from the third on the source is passed over without a request."""
    place = places.at(source)
    place.world.sandbox.script("status:500", 10 - BEFORE, venue=source)
    assert place.ask().source == place.fallback
    assert place.ask().source == place.fallback
    assert place.failures() == ("open", 10)
    assert len(place.asked(source)) == 10 - BEFORE
    assert place.ask().source == place.fallback
    assert len(place.asked(source)) == 10 - BEFORE


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("seconds", [9, 120])
def test_the_pause_of_a_failing_host_is_kept(places: Places, source: str, seconds: int) -> None:
    """A 503 that says when to come back: nothing is sent before, by whomever; a short pause is sat out."""
    place = places.at(source, relayed=True)
    assert place.relay is not None
    place.relay.answer(Reply(503, b"", {"Retry-After": str(seconds)}))
    assert place.ask().source == (place.fallback if seconds > 30 else source)
    first, *others = place.asked(source)
    assert first.outcome == "RetryableError"
    assert all(each.at_ms - first.at_ms >= seconds * 1000 for each in others)
    assert len(others) == (seconds <= 30)
    if seconds > 30:
        [(until,)] = place.world.query(
            "SELECT stop_until FROM endpoint_state WHERE source = :source AND endpoint LIKE '% %' "
            "AND endpoint NOT LIKE '%archive%'", source=source,
        )  # fmt: skip
        assert until - first.at_ms == pytest.approx(seconds * 1000, abs=2000)
        assert place.ask().source == place.fallback
        assert len(place.asked(source)) == 1


def test_nobody_left(places: Places) -> None:
    """When all fail in different ways, the error is the one that ends soonest."""
    place = places.at("kraken")
    place.world.sandbox.script("status:429", venue="binance")
    with pytest.raises(RateLimited, match="binance answered 429"):
        place.ask(3500 * DAY)
    assert place.failures() == ("closed", BEFORE)
