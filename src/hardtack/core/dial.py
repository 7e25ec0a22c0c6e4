"""Connecting to a host, straight or through a proxy: http://, https://, socks5:// or socks5h://.

Behind each the connection is a socket like any other, with or without TLS on it. TLS is imported
when it is used.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hardtack.core.hosts import ascii_name
from hardtack.core.proxy import LOGIN, NO_TLS, Proxy, ProxyError, blamed, joined

if TYPE_CHECKING:
    import ssl

    Context = Callable[[], ssl.SSLContext]

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


def dial(
    host: str, port: int, *, timeout: float, proxy: Proxy | None = None, tls: Context | None = None
) -> socket.socket:
    """A connection to `host`, over TLS where `tls` says how; without TLS, and through a proxy that
    `forwards`, to the proxy. The proxy's own certificate is checked by the system's authorities.

    `timeout`: seconds for each step, of which the way through a proxy is one, and what the socket
    is left with. Raises OSError; of it ProxyError where the proxy is at fault.
    """
    if proxy is None:
        return _secured(_connected(asked_for(host), port, timeout), host, tls)
    if tls is None and proxy.forwards:
        sock = _Talk(proxy, timeout).begin(_to(proxy, timeout))
    else:
        sock = way_through(_to(proxy, timeout), proxy, host, port, seconds=timeout)
    sock.settimeout(timeout)
    return _secured(sock, host, tls)


def asked_for(host: str) -> str:
    """`host` in ASCII. Raises OSError for what is no host's name."""
    try:
        return ascii_name(host)
    except ValueError as error:
        raise OSError(f"{host!r} is no host: {error}") from error


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
            self._sock = _secured(self._sock, self._proxy.host, _system)
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
                return _connected(address, proxy.port, share)
            except OSError as error:
                last = error
        raise last

    return connect


def _system() -> ssl.SSLContext:
    from hardtack.core.trust import trusting  # late: it imports ssl

    return trusting()


def acknowledge_at_once(sock: socket.socket) -> None:
    """To be said of a connection each time that a request was sent. A server that keeps a reply's
    body back until its head is acknowledged (Nagle's algorithm) would wait for it 40 ms, each time;
    the kernel goes back to that by itself."""
    if sock.family != socket.AF_UNIX:  # between threads of ours
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _connected(host: str, port: int, timeout: float) -> socket.socket:
    sock = socket.create_connection((host, port), timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _secured(sock: socket.socket, host: str, tls: Context | None) -> socket.socket:
    if tls is None:
        return sock
    try:
        return tls().wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise


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
