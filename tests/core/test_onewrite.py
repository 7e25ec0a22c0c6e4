"""Replies of our servers go out in one piece."""

import asyncio
from collections.abc import Iterable
from typing import Any

import uvicorn

from hardtack.core.onewrite import OneWrite, _Gathering

_ASKED = b"GET / HTTP/1.1\r\nhost: box\r\n\r\n"


class _Recording(asyncio.Transport):
    """What is written, piece by piece, and None where it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes | None] = []

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.seen.append(b"".join(list_of_data))

    def close(self) -> None:
        self.seen.append(None)

    def is_closing(self) -> bool:
        return None in self.seen

    def resume_reading(self) -> None:
        """Nothing was paused."""


async def _app(scope: Any, receive: Any, send: Any) -> None:
    del receive
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"6")]})  # fmt: skip
    await send({"type": "http.response.body", "body": b"bre", "more_body": True})
    if scope["path"] == "/slowly":
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"ad."})


def _written(asked: bytes) -> list[bytes | None]:
    """What a caller that asks this gets, piece by piece."""

    async def exchange() -> list[bytes | None]:
        config = uvicorn.Config(_app, log_config=None, lifespan="off")
        config.load()
        protocol = OneWrite(config, uvicorn.server.ServerState(), {})
        transport = _Recording()
        protocol.connection_made(transport)
        protocol.data_received(asked)
        await asyncio.gather(*protocol.tasks)
        await asyncio.sleep(0)
        protocol.timeout_keep_alive_task.cancel() if protocol.timeout_keep_alive_task else None
        return transport.seen

    return asyncio.run(exchange())


def test_a_head_and_its_body_are_written_at_once() -> None:
    (piece,) = _written(_ASKED)
    assert piece is not None
    assert piece.startswith(b"HTTP/1.1 200 OK\r\n")
    assert piece.endswith(b"\r\n\r\nbread.")


def test_what_comes_later_is_not_waited_for() -> None:
    pieces = _written(_ASKED.replace(b"GET / ", b"GET /slowly "))
    assert [piece[-3:] for piece in pieces if piece] == [b"bre", b"ad."]


def test_a_caller_who_went_away_a_moment_ago_is_written_nothing() -> None:
    async def exchange() -> list[bytes | None]:
        transport = _Recording()
        gathering = _Gathering(transport, asyncio.get_running_loop())
        gathering.write(b"bread")
        transport.close()
        await asyncio.sleep(0)
        return transport.seen

    assert asyncio.run(exchange()) == [None]


def test_a_connection_is_closed_behind_the_last_piece() -> None:
    pieces = _written(_ASKED.replace(b"host", b"connection: close\r\nhost"))
    assert pieces[-1] is None
    assert b"".join(piece for piece in pieces if piece).endswith(b"bread.")
