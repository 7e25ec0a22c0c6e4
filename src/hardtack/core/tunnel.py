"""The way through a proxy: CONNECT, or SOCKS 5, and TLS with the proxy itself."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hardtack.core.connecting import asked_for, connected, secured
from hardtack.core.proxy import LOGIN, NO_TLS, Proxy, ProxyError, blamed, joined

if TYPE_CHECKING:
    import ssl

_HEAD = 64 << 10  # the most of a proxy's answer to CONNECT
_RECORD = 16 << 10  # the most that TLS hands out at once
_ADDRESS_SIZES = {1: 4, 4: 16}  # SOCKS: IPv4, IPv6
_LOGIN, _NONE_OF_THEM = 2, 0xFF  # SOCKS: ways to log in
_SOCKS_SAYS = {
    1: "it failed",
    2: "its rules forbid it",
    3: "the network can't be reached",
    4: "the host can't be reached",
    5: "connection refused",
    6: "no answer in time",
    7: "it makes no connections",
    8: "it knows no such address",
}
_FORBIDDEN = 2
_BEHIND = "Ask its administrator to let this machine through, or except the host by NO_PROXY."
_HOW = "Ask its administrator how to log in: by user and password, or not at all, is known here."
_OTHER_KIND = "Is it of this kind? Its URL begins with http://, https://, socks5:// or socks5h://."


def reached(proxy: Proxy, host: str, port: int, *, seconds: float, whole: bool) -> socket.socket:
    """A connection to `proxy`; if requests aren't sent to it `whole`, one that leads to `host`.

    `seconds`: for each step. Raises OSError; of it ProxyError where the proxy is at fault.
    """
    if whole:
        return _Talk(proxy, seconds).begin(_to(proxy, seconds))
    return way_through(_to(proxy, seconds), proxy, host, port, seconds=seconds)


def way_through(
    connect: Callable[[], socket.socket], proxy: Proxy, host: str, port: int, *, seconds: float
) -> socket.socket:
    """What leads to `host`, on the new connection to `proxy` that `connect` opens; left with what
    remains of the `seconds` for all of it.

    Raises ProxyError; another OSError where `host` is at fault.
    """
    host = asked_for(host)
    if proxy.scheme == "socks5":  # looks the name up here
        host = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    talk = _Talk(proxy, seconds)
    sock = talk.begin(connect)
    try:
        if not proxy.forwards:
            _socks(talk, proxy, host, port)
            return sock
        _tunnel(talk, proxy, host, port)
        return _plain(sock, seconds) if proxy.scheme == "https" else sock
    except BaseException:
        sock.close()
        raise


class _Talk:
    """What is said with a proxy until it has given a way, all within so many seconds.

    Raises ProxyError.
    """

    def __init__(self, proxy: Proxy, seconds: float) -> None:
        self._proxy = proxy
        self._end = time.monotonic() + seconds

    def begin(self, connect: Callable[[], socket.socket]) -> socket.socket:
        """The connection, with TLS on it where the proxy is spoken to by TLS."""
        try:
            self._sock = connect()
        except OSError as error:
            raise blamed(self._proxy, error) from error
        if self._proxy.scheme != "https":
            return self._sock
        try:
            self._sock.settimeout(self._left())
            self._sock = secured(self._sock, self._proxy.host, _system)
        except OSError as error:
            self._sock.close()
            raise blamed(self._proxy, error, NO_TLS) from error
        return self._sock

    def say(self, data: bytes) -> None:
        try:
            self._sock.settimeout(self._left())
            self._sock.sendall(data)
        except OSError as error:
            raise blamed(self._proxy, error) from error

    def hear(self, count: int) -> bytes:
        """The next `count` bytes."""
        data = b""
        try:
            while len(data) < count:
                self._sock.settimeout(self._left())
                part = self._sock.recv(count - len(data))
                if not part:
                    raise ProxyError(self._proxy, "ended the connection")
                data += part
        except OSError as error:
            raise blamed(self._proxy, error) from error
        return data

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _to(proxy: Proxy, seconds: float) -> Callable[[], socket.socket]:
    """What connects to `proxy`: each of its addresses has an equal part of what time is left."""

    def connect() -> socket.socket:
        end = time.monotonic() + seconds
        found = socket.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        last: OSError = ConnectionError("it has no address")
        for number, address in enumerate(addresses):
            share = max(0.01, (end - time.monotonic()) / (len(addresses) - number))
            try:
                return connected(address, proxy.port, share)
            except OSError as error:
                last = error
        raise last

    return connect


def _system() -> ssl.SSLContext:
    from hardtack.core.trust import trusting  # late: it imports ssl

    return trusting()


def _tunnel(talk: _Talk, proxy: Proxy, host: str, port: int) -> None:
    """Ask for a way through to `host` by CONNECT."""
    target = joined(host, port)
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
    talk.say("\r\n".join([*lines, "", ""]).encode("ascii"))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # Byte by byte: what follows the head is for TLS to read.
        head += talk.hear(1)
        if len(head) > _HEAD or not b"HTTP/".startswith(head[:5]):
            raise ProxyError(proxy, "doesn't answer in HTTP", _OTHER_KIND, lasting=True)
    status = head.split(b"\r\n", 1)[0].decode("latin-1")
    code = status.split(" ")[1:2]
    if code == ["407"]:
        raise ProxyError(proxy, _login_refused(proxy), LOGIN, lasting=True)
    if code != ["200"]:
        raise ProxyError(
            proxy, f"refuses the way to {target}: {status!r}", _BEHIND, lasting=code == ["403"]
        )


def _login_refused(proxy: Proxy) -> str:
    return "refuses its user and password" if proxy.user else "wants a user and a password"


def _socks(talk: _Talk, proxy: Proxy, host: str, port: int) -> None:
    """Ask for a way through to `host` by SOCKS 5 (RFC 1928, 1929)."""
    talk.say(b"\x05\x02\x00\x02" if proxy.user else b"\x05\x01\x00")
    version, method = talk.hear(2)
    if version != 5:
        raise ProxyError(proxy, "doesn't speak SOCKS 5", _OTHER_KIND, lasting=True)
    _log_in(talk, proxy, method)
    talk.say(b"\x05\x01\x00" + _address(host, proxy) + port.to_bytes(2))
    _, said, _, kind = talk.hear(4)
    if said:
        why = _SOCKS_SAYS.get(said, f"error {said}")
        raise ProxyError(
            proxy, f"gives no way to {joined(host, port)}: {why}", _BEHIND,
            lasting=said == _FORBIDDEN,
        )  # fmt: skip
    # what it is connected from, which nobody needs
    talk.hear((_ADDRESS_SIZES.get(kind) or talk.hear(1)[0]) + 2)


def _log_in(talk: _Talk, proxy: Proxy, method: int) -> None:
    """As the proxy chose by `method`."""
    if method == 0:
        return
    if method == _LOGIN and proxy.user:
        login = (_counted(part.encode(), proxy) for part in (proxy.user, proxy.password))
        talk.say(b"\x01" + b"".join(login))
        if talk.hear(2)[1]:
            raise ProxyError(proxy, _login_refused(proxy), LOGIN, lasting=True)
    elif method not in (_LOGIN, _NONE_OF_THEM):
        what = f"wants to be logged in to by method {method}, which wasn't offered"
        raise ProxyError(proxy, what, _HOW, lasting=True)
    elif proxy.user:
        what = "accepts neither a user and password nor a client without"
        raise ProxyError(proxy, what, _HOW, lasting=True)
    else:
        raise ProxyError(proxy, _login_refused(proxy), LOGIN, lasting=True)


def _address(host: str, proxy: Proxy) -> bytes:
    try:
        packed = ipaddress.ip_address(host).packed
    except ValueError:
        return b"\x03" + _counted(host.encode("ascii"), proxy)
    return (b"\x01" if len(packed) == 4 else b"\x04") + packed


def _counted(data: bytes, proxy: Proxy) -> bytes:
    if len(data) > 255:
        what = "can't be told more than 255 bytes of a user or a password"
        raise ProxyError(proxy, what, "SOCKS 5 carries no more: give shorter ones.", lasting=True)
    return bytes([len(data)]) + data


def _plain(tls: socket.socket, seconds: float) -> socket.socket:
    """What goes through `tls`, as a socket without TLS: the TLS of the host behind it goes on top,
    which the ssl module can't put on a socket of its own kind. `seconds`: for each piece that the
    other side takes."""
    import threading

    ours, theirs = socket.socketpair()
    ours.settimeout(tls.gettimeout())
    threading.Thread(target=_relay, args=(theirs, tls, seconds), name="proxy", daemon=True).start()
    return ours


def _relay(plain: socket.socket, tls: socket.socket, seconds: float) -> None:
    """Carry bytes both ways until either side ends, or the far one takes nothing for so long."""
    import select
    import ssl

    with plain, tls:
        poll = select.poll()  # not select, which knows the first 1,024 files alone
        for sock in (plain, tls):
            poll.register(sock, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll()}
                for sock, other in ((plain, tls), (tls, plain)):
                    if sock.fileno() not in ready:
                        continue
                    sock.settimeout(0)
                    try:
                        data = sock.recv(_RECORD)
                    except ssl.SSLWantReadError:
                        continue  # what came is of TLS itself
                    if not data:
                        return
                    # The near side may rest in the middle of a body, as on any connection: its
                    # end is noticed.
                    other.settimeout(seconds if other is tls else None)
                    other.sendall(data)
        except OSError:
            return  # one side broke off: the other sees its end
