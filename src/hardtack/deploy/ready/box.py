"""What else keeps a box from coming up alone: small checks, each pure over the facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from hardtack.core.units import format_duration, format_size
from hardtack.deploy.facts import room
from hardtack.deploy.facts.kubelet import MAXIMUM_AGE, NEVER, NO_FLAG
from hardtack.deploy.facts.model import Facts, K3s
from hardtack.deploy.facts.networkd import OURS
from hardtack.deploy.facts.read import LATE
from hardtack.deploy.ready import elsewhere, filesystems, starts
from hardtack.deploy.ready.amiss import PREPARE, Amiss
from hardtack.deploy.ready.checks import Check
from hardtack.deploy.ready.report import Row, State

_LISTENING = {"bind-address": "listens", "advertise-address": "is told to pods"}
_STALE = 86400.0
_HIGH = "image-gc-high-threshold"
_PER_CENT = re.compile(r"\d\d?|100", re.ASCII)
_NEARLY = 5  # per cent below the threshold from which images are collected


def default_route(facts: Facts) -> Iterable[Amiss]:
    """k3s refuses to start without a default route, and DHCP gives none without a cable."""
    if facts.k3s is None:
        return
    network = facts.network
    if network.claimed and OURS in (*network.addresses, *(r.interface for r in network.defaults)):
        yield (
            f"systemd-networkd takes {OURS} for its own by {network.claimed}, and drops what is "
            "there: the route and the address that need no cable",
            PREPARE,
        )
    if any(route.stays for route in network.defaults):
        return
    held = ", ".join(route.interface for route in network.defaults)
    yield (
        f"every default route hangs on a cable ({held})" if held else "there is no default route",
        PREPARE,
    )


def node_address(facts: Facts) -> Iterable[Amiss]:
    """With the cable out k3s would take another address, and its certificates name the old one."""
    if facts.k3s is None:
        return
    addresses = [a for a in facts.k3s.settings.get("node-ip", "").split(",") if "." in a]
    if not addresses:
        yield "k3s has no node-ip: it takes the address of whatever route there is", PREPARE
    for address in addresses:
        if address not in facts.network.staying:
            said = f"the node's address {address} goes when its cable does"
            yield said, _prepare(facts.k3s, "node-ip")
    yield from _hanging(facts, facts.k3s)


def _hanging(facts: Facts, k3s: K3s) -> Iterable[Amiss]:
    """What else k3s is told to use of a cable's."""
    for flag, does in _LISTENING.items():
        address = k3s.settings.get(flag, "")
        if "." in address and address not in (*facts.network.staying, "0.0.0.0"):
            said = f"{address}, at which k3s {does} ({flag}), goes when its cable does"
            yield said, f"Take {flag} out of k3s's configuration: the node's address does."
    interface = k3s.settings.get("flannel-iface", "")
    if interface and not facts.network.staying & facts.network.addresses.get(interface, set()):
        yield (
            f"{interface}, flannel's interface, has no address when its cable is out: k3s ends",
            "Take flannel-iface out of k3s's configuration: it takes that of the default route.",
        )


def node_name(facts: Facts) -> Iterable[Amiss]:
    """Under another name k3s makes another node: pods and volumes are bound to the former."""
    if facts.k3s is None:
        return
    coming = facts.k3s.settings.get("node-name", "").lower() or facts.network.name
    if not coming:
        yield (
            "the box has no host name of its own (/etc/hostname): k3s would name its node after "
            "that of a lease, or of none",
            PREPARE,
        )
    elif facts.k3s.node not in ("", coming):
        yield (
            f"k3s calls its node {facts.k3s.node}, and at its next start {coming}",
            _prepare(facts.k3s, "node-name"),
        )


def _prepare(k3s: K3s, flag: str) -> str:
    """What helps where `box prepare` writes a flag that k3s's command may override."""
    if flag not in k3s.commanded:
        return PREPARE
    return f"Take --{flag} out of the command that starts k3s; then: hardtack box prepare."


def clock(facts: Facts) -> Iterable[Amiss]:
    """A box without a battery starts in the past, where certificates aren't valid yet."""
    now, kept = facts.clock.now, facts.clock.kept
    if kept is None:
        yield "nothing notes the time: without a battery the clock starts in the past", PREPARE
    elif kept - now > LATE:
        behind = format_duration(kept - now)
        yield f"the clock is {behind} behind the time noted in {facts.clock.keeper}", PREPARE
    elif now - kept > _STALE:
        yield (
            f"{facts.clock.keeper} was last written {format_duration(now - kept)} ago",
            "Start what keeps the time: hardtack box clock --watch.",
        )


