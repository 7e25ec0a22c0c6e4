"""The demo's wire: a relay on loopback that counts what crosses it, and that can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading


class Wire:
    """Relays connections to 127.0.0.1:`target`; `received` counts bytes that came from there."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.received = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections and take no new ones, for good."""
        for end in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with self._lock:
                self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(
                    target=self._carry, args=(source, sink, source is far), daemon=True
                ).start()

    def _carry(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 18):
                if counted:
                    with self._lock:
                        self.received += len(piece)
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
