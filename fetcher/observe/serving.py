"""A small HTTP server for scrapes: Prometheus' own application, a thread for each, none of which hangs for ever."""

from __future__ import annotations

from socket import AF_INET, AF_INET6
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from fetcher.observe.lines import LOG

if TYPE_CHECKING:
    from typing import Any

    from prometheus_client import CollectorRegistry

_SILENCE = 10.0  # seconds; who sends nothing for so long is hung up on


class Server(ThreadingMixIn, WSGIServer):
    """Answers from threads that nobody waits for when the program leaves."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Bind, without asking the name service for our own name: that may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 (socketserver's)
        """Note a scrape that broke off; by default its traceback would go to stderr."""
        LOG.debug("a scrape of the metrics broke off", exc_info=True)


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 (http.server's)
        """Log nothing: a scrape is no news."""


def serve(host: str, port: int, registry: CollectorRegistry) -> Server:
    """A server bound to this address that answers with the registry's metrics; raises OSError where it cannot be."""
    from prometheus_client import make_wsgi_app

    class Bound(Server):
        address_family = AF_INET6 if ":" in host else AF_INET

    server = Bound((host, port), _Handler)
    server.set_app(make_wsgi_app(registry))
    return server