def names(facts: Facts) -> Iterable[Amiss]:
    """What must resolve with no DNS, and what CoreDNS needs to start at all."""
    if "localhost" not in facts.network.hosts:
        yield "/etc/hosts doesn't name localhost", PREPARE
    if facts.k3s is not None and facts.k3s.nameservers == ():
        yield (
            "the resolv.conf that k3s is told to use names no server: CoreDNS won't start",
            "Name one in it, or take resolv-conf out of k3s's configuration.",
        )
    elif facts.k3s is not None and facts.k3s.leased:
        yield (
            f"{facts.k3s.leased}, which k3s is told to use, names the servers of a lease: with no "
            "cable it names none, and CoreDNS won't start",
            "Take resolv-conf out of k3s's configuration, or name a file there that stays.",
        )


def image_collection(facts: Facts) -> Iterable[Amiss]:
    """The kubelet removes images when the disk fills, or when they are old."""
    if facts.k3s is None:
        return
    if NO_FLAG in facts.k3s.kubelet:
        yield (
            f"kubelet-arg says {NO_FLAG}, which is no flag of the kubelet's: k3s won't start",
            "Take it out of kubelet-arg; if an earlier hardtack wrote it: hardtack box prepare.",
        )
    high = facts.k3s.kubelet.get(_HIGH, "85")
    if not _PER_CENT.fullmatch(high):
        yield (
            f"{_HIGH} is {high!r}, no number from 0 to 100: the kubelet refuses it, and k3s ends",
            "Correct it where k3s's kubelet-arg or a file of the kubelet's says so.",
        )
    elif high != "100":
        for space in facts.spaces:
            used = 100 - 100 * space.free // max(1, space.total)
            if "k3s" in space.path.parts and used >= int(high) - _NEARLY:
                said = f"images are collected from {high} % on, the disk is {used} % full"
                yield said, _prepare(facts.k3s, "kubelet-arg")
    if facts.k3s.kubelet.get(MAXIMUM_AGE, "0s") not in NEVER:
        named = facts.k3s.kubelet.get("config")
        yield (
            f"images that aren't used for a while are collected ({MAXIMUM_AGE})",
            f"Take {MAXIMUM_AGE} out of {named} and of the drop-ins." if named else PREPARE,
        )


def disk(facts: Facts) -> Iterable[Amiss]:
    """A full disk: pods are evicted, and nothing can be written."""
    for space, least in room.full(facts):
        yield (
            f"{space.path} has {format_size(space.free)} free, less than {format_size(least)}",
            "Free some space: hardtack box prepare (old journals, kept packages), "
            "hardtack cache evict, hardtack images prune.",
        )
    for space in room.out_of_inodes(facts):
        yield f"{space.path} has {space.inodes_free} inodes free", "Remove small files."


def helpers(facts: Facts) -> Iterable[Amiss]:
    """A credential helper that waits for a network holds up each start of a pod."""
    for helper in facts.helpers:
        if helper.error:
            yield (
                f"the credential helper {helper.name}: {helper.error}",
                "Install it, or name it no more.",
            )
        elif helper.seconds is None:
            yield (
                f"the credential helper {helper.name} doesn't end without a network",
                "Give it a time limit, or take it out of the credential providers.",
            )


CHECKS: dict[Check, Callable[[Facts], Iterable[Amiss]]] = {
    Check.BOX_ROUTE: default_route,
    Check.BOX_ADDRESS: node_address,
    Check.BOX_NODE: node_name,
    Check.BOX_CLOCK: clock,
    Check.BOX_NAMES: names,
    Check.BOX_COLLECTION: image_collection,
    Check.BOX_DISK: disk,
    Check.BOX_HELPERS: helpers,
    Check.BOX_ORDER: starts.order,
    Check.BOX_BOOT: starts.prepared,
    Check.BOX_STARTS: starts.at_boot,
    Check.BOX_UPCOMING: starts.upcoming,
    Check.BOX_STORAGE: elsewhere.storage,
    Check.BOX_MOUNTS: filesystems.at_boot,
    Check.BOX_CONTROL: elsewhere.control_plane,
    Check.BOX_PULLS: elsewhere.forced_pulls,
}
"""Each yields what is amiss."""
_NOTED: dict[Check, Callable[[Facts], str]] = {Check.BOX_STARTS: starts.passing}
"""What is to be said where nothing is."""


def _nothing(_: Facts) -> str:
    return ""


def rows(facts: Facts) -> list[Row]:
    """A row for each check, or for each thing that it finds amiss."""
    found: list[Row] = []
    for check, look in CHECKS.items():
        amiss = [
            Row(check, check.words, State.WRONG, said, remedy=helps) for said, helps in look(facts)
        ]
        found += amiss or [Row(check, check.words, State.READY, _NOTED.get(check, _nothing)(facts))]
    return found
