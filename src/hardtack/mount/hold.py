"""The hold: keeps mounts while their keepers are replaced, as when a pod gives way to another.

Run as `python -P -m hardtack.mount.hold SOCKET GRACE`, of the standard library alone. It has
descriptors of each connection and of its shared memory too. While it has them nobody gets ENOTCONN:
readers wait, and the next keeper goes on where the last one ended.

One message (SOCK_SEQPACKET, JSON, descriptors beside it) and one reply a connection:

    {"do": "keep", "mountpoint", "device", "source", "cache"} + 2 descriptors  →  {}
        The sender owns the mount until its end of the connection closes.
    {"do": "take", "mountpoint"}  →  {}, or what was kept, with "owned", + 2 descriptors
    {"do": "drop", "mountpoint"}  →  {}

A mount that nobody owns for GRACE seconds, or when the hold ends, is unmounted.
"""

import json
import os
import selectors
import signal
import socket
import sys
import time
from select import POLLERR, poll
from typing import Any

from hardtack.mount.keeper import Log, device_at

LONGEST = 1 << 16
_DETACH, _NOFOLLOW = 2, 8


def ask(
    path: str, message: dict[str, Any], fds: tuple[int, ...] = (), timeout: float = 5.0
) -> tuple[dict[str, Any], list[int]]:
    """The hold's reply to `message`, and the descriptors with it. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        channel.settimeout(timeout)
        channel.connect(path)
        socket.send_fds(channel, [json.dumps(message).encode()], list(fds))
        data, found, _, _ = socket.recv_fds(channel, LONGEST, 2)
    if not data:
        raise ConnectionResetError(f"the hold at {path} refused a message")
    reply: dict[str, Any] = json.loads(data)
    return reply, list(found)


def ended(fuse: int) -> bool:
    """Whether the FUSE connection of this descriptor is over: unmounted, or aborted."""
    asked = poll()
    asked.register(fuse, 0)
    return any(event & POLLERR for _, event in asked.poll(0))


def unmount(mountpoint: str, device: str) -> None:
    """Detach the mount, if it is still the topmost one at its place."""
    import ctypes

    if device_at(mountpoint) == device:
        ctypes.CDLL(None).umount2(os.fsencode(mountpoint), _DETACH | _NOFOLLOW)


log = Log("hold")


class Held:
    """A mount that is kept. `owner`: the keeper's end; None since `since`."""

    def __init__(self, about: dict[str, Any], fds: list[int], owner: socket.socket) -> None:
        self.about = about
        self.fds = fds
        self.owner: socket.socket | None = owner
        self.since = 0.0


class Hold:
    """Listens at `path`; `grace` in seconds."""

    def __init__(self, path: str, grace: float) -> None:
        self.path = path
        self.grace = grace
        self.held: dict[str, Held] = {}
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def listen(self) -> None:
        directory, name = os.path.split(self.path)
        beside = os.path.join(directory, f".{name}.{os.getpid()}")
        self.listener.bind(beside)
        os.chmod(beside, 0o600)
        self.listener.listen(16)
        os.rename(beside, self.path)  # at once in the place of a former hold's
        self.selector.register(self.listener, selectors.EVENT_READ)
        log(f"listens at {self.path}")

    def run(self) -> None:
        """Serve until SystemExit, which SIGTERM raises."""
        while True:
            for key, _ in self.selector.select(self.wait()):
                channel = key.fileobj
                assert isinstance(channel, socket.socket)
                if channel is self.listener:
                    accepted, _ = channel.accept()
                    self.selector.register(accepted, selectors.EVENT_READ)
                else:
                    self.serve(channel)
            self.expire()

    def wait(self) -> float | None:
        """Seconds until a mount's grace is over."""
        waiting = [one.since + self.grace for one in self.held.values() if one.owner is None]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def serve(self, channel: socket.socket) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(channel, LONGEST, 2)
            message = json.loads(data) if data else None
        except (OSError, ValueError) as problem:
            log(f"a message can't be read: {problem}", "warning")
            message, fds = None, []
        if not isinstance(message, dict):
            self.leave(channel)
            return
        reply: dict[str, Any] = {}
        given: list[int] = []
        name = str(message.get("mountpoint", ""))
        if message.get("do") == "keep" and len(fds) == 2:
            self.keep(name, message, fds, channel)
            fds = []
        elif message.get("do") == "take" and name in self.held:
            one = self.held[name]
            reply, given = one.about | {"owned": one.owner is not None}, one.fds
        elif message.get("do") == "drop":
            self.forget(name)
        for fd in fds:
            os.close(fd)
        try:
            socket.send_fds(channel, [json.dumps(reply).encode()], given)
        except OSError as problem:
            log(f"a reply can't be sent: {problem}", "warning")

    def keep(
        self, name: str, message: dict[str, Any], fds: list[int], owner: socket.socket
    ) -> None:
        former = self.held.get(name)
        self.held[name] = Held(message, fds, owner)
        log(f"keeps {message.get('source')} at {name}")
        for fd in former.fds if former else ():
            os.close(fd)

    def leave(self, channel: socket.socket) -> None:
        """The other end is gone, and with it the owner of a mount, if it was one."""
        self.selector.unregister(channel)
        channel.close()
        for name, one in self.held.items():
            if one.owner is channel:
                one.owner, one.since = None, time.monotonic()
                log(f"{name} has no keeper; its readers wait {self.grace:g} s for another")

    def expire(self) -> None:
        now = time.monotonic()
        for name, one in list(self.held.items()):
            if one.owner is None and ended(one.fds[0]):
                log(f"{name} was unmounted")
                self.forget(name)
            elif one.owner is None and now >= one.since + self.grace:
                log(f"no keeper came for {name} in {self.grace:g} s; it is unmounted", "warning")
                self.release(name)

    def release(self, name: str) -> None:
        """Unmount what nobody owns: its readers get ENOTCONN instead of waiting for ever."""
        unmount(name, str(self.held[name].about.get("device")))
        self.forget(name)

    def forget(self, name: str) -> None:
        one = self.held.pop(name, None)
        for fd in one.fds if one else ():
            os.close(fd)

    def end(self) -> None:
        for name in [name for name, one in self.held.items() if one.owner is None]:
            self.release(name)
        os.unlink(self.path)


def main(path: str, grace: float, level: str = "info", form: str = "text") -> None:
    log.configure(level, form)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    hold = Hold(path, grace)
    hold.listen()
    try:
        hold.run()
    finally:
        hold.end()


if __name__ == "__main__":
    os.chdir("/")
    main(sys.argv[1], float(sys.argv[2]), *sys.argv[3:])
