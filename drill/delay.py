"""A relay that holds everything back for a while: latency, where the kernel has no netem."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Address = tuple[str, int]


@contextmanager
def delaying(at: Address, to: Address, seconds: float, enter: Callable[[], None]) -> Iterator[None]:
    """Relay connections from `at` to `to`; each way takes half of `seconds`.

    `enter` puts the relay's thread where its sockets are to be. Raises TimeoutError.
    """
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.sleep(seconds / 2)
            far_reader, far_writer = await asyncio.open_connection(*to)
            with contextlib.closing(far_writer):
                await asyncio.gather(
                    _carry(reader, far_writer, seconds / 2), _carry(far_reader, writer, seconds / 2)
                )

    async def serve() -> None:
        server = await asyncio.start_server(relay, *at)
        started.set()
        async with server:
            await server.serve_forever()

    def run() -> None:
        enter()
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.run_until_complete(_end(asyncio.all_tasks(loop)))
        loop.close()

    task = loop.create_task(serve())
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        if not started.wait(60):
            raise TimeoutError(f"The relay at {at} never listens.")
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    """The connections under way end; a turn of the loop closes their sockets."""
    for one in tasks:
        one.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)


async def _carry(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, seconds: float
) -> None:  # fmt: skip
    """What comes is sent on when its time has come; more may come meanwhile."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)

    async def send() -> None:
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not piece:
                sink.write_eof()
                return
            sink.write(piece)
            await sink.drain()

    sending = loop.create_task(send())
    with contextlib.suppress(OSError):
        while piece := await source.read(1 << 16):
            await pieces.put((loop.time() + seconds, piece))
    await pieces.put((loop.time() + seconds, b""))
    with contextlib.suppress(OSError):
        await sending
