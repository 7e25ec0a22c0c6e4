"""A box whose address changes: k3s is restarted, once, and watched until it is well again.

k3s takes the host's address when it starts. When that changes (another cable, another DHCP server)
pods' DNS and Kubernetes' service address stop answering until k3s starts anew. A box that has no
address at all is offline, which changes nothing.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from hardtack.core.errors import HardtackError
from hardtack.core.files import write_atomically
from hardtack.deploy.facts import k3s as k3s_facts
from hardtack.deploy.facts import network as network_facts
from hardtack.deploy.facts.model import K3s, Network
from hardtack.deploy.jobs.cluster import dns_ready
from hardtack.endpoint.backends.kubernetes.client import Cluster

log = logging.getLogger(__name__)

FILE = "host_ip"
TOWARDS = "192.0.2.1"
"""No host has it (RFC 5737): what the kernel would send there takes the default route."""
HEAL_SECONDS = 180.0
_POLL_SECONDS = 2.0


class Step(Enum):
    """What a look at the host's address leads to."""

    NOTHING = auto()
    REMEMBER = auto()
    WAIT = auto()
    """It is new: looked at once more, for an address that comes and goes."""
    RESTART = auto()


@dataclass(frozen=True)
class Seen:
    """`known`: the address that k3s runs with, as far as it is known; `candidate`: another that was
    seen at the last look."""

    known: str | None = None
    candidate: str | None = None


def look(seen: Seen, address: str | None) -> tuple[Step, Seen]:
    """What the address found now (None: offline) means, and what is seen from now on."""
    if address is None:
        return Step.NOTHING, seen
    if seen.known is None:
        return Step.REMEMBER, Seen(address)
    if address == seen.known:
        return Step.NOTHING, Seen(address)
    if address == seen.candidate:
        return Step.RESTART, Seen(address)
    return Step.WAIT, Seen(seen.known, address)


def host_address(network: Network, towards: str = TOWARDS) -> str | None:
    """The address that the box has on its network; None while it is offline.

    By a lookup of the route alone: connecting a UDP socket sends nothing. An address of an
    interface that hangs on no cable (that of `hardtack box prepare`, say) is none of the network's.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect((towards, 9))
        except OSError:
            return None
        address: str = asked.getsockname()[0]
    parsed = ipaddress.ip_address(address)
    if parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified:
        return None
    return None if address in network.staying else address


def must_restart(configured: K3s | None, network: Network) -> bool:
    """Whether k3s took the address that changed: not where it is told one that hangs on no cable.

    A k3s whose files can't be seen from here (None) may have.
    """
    settings = configured.settings if configured is not None else {}
    given = [a for a in settings.get("node-ip", "").split(",") if "." in a]
    return not given or given[0] not in network.staying


def remembered(directory: Path) -> str | None:
    """The address on disk; None where there is none that can be used."""
    try:
        text = (directory / FILE).read_text().strip()
        return str(ipaddress.IPv4Address(text))
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Healed:
    """Seconds until each was well; None: not within the time given."""

    dns: float | None
    api: float | None

    @property
    def well(self) -> bool:
        return self.dns is not None and self.api is not None


def watch(
    system: Cluster, reach: Callable[[], bool], *, patience: float = HEAL_SECONDS,
    clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
) -> Healed:  # fmt: skip
    """Wait until CoreDNS (in `system`, the namespace kube-system) is ready, and `reach` says that
    the API's service address answers."""
    begun = clock()
    dns: float | None = None
    api: float | None = None
    while True:
        if api is None and reach():
            api = clock() - begun
        if dns is None and _dns_ready(system):
            dns = clock() - begun
        if (dns is not None and api is not None) or clock() - begun >= patience:
            return Healed(dns, api)
        sleep(_POLL_SECONDS)


def _dns_ready(system: Cluster) -> bool:
    try:
        return dns_ready(system)
    except HardtackError as error:
        log.debug("CoreDNS: %s", error)
        return False


def reachable(host: str, port: int, timeout: float = 2.0) -> bool:
    """Whether a TCP connection comes about."""
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError:
        return False
    return True


class Healer:
    """One box's healer: its memory on disk, what it looks at, and what it does."""

    def __init__(
        self, directory: Path, root: Path, restart: Callable[[], str],
        heal: Callable[[], Healed], *, towards: str = TOWARDS,
    ) -> None:  # fmt: skip
        """`root`: where the host's file system is."""
        self._directory, self._root = directory, root
        self._restart, self._heal, self._towards = restart, heal, towards
        self._seen = Seen(remembered(directory))
        self._offline = False

    def check(self) -> Step:
        """Look once, and do what must be done. Raises OSError where the memory can't be written."""
        network = network_facts.read(self._root)
        address = host_address(network, self._towards)
        if (address is None) != self._offline:
            self._offline = address is None
            log.info("offline: nothing is done" if self._offline else f"the host has {address}")
        before = self._seen.known
        step, self._seen = look(self._seen, address)
        if step is Step.REMEMBER:
            self._remember(address)
        if step is not Step.RESTART:
            return step
        if not must_restart(k3s_facts.read(self._root), network):
            log.info("the host's address is %s, not %s; k3s doesn't use it", address, before)
            self._remember(address)
            return Step.REMEMBER
        self._heal_from(before, address)
        return step

    def _heal_from(self, before: str | None, address: str | None) -> None:
        log.warning("the host's address is %s, not %s: k3s is restarted", address, before)
        # Before, not after: in a container the restart ends us too, and must not come again.
        self._remember(address)
        begun = time.monotonic()
        try:
            done = self._restart()
        except HardtackError as error:
            log.error("%s", error)
            self._remember(before)
            self._seen = Seen(before)
            return
        healed = self._heal()
        facts = {
            "old_address": before, "new_address": address, "restart": done,
            "dns_seconds": healed.dns, "api_seconds": healed.api,
            "seconds": round(time.monotonic() - begun, 1),
        }  # fmt: skip
        if healed.well:
            log.info(
                "well again after %.0f s: CoreDNS after %.0f s, Kubernetes' service address after "
                "%.0f s", facts["seconds"], healed.dns, healed.api, extra=facts,
            )  # fmt: skip
        else:
            amiss = [n for n, s in (("CoreDNS", healed.dns), ("the API", healed.api)) if s is None]
            log.error(
                "not well again within %.0f s: %s", HEAL_SECONDS, ", ".join(amiss), extra=facts
            )

    def _remember(self, address: str | None) -> None:
        if address is not None:
            self._directory.mkdir(parents=True, exist_ok=True)
            write_atomically(self._directory / FILE, f"{address}\n".encode())
