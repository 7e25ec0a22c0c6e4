"""Connecting to a host, straight or through a proxy: http://, https://, socks5:// or socks5h://.

Behind each the connection is a socket like any other, with or without TLS on it. TLS is imported
when it is used.
"""

from __future__ import annotations

import ipaddress
import socket
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from hardtack.core.errors import ConfigError

if TYPE_CHECKING:
    import ssl

    Context = Callable[[], ssl.SSLContext]

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_HEAD = 64 << 10  # the most of a proxy's answer to CONNECT
_RECORD = 16 << 10  # the most that TLS hands out at once
_ADDRESS_SIZES = {1: 4, 4: 16}  # SOCKS: IPv4, IPv6
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


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; `login`: `user:password`, or empty. `str` shows it without."""

    scheme: str
    host: str
    port: int
    login: str = field(repr=False, default="")

    @classmethod
    def parse(cls, text: str) -> Proxy:
        """`scheme://[user:password@]host[:port]`; `host:port` is http. Raises ConfigError."""
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            host, port = parts.hostname, parts.port
        except ValueError:  # a port that is no number, brackets around no address
            host, port = None, 0
        if not host or port == 0 or parts.scheme not in _PORTS:
            raise ConfigError(
                f"{text.rpartition('@')[2]!r} is not a usable proxy URL.",
                remedy="Write http://, https://, socks5:// or socks5h:// and host:port.",
            )
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        login = f"{user}:{password}" if user else ""
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], login)

    def __str__(self) -> str:
        return f"{self.scheme}://{_joined(self.host, self.port)}"

    @property
    def forwards(self) -> bool:
        """Whether requests for http:// go to it whole, as to a server."""
        return self.scheme in ("http", "https")

    @property
    def headers(self) -> dict[str, str]:
        """How to log in to it by HTTP."""
        if not self.login:
            return {}
        return {"Proxy-Authorization": f"Basic {b64encode(self.login.encode()).decode()}"}


def dial(
    host: str, port: int, *, timeout: float, proxy: Proxy | None = None, tls: Context | None = None
) -> socket.socket:
    """A connection to `host`, over TLS where `tls` says how; without TLS, and through a proxy that
    `forwards`, to the proxy. The proxy's own certificate is checked by the system's authorities.

    `timeout`: seconds for each step, and what the socket is left with. Raises OSError.
    """
    if proxy is None:
        return _secured(_connected(host, port, timeout), host, tls)
    sock = _connected(proxy.host, proxy.port, timeout)
    if tls is None and proxy.forwards:
        return _to_proxy(sock, proxy)
    return _secured(way_through(sock, proxy, host, port), host, tls)


def way_through(sock: socket.socket, proxy: Proxy, host: str, port: int) -> socket.socket:
    """What leads to `host`, on `sock`, a new connection to `proxy`. Raises OSError."""
    sock = _to_proxy(sock, proxy)
    try:
        if not proxy.forwards:
            _socks(sock, proxy, host, port)
            return sock
        _tunnel(sock, proxy, host, port)
        return _plain(sock) if proxy.scheme == "https" else sock
    except BaseException:
        sock.close()
        raise


def _to_proxy(sock: socket.socket, proxy: Proxy) -> socket.socket:
    """`sock` with TLS on it where the proxy is spoken to by TLS."""
    return _secured(sock, proxy.host, _system if proxy.scheme == "https" else None)


def _system() -> ssl.SSLContext:
    from hardtack.core.trust import trusting  # late: it imports ssl

    return trusting()


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


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tunnel(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Ask for a way through to `host` by CONNECT."""
    target = _joined(host, port)
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
    sock.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # Byte by byte: what follows the head is for TLS to read.
        head += _exactly(sock, 1, proxy)
        if len(head) > _HEAD:
            raise OSError(f"the proxy {proxy} gives no end of an answer")
    status = head.split(b"\r\n", 1)[0].decode("latin-1")
    if status.split(" ")[1:2] != ["200"]:
        raise OSError(f"the proxy {proxy} refuses the way to {target}: {status!r}")


def _socks(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Ask for a way through to `host` by SOCKS 5 (RFC 1928, 1929). `socks5` looks the name up here,
    `socks5h` leaves that to the proxy."""
    sock.sendall(b"\x05\x02\x00\x02" if proxy.login else b"\x05\x01\x00")
    version, method = _exactly(sock, 2, proxy)
    if version != 5:
        raise OSError(f"the proxy {proxy} doesn't speak SOCKS 5")
    if method == 2:
        user, password = (part.encode() for part in proxy.login.split(":", 1))
        sock.sendall(b"\x01" + _counted(user) + _counted(password))
        if _exactly(sock, 2, proxy)[1]:
            raise OSError(f"the proxy {proxy} refuses its user and password")
    elif method:
        raise OSError(f"the proxy {proxy} wants a user and a password")
    sock.sendall(b"\x05\x01\x00" + _address(proxy, host, port) + port.to_bytes(2))
    _, said, _, kind = _exactly(sock, 4, proxy)
    if said:
        why = _SOCKS_SAYS.get(said, f"error {said}")
        raise OSError(f"the proxy {proxy} gives no way to {_joined(host, port)}: {why}")
    # what it is connected from, which nobody needs
    _exactly(sock, (_ADDRESS_SIZES.get(kind) or _exactly(sock, 1, proxy)[0]) + 2, proxy)


def _address(proxy: Proxy, host: str, port: int) -> bytes:
    if proxy.scheme == "socks5":
        host = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    try:
        packed = ipaddress.ip_address(host).packed
    except ValueError:
        return b"\x03" + _counted(host.encode("idna"))
    return (b"\x01" if len(packed) == 4 else b"\x04") + packed


def _counted(data: bytes) -> bytes:
    if len(data) > 255:
        raise OSError("SOCKS 5 carries names, users and passwords of at most 255 bytes")
    return bytes([len(data)]) + data


def _exactly(sock: socket.socket, count: int, proxy: Proxy) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise OSError(f"the proxy {proxy} ended the connection")
        data += part
    return data


def _plain(tls: socket.socket) -> socket.socket:
    """What goes through `tls`, as a socket without TLS: the TLS of the host behind it goes on top,
    which the ssl module can't put on a socket of its own kind."""
    import threading

    ours, theirs = socket.socketpair()
    ours.settimeout(tls.gettimeout())
    threading.Thread(target=_relay, args=(theirs, tls), name="proxy", daemon=True).start()
    return ours


def _relay(plain: socket.socket, tls: socket.socket) -> None:
    """Carry bytes both ways until either side ends."""
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
                    other.settimeout(None)
                    other.sendall(data)
        except OSError:
            return  # one side broke off: the other sees its end
