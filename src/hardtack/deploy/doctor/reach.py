"""Is each host that the deployment uses within reach? All at once, each for a bounded time."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from hardtack.core.connecting import asked_for
from hardtack.core.proxy import Proxy, ProxyError
from hardtack.core.trust import trusting
from hardtack.core.tunnel import way_through
from hardtack.core.units import format_duration
from hardtack.deploy.doctor.finding import Finding, note, ok, problem
from hardtack.deploy.requirements import Direction, Requirement, When

_NTP = b"\x23" + bytes(47)  # version 4, client
_GROUND = "Ask the site's administrator for it: hardtack deploy requirements."


@dataclass(frozen=True)
class Way:
    """How to get there: `seconds` for each host, a proxy, certificates to trust besides, and what
    turns names into addresses."""

    seconds: float = 5.0
    proxy: str = ""
    ca_bundle: str = ""
    resolve: Callable[[str, int], list[str]] | None = None


def reach(requirements: Iterable[Requirement], way: Way, *, build: bool = False) -> list[Finding]:
    """A finding for each connection that this box opens, in their order; `build`: of the machine
    that builds too. Wildcards, and hosts that only a site knows, aren't tried."""
    due = [
        r for r in dict.fromkeys(requirements)
        if r.direction is Direction.OUT and r.named and (build or r.when != (When.BUILD,))
    ]  # fmt: skip
    hosts: dict[tuple[str, int, str], list[Requirement]] = {}
    for one in due:
        hosts.setdefault((one.host, one.port, one.protocol), []).append(one)
    return _at_once(list(hosts.values()), way)


def _at_once(hosts: list[list[Requirement]], way: Way) -> list[Finding]:
    """A finding for each host. Whoever interrupts us doesn't wait for those that say nothing: the
    threads of a pool would be waited for."""
    found: dict[int, Finding] = {}
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    handshakes = _Handshakes(way)

    def work(number: int) -> None:
        try:
            found[number] = _finding(hosts[number], way, handshakes)
        finally:
            ended.put(number)

    try:
        for number in range(len(hosts)):
            threading.Thread(target=work, args=(number,), daemon=True).start()
        for _ in hosts:  # no join: up to 3.12 a signal amid it has the thread count as ended
            ended.get()
    finally:
        handshakes.end()
    return [found[number] for number in range(len(hosts))]


class _Handshakes:
    """Those under way. At this process's end OpenSSL is taken down under whoever is in it: a thread
    that still was took the process with it (SIGSEGV)."""

    def __init__(self, way: Way) -> None:
        self._context: ssl.SSLContext | OSError
        try:
            self._context = trusting(file=way.ca_bundle or None)
        except OSError as error:
            self._context = error
        self._under_way: set[ssl.SSLSocket] = set()
        self._changed = threading.Condition()
        self._over = False

    def shake(self, channel: socket.socket, host: str) -> None:
        """Raises OSError where the host can't be trusted, or doesn't answer."""
        if isinstance(self._context, OSError):
            raise self._context
        with self._changed:
            if self._over:
                return
            wrapped = self._context.wrap_socket(
                channel, server_hostname=host, do_handshake_on_connect=False
            )
            self._under_way.add(wrapped)
        try:
            wrapped.do_handshake()
        finally:
            wrapped.close()
            with self._changed:
                self._under_way.remove(wrapped)
                self._changed.notify_all()

    def end(self) -> None:
        """No other begins, and none is left."""
        with self._changed:
            self._over = True
            for channel in self._under_way:
                with suppress(OSError):
                    socket.socket.shutdown(channel, socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._under_way)


def _finding(same: list[Requirement], way: Way, handshakes: _Handshakes) -> Finding:
    """`same`: one host and port, for several purposes."""
    first = same[0]
    check = f"reach {first.host}:{first.port}"
    started = time.monotonic()
    purpose = "; ".join(dict.fromkeys(one.purpose for one in same))
    try:
        _try(first, way, handshakes)
    except ssl.SSLCertVerificationError as error:
        return problem(
            check, f"its certificate is not trusted: {error.verify_message} ({purpose})",
            "Where the site inspects TLS, give its CA certificate: --ca-bundle. Or set the clock.",
        )  # fmt: skip
    except OSError as error:
        why = f"not reached: {_said(error)} ({purpose})"
        without = "; ".join(dict.fromkeys(one.without for one in same if one.without))
        helps = error.remedy if isinstance(error, ProxyError) else _GROUND
        helps += f" Without it: {without}." if without else ""
        only_if = [one.only_if for one in same]
        if all(only_if):
            return note(check, f"{why}; used only if {only_if[0]}", helps)
        return problem(check, why, helps)
    return ok(check, f"reached in {format_duration(time.monotonic() - started)} ({purpose})")


def _said(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return f"its name can't be resolved ({error.strerror})"
    return error.strerror or str(error)


def _try(one: Requirement, way: Way, handshakes: _Handshakes) -> None:
    """Raises OSError where the host isn't reached."""
    if one.protocol == "ntp":
        _ask_time(one, way)
        return
    with _connected(one, way) as channel:
        if one.protocol == "https":
            handshakes.shake(channel, one.host)


def _connected(one: Requirement, way: Way) -> socket.socket:
    """A connection to the host, through the proxy where there is one."""
    proxy = Proxy.parse(way.proxy) if way.proxy else None
    if proxy is None or proxy.host == one.host:
        return _opened(one.host, one.port, way)
    channel = way_through(
        lambda: _opened(proxy.host, proxy.port, way), proxy, one.host, one.port, seconds=way.seconds
    )
    channel.settimeout(max(0.1, channel.gettimeout() or 0.0))  # for the TLS with the host
    return channel


def _opened(host: str, port: int, way: Way) -> socket.socket:
    """To the first of its addresses that answers, within the time for all of them."""
    resolve = way.resolve or _addresses
    deadline = time.monotonic() + way.seconds
    last: OSError = ConnectionError("it has no address")
    for address in resolve(asked_for(host), port):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            channel = socket.create_connection((address, port), left)
        except OSError as error:
            last = error
            continue
        channel.settimeout(max(0.1, deadline - time.monotonic()))
        return channel
    raise last


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _ask_time(one: Requirement, way: Way) -> None:
    resolve = way.resolve or _addresses
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.settimeout(way.seconds)
        asked.sendto(_NTP, (resolve(one.host, one.port)[0], one.port))
        asked.recv(512)
