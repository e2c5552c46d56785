"""What every client keeps to, over real HTTP on loopback; subclass it and say how the source writes its answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fetcher.clients.base import CandleRequest
from fetcher.clients.http import HttpRecord
from fetcher.errors import BadPayload, RateLimited, RetryableError
from fetcher.model import MINUTE, Timeframe
from fetcher.wire import WIRE
from tests.contract.wire import Reply, WireServer, unused_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fetcher.clients.base import BaseAPIClient
    from fetcher.errors import SourceError

START = 1_614_556_800_000
PATIENT = (10.0, 10.0)  # connect, read: what is to be answered, on a busy machine too
IMPATIENT = (0.5, 0.3)  # for what is not


class ClientContract(ABC):
    """Every test of this class holds for every client."""

    market_id = "BTCUSDT"

    @abstractmethod
    def make(self, base_url: str, timeout: tuple[float, float]) -> BaseAPIClient:
        """A client of one endpoint at `base_url`."""

    @abstractmethod
    def candles_body(self, start: int, count: int) -> bytes:
        """`count` one-minute candles from `start` on, as the source writes them."""

    @abstractmethod
    def time_body(self, ms: int) -> bytes:
        """The server's clock, as the source writes it."""

    @abstractmethod
    def symbols_body(self, *symbols: str) -> bytes:
        """A list of markets (`BTC/USDT`) that trade, as the source writes it."""

    @pytest.fixture
    def wire(self) -> Iterator[WireServer]:
        """A server that answers as told."""
        with WireServer() as server:
            yield server

    @pytest.fixture
    def client(self, wire: WireServer) -> Iterator[BaseAPIClient]:
        """A client of that server."""
        made = self.make(wire.url, PATIENT)
        yield made
        made.close()

    def request(self, count: int = 3) -> CandleRequest:
        """`count` minutes of the contract's market."""
        return CandleRequest(self.market_id, Timeframe("1m"), START, START + count * MINUTE)

    def ask(self, client: BaseAPIClient) -> list[int]:
        """The open times that a request for three candles brings."""
        times: list[int] = client.candles(client.endpoints[0], self.request()).value.rows["open_time"].tolist()
        return times

    def fail(self, client: BaseAPIClient, kind: type[SourceError]) -> SourceError:
        """The error that the same request ends in: of this kind, in one short printable line."""
        with pytest.raises(kind) as caught:
            self.ask(client)
        assert str(caught.value).isprintable()
        assert 10 < len(str(caught.value)) <= 200
        assert "object at 0x" not in str(caught.value)
        return caught.value

    def test_a_page_is_read(self, wire: WireServer, client: BaseAPIClient) -> None:
        """Candles come decoded, with the record of how they came; one question is one request."""
        wire.answer(Reply(body=self.candles_body(START, 3), headers={"X-Mark": "seen"}))
        answer = client.candles(client.endpoints[0], self.request())
        assert answer.value.rows.dtype == WIRE
        assert answer.value.rows["open_time"].tolist() == [START + n * MINUTE for n in range(3)]
        assert (answer.record.status, answer.record.headers["x-mark"]) == (200, "seen")
        assert answer.record.body == self.candles_body(START, 3)
        assert 0 <= answer.record.seconds < 30
        assert len(wire.seen) == 1

    @pytest.mark.parametrize("way", ["gzip", "chunked"])
    def test_a_page_is_read_however_it_is_sent(self, wire: WireServer, client: BaseAPIClient, way: str) -> None:
        """Compression and chunks are undone."""
        wire.answer(Reply(body=self.candles_body(START, 3), fault=way))
        assert len(self.ask(client)) == 3

    def test_a_short_page_is_only_a_short_page(self, wire: WireServer, client: BaseAPIClient) -> None:
        """Fewer rows than asked for are passed on: what is missing is for others to find out."""
        wire.answer(Reply(body=self.candles_body(START, 1)))
        assert self.ask(client) == [START]

    def test_an_empty_list_is_an_answer(self, wire: WireServer, client: BaseAPIClient) -> None:
        """No candles is no error."""
        wire.answer(Reply(body=self.candles_body(START, 0)))
        assert self.ask(client) == []

    def test_an_open_candle_is_passed_on(self, wire: WireServer, client: BaseAPIClient) -> None:
        """The client does not judge: whether a row is closed is seen by the source's clock, later."""
        far = 4_000_000_000_000 // MINUTE * MINUTE
        wire.answer(Reply(body=self.candles_body(far, 1)))
        assert self.ask(client) == [far]

    def test_nobody_listening_is_retryable(self) -> None:
        """A refused connection names the host and leaves nothing recorded."""
        client = self.make(unused_url(), IMPATIENT)
        error = self.fail(client, RetryableError)
        client.close()
        assert str(error).endswith("refused the connection")
        assert "127.0.0.1" in str(error)
        assert error.record is None

    @pytest.mark.parametrize(
        ("fault", "sentence"),
        [
            ("reset", "reset the connection"),
            ("close", "closed the connection without an answer"),
            ("hang", "timed out after 0.3 s"),
            ("stall", "timed out after 0.3 s"),
            ("drip", "had not finished its answer after 1.4 s"),
            ("truncate", "sent a truncated answer"),
            ("chunked_cut", "sent a truncated answer"),
            ("gzip_broken", "cannot be decompressed"),
            ("not_http", "did not send a proper HTTP answer"),
        ],
    )
    def test_a_broken_exchange_is_retryable(
        self, wire: WireServer, client: BaseAPIClient, fault: str, sentence: str
    ) -> None:
        """No whole answer, no page; the sentence says what happened, and the next request works again."""
        wire.answer(Reply(body=self.candles_body(START, 3), fault=fault), Reply(body=self.candles_body(START, 3)))
        asker = self.make(wire.url, IMPATIENT) if fault in {"hang", "stall", "drip"} else client
        error = self.fail(asker, RetryableError)
        assert sentence in str(error)
        assert error.record is None
        assert len(self.ask(asker)) == 3
        assert len(wire.seen) == 2
        asker.close()

    @pytest.mark.parametrize(
        "body",
        [b"", b"<!DOCTYPE html><html>Sorry</html>", b"null", b'{"ok":true}', b"\x1b[2J\xff", b"[[["],
        ids=["empty", "html", "null", "object", "bytes", "cut"],
    )
    def test_garbage_with_200_is_a_bad_payload(self, wire: WireServer, client: BaseAPIClient, body: bytes) -> None:
        """Success is what the body says, not the status; the record is kept with the error."""
        wire.answer(Reply(body=body))
        record = self.recorded(self.fail(client, BadPayload))
        assert (record.status, record.body) == (200, body)

    def test_cut_json_is_a_bad_payload(self, wire: WireServer, client: BaseAPIClient) -> None:
        """A body that ends early although HTTP says that it is whole is no page."""
        wire.answer(Reply(body=self.candles_body(START, 3)[:-20]))
        self.fail(client, BadPayload)

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_a_server_error_is_retryable(self, wire: WireServer, client: BaseAPIClient, status: int) -> None:
        """The source's own trouble passes; its pause, where named, is kept."""
        wire.answer(Reply(status, b"<html>oops</html>", {"Retry-After": "3"}))
        error = self.fail(client, RetryableError)
        assert not isinstance(error, BadPayload)
        assert isinstance(error, RetryableError)
        assert error.retry_after == 3.0
        assert self.recorded(error).status == status

    def test_too_many_requests_rest_the_source(self, wire: WireServer, client: BaseAPIClient) -> None:
        """A 429 is no failure but a date."""
        wire.answer(Reply(429, b"", {"Retry-After": "3", "Date": "Fri, 20 Nov 2026 10:00:00 GMT"}))
        error = self.fail(client, RateLimited)
        assert isinstance(error, RateLimited)
        assert self.recorded(error).status == 429

    def test_a_redirect_is_not_followed(self, wire: WireServer, client: BaseAPIClient) -> None:
        """An address that sends elsewhere (a captive portal, say) is not the source."""
        wire.answer(Reply(302, b"", {"Location": f"{wire.url}/elsewhere"}), Reply(body=self.candles_body(START, 3)))
        self.fail(client, BadPayload)
        assert len(wire.seen) == 1

    def test_a_server_without_tls_is_retryable(self, wire: WireServer) -> None:
        """HTTPS to something else fails in the handshake; there is no falling back to plain HTTP."""
        client = self.make(wire.url.replace("http:", "https:"), IMPATIENT)
        assert "TLS" in str(self.fail(client, RetryableError))
        client.close()
        assert wire.seen == []

    def test_the_server_time_is_asked(self, wire: WireServer, client: BaseAPIClient) -> None:
        """The source's clock in ms UTC, where it has one."""
        if client.capabilities.time_cost == 0:
            pytest.skip("the source has no time endpoint")
        wire.answer(Reply(body=self.time_body(START)), Reply(body=b"<html>"))
        assert client.server_time(client.endpoints[0]).value == START
        with pytest.raises(BadPayload):
            client.server_time(client.endpoints[0])

    def test_the_symbols_are_asked(self, wire: WireServer, client: BaseAPIClient) -> None:
        """The source's markets in our spelling, where it lists them."""
        if client.capabilities.symbols_cost == 0:
            pytest.skip("the source lists no symbols")
        wire.answer(Reply(body=self.symbols_body("BTC/USDT", "ETH/BTC")), Reply(body=b"[]"))
        listed = client.symbols(client.endpoints[0]).value
        assert [(market.symbol, market.trading) for market in listed] == [("BTC/USDT", True), ("ETH/BTC", True)]
        with pytest.raises(BadPayload):
            client.symbols(client.endpoints[0])

    def test_connections_are_kept_per_thread(self, wire: WireServer, client: BaseAPIClient) -> None:
        """Each thread keeps one connection for all its requests."""
        wire.answer(*[Reply(body=self.candles_body(START, 3))] * 8)
        with ThreadPoolExecutor(2) as pool:
            assert all(len(times) == 3 for times in pool.map(lambda _: self.ask(client), range(8)))
        assert len(wire.connections) <= 2

    def test_making_a_client_asks_nothing(self, wire: WireServer) -> None:
        """A constructor does no I/O, and every endpoint is named without its password."""
        client = self.make(wire.url.replace("http://", "http://user:hush@"), PATIENT)
        assert wire.seen == []
        assert all(endpoint.source == client.source for endpoint in client.endpoints)
        assert not any("hush" in endpoint.key for endpoint in client.endpoints)

    def test_a_password_in_the_address_is_not_recorded(self, wire: WireServer) -> None:
        """What reaches logs and the database holds no secret."""
        client = self.make(wire.url.replace("http://", "http://user:hush@"), PATIENT)
        wire.answer(Reply(body=self.candles_body(START, 3)), Reply(fault="reset"))
        assert "hush" not in client.candles(client.endpoints[0], self.request()).record.url
        assert "hush" not in str(self.fail(client, RetryableError))
        client.close()

    @staticmethod
    def recorded(error: SourceError) -> HttpRecord:
        """The exchange that the error came from."""
        assert isinstance(error.record, HttpRecord)
        return error.record
