"""No client believes a server whose certificate nobody vouches for, whatever the environment says."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fetcher.clients.base import CandleRequest
from fetcher.clients.binance import BinanceAPIClient
from fetcher.clients.binance_archive import BinanceArchiveClient
from fetcher.clients.ccxt_exchange import CcxtAPIClient
from fetcher.clients.coingecko import CoinGeckoAPIClient
from fetcher.clients.yahoo import YahooFinanceAPIClient
from fetcher.clock import Clock, parse_utc
from fetcher.errors import SourceError
from fetcher.model import HOUR, Timeframe, Window
from fetcher.periods import months

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fetcher.clients.base import BaseAPIClient

NOW = parse_utc("2026-06-01T00:00:30Z")
SWITCHES = {
    "REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "", "SSL_CERT_FILE": "", "PYTHONHTTPSVERIFY": "0",
    "NODE_TLS_REJECT_UNAUTHORIZED": "0",
}  # fmt: skip
"""What people set, or leave set, to be rid of warnings about certificates."""


class Impostor(ThreadingHTTPServer):
    """A server that speaks TLS with a certificate that it made itself, and notes whoever goes on all the same."""

    daemon_threads = True

    def __init__(self, pem: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, *_: object) -> None:
        """Clients that turn away are what is wanted."""


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Note that somebody believed."""
        assert isinstance(self.server, Impostor)
        self.server.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def own_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate for this address, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime(2020, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    plain, kind = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, kind, plain) + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@contextmanager
def impostor(pem: Path) -> Iterator[Impostor]:
    """One on loopback."""
    server = Impostor(pem)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


CLOCK = Clock(NOW)
CLIENTS: dict[str, tuple[Callable[[str], BaseAPIClient], str]] = {
    "binance": (lambda url: BinanceAPIClient("binance", [url], CLOCK), "BTCUSDT"),
    "ccxt": (lambda url: CcxtAPIClient("okx", "okx", CLOCK, base_url=url), "BTC-USDT"),
    "coingecko": (lambda url: CoinGeckoAPIClient("coingecko", CLOCK, base_url=url), "bitcoin"),
    "yahoo": (lambda url: YahooFinanceAPIClient("yahoo", CLOCK, base_url=url), "BTC-USD"),
}


@pytest.mark.parametrize("name", [*CLIENTS, "binance archive"])
@pytest.mark.parametrize("switches", [{}, SWITCHES], ids=["plain", "switched off"])
def test_a_certificate_of_its_own_is_refused(
    own_certificate: Path, name: str, switches: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked of such a server; the sentence says why."""
    for variable, value in switches.items():
        monkeypatch.setenv(variable, value)
    with impostor(own_certificate) as server:
        url = f"https://127.0.0.1:{server.server_port}"
        if name == "binance archive":
            archive = BinanceArchiveClient("binance", url, CLOCK)
            [month] = months(Window(parse_utc("2026-04-01"), parse_utc("2026-05-01")))
            with pytest.raises(SourceError, match=r"TLS handshake: self.signed certificate"):
                archive.zip(archive.endpoints[0], "BTCUSDT", Timeframe("1h"), month)
            archive.close()
        else:
            make, market = CLIENTS[name]
            client = make(url)
            asked = CandleRequest(market, Timeframe("4h" if name == "coingecko" else "1h"), NOW - 9 * HOUR, NOW, 9, NOW)
            with pytest.raises(SourceError, match=r"TLS handshake: self.signed certificate"):
                client.candles(client.endpoints[0], asked)
            client.close()
        assert server.asked == []
