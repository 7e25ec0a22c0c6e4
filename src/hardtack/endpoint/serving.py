"""The endpoint's listeners: HTTP, HTTPS beside it, and callers who send nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from hardtack.core.onewrite import OneWrite
from hardtack.endpoint.tls import Pair

_log = logging.getLogger(__name__)

_PATIENCE = 20.0
_MOST_HEAD = 65536
_SHUTDOWN = 10
_RENEWED = 5.0
"""Seconds between looks whether the certificate was replaced."""
_SAID = b'{"detail": "The request head is over the limit of 65536 bytes."}'
_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_SAID), _SAID)
)


@dataclass(frozen=True)
class Secure:
    """A listening socket for HTTPS, and its certificate and key."""

    listener: socket.socket
    pair: Pair


def serve(app: ASGIApp, plain: socket.socket, secure: Secure | None = None) -> bool:
    """Serve until SIGTERM, SIGINT or SIGHUP; False where it couldn't begin."""
    _raise_file_limit()
    main = _Main(_config(app))
    if secure is None:
        main.run(sockets=[plain])
        return main.started
    beside = _Beside(_config(app, secure))
    beside.config.load()

    async def both() -> None:
        second = asyncio.create_task(beside.serve(sockets=[secure.listener]))
        renewing = asyncio.create_task(_renewing(secure.pair, beside.config.ssl))

        async def end_beside() -> None:
            renewing.cancel()
            beside.should_exit = True
            await second

        main.before_its_end = end_beside
        await main.serve(sockets=[plain])

    with asyncio.Runner(loop_factory=main.config.get_loop_factory()) as runner:
        runner.run(both())
    return main.started


async def _renewing(pair: Pair, context: ssl.SSLContext | None) -> None:
    assert context is not None
    while True:
        await asyncio.sleep(_RENEWED)
        try:
            pair.renew(context)
        except Exception:  # noqa: BLE001 (told, and looked at again)
            _log.exception("the certificate can't be looked at")


class _Main(uvicorn.Server):
    """Ends by a hangup, as of a terminal that was closed, as it does by SIGTERM."""

    before_its_end: Callable[[], Awaitable[None]] | None = None
    """Waited for before what answers is taken down."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.before_its_end:
            await self.before_its_end()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        with super().capture_signals():
            before = signal.getsignal(signal.SIGHUP)
            if before is not signal.SIG_IGN:  # as nohup has it
                signal.signal(signal.SIGHUP, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(signal.SIGHUP, before)


class _Beside(uvicorn.Server):
    """A second server of one process: the first one hears the signals and has the life span."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class _Patient(OneWrite):
    """Hangs up on a connection that has sent no whole request head after a while; refuses a head
    that is too long, whether its end has come or not."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head: int | None = None
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head is not None and not self.transport.is_closing():
            self._head += len(data)
            if self._head > _MOST_HEAD:
                self._refuse()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0

    def on_headers_complete(self) -> None:
        self._head = None
        # It may have come whole in one read, before any piece of it was counted.
        if len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers) > _MOST_HEAD:
            self._refuse()
            raise ValueError("the request head is too long")  # so that the parser goes no further
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def on_response_complete(self) -> None:
        self._waiting.cancel()
        self._wait()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.cancel()
        super().connection_lost(exc)

    def _refuse(self) -> None:
        self.transport.write(_TOO_LONG)
        self.transport.close()

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(_PATIENCE, self._give_up)

    def _give_up(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and not self.transport.is_closing():
            self.transport.close()


def _config(app: ASGIApp, secure: Secure | None = None) -> uvicorn.Config:
    return uvicorn.Config(
        app, http=_Patient, loop="uvloop", ws="none", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, timeout_keep_alive=int(_PATIENCE),
        lifespan="off" if secure else "on", timeout_graceful_shutdown=_SHUTDOWN,
        ssl_certfile=secure.pair.certificate if secure else None,
        ssl_keyfile=secure.pair.key if secure else None,
    )  # fmt: skip


def _raise_file_limit() -> None:
    """Idle callers take files, of which the default is few."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
