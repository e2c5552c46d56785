"""The sandbox on a socket: HTTP in, the sandbox's answer out, spoiled on the wire where a fault asks for it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import sys
from typing import TYPE_CHECKING

from aiohttp import web

from fetcher.errors import ConfigError
from fetcher.sandbox.answer import JSON
from fetcher.sandbox.state import Sandbox

if TYPE_CHECKING:
    from fetcher.sandbox.answer import Answer
    from fetcher.sandbox.options import SandboxOptions

_ADMIN = "/sandbox/"


def serve(options: SandboxOptions) -> None:
    """Answer requests until SIGTERM, SIGINT or (where asked) the end of stdin; says on stdout where it listens.

    Raises ConfigError when the address is taken or a recording cannot be used.
    """
    asyncio.run(_serve(Sandbox(options), options))


async def _serve(sandbox: Sandbox, options: SandboxOptions) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.die_with_stdin:
        loop.add_reader(sys.stdin.fileno(), _end_with_stdin, loop, stop)
    server = web.Server(_Wire(sandbox, stop).respond, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, options.host, options.port, backlog=1024)
    try:
        try:
            await site.start()
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise ConfigError(
                f"the sandbox cannot listen on {options.host}:{options.port} ({why}); choose another --port"
            ) from None
        host, port = runner.addresses[0][:2]
        print(f"sandbox listening on http://{host}:{port}", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


def _end_with_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        loop.remove_reader(sys.stdin.fileno())
        stop.set()


class _Wire:
    """Turns requests into questions and answers into bytes."""

    def __init__(self, sandbox: Sandbox, stop: asyncio.Event) -> None:
        self._sandbox = sandbox
        self._stop = stop

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith(_ADMIN):
            return await self._administer(request)
        if request.method != "GET":
            return web.Response(status=405, headers={"Date": self._sandbox.date(), "Allow": "GET"})
        lengthy = self._sandbox.preparation(request.path)
        if lengthy is not None:
            await asyncio.to_thread(lengthy)
        answer = self._sandbox.answer(request.path, request.query, request.query_string, request.headers)
        if answer.delay:
            await self._pause(answer.delay)
        return await self._deliver(request, answer)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _deliver(self, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        headers = {"Content-Type": answer.content_type, **answer.headers}
        transport = request.transport
        if answer.delivery == "whole" or transport is None:
            return web.Response(status=answer.status, body=answer.body, headers=headers)
        if answer.delivery == "reset":
            raw: socket.socket | None = transport.get_extra_info("socket")
            if raw is not None:  # no lingering: closing sends RST instead of FIN
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
            return web.Response(status=answer.status)
        response = web.StreamResponse(
            status=answer.status, headers={**headers, "Content-Length": str(len(answer.body))}
        )
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
        transport.close()
        return response

    async def _administer(self, request: web.BaseRequest) -> web.Response:
        headers = {"Date": self._sandbox.date(), "Content-Type": JSON}
        try:
            told = json.loads(await request.read() or b"{}")
            if not isinstance(told, dict):
                raise TypeError(f"{type(told).__name__} instead of an object")
            found = self._command(request.method, request.path.removeprefix(_ADMIN), told)
        except ConfigError as error:
            return web.Response(status=400, body=json.dumps({"error": str(error)}).encode(), headers=headers)
        except (TypeError, ValueError) as error:  # JSON that is none, or the wrong fields for the command
            sentence = f"{request.method} {request.path} cannot be read: {error}"
            return web.Response(status=400, body=json.dumps({"error": sentence}).encode(), headers=headers)
        return web.Response(body=json.dumps(found).encode(), headers=headers)

    def _command(self, method: str, name: str, told: dict[str, object]) -> object:
        match method, name:
            case "GET", "log":
                return self._sandbox.log()
            case "DELETE", "log":
                self._sandbox.clear_log()
            case "GET", "config":
                pass
            case "POST", "config":
                self._sandbox.configure(told)
            case "POST", "script":
                self._sandbox.script(**told)  # type: ignore[arg-type]  # a wrong field is the caller's TypeError
            case "POST", "restate":
                self._sandbox.restate(**told)  # type: ignore[arg-type]  # the same
            case _:
                raise ConfigError(f"the sandbox does not know {method} {_ADMIN}{name}")
        return self._sandbox.config()
