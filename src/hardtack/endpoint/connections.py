"""Connections to inference servers, kept open between pictures."""

from __future__ import annotations

import contextlib
import select
import threading
from collections.abc import Set

from hardtack.core.dial import dial
from hardtack.core.http1 import BadReply, Connection
from hardtack.endpoint.servers import Address

_CONNECT = 2.0
_MOST_IDLE = 16
_MOST_REPLY = 64_000_000


class Away(Exception):
    """Nobody listens there."""


class Broken(Exception):
    """The connection broke off, or what came over it is no reply."""


class Connections:
    """Thread-safe."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: how long a server may send nothing of its reply."""
        self._seconds = seconds
        self._lock = threading.Lock()
        self._idle: dict[Address, list[Connection]] = {}

    def post(self, address: Address, path: str, body: bytes, media: str) -> tuple[int, bytes]:
        """The reply's status and body. Raises Away, Broken, TimeoutError."""
        connection = self._taken(address) or self._opened(address)
        try:
            host = f"[{address.host}]" if ":" in address.host else address.host
            headers = {"Host": f"{host}:{address.port}", "Content-Type": media}
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                # One that refuses a picture by its head may hang up before it has read it all.
                connection.send("POST", path, headers, body)
            reply = connection.reply("POST")
            told = reply.read(_MOST_REPLY)
            if not reply.ended:
                raise BadReply(f"it has over {_MOST_REPLY} bytes")
        except TimeoutError:
            connection.close()
            raise
        except (OSError, BadReply) as error:
            connection.close()
            raise Broken(str(error)) from None
        except BaseException:
            connection.close()
            raise
        if reply.reusable:
            self._keep(address, connection)
        else:
            connection.close()
        return reply.status, told

    def only(self, addresses: Set[Address]) -> None:
        """Close what is idle and leads to others, or was hung up on.

        A Service's address stays the same while what it leads to changes: the version tells.
        """
        with self._lock:
            for address, connections in list(self._idle.items()):
                kept = [c for c in connections if address in addresses and not _heard(c)]
                for connection in connections:
                    if connection not in kept:
                        connection.close()
                self._idle[address] = kept
                if not kept:
                    del self._idle[address]

    def close(self) -> None:
        """Those that are idle."""
        self.only(frozenset())

    def _taken(self, address: Address) -> Connection | None:
        """An idle one on which the server hasn't hung up."""
        while True:
            with self._lock:
                kept = self._idle.get(address)
                if not kept:
                    return None
                connection = kept.pop()
            if not _heard(connection):
                return connection
            connection.close()

    def _opened(self, address: Address) -> Connection:
        try:
            sock = dial(address.host, address.port, timeout=_CONNECT)
        except OSError as error:
            raise Away(str(error)) from None
        sock.settimeout(self._seconds)
        return Connection(sock)

    def _keep(self, address: Address, connection: Connection) -> None:
        with self._lock:
            kept = self._idle.setdefault(address, [])
            if len(kept) < _MOST_IDLE:
                kept.append(connection)
                return
        connection.close()


def _heard(connection: Connection) -> bool:
    """Whether anything came on an idle connection, most likely its end."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))
