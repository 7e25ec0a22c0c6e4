"""A default route that no cable takes away: k3s refuses to start without one.

An interface of no metal, its address and a route to nowhere behind it, as k3s's documentation of
air-gapped installation has it. Its metric is so high that any other default route is used first.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hardtack.core.errors import BoxError
from hardtack.deploy.facts.networkd import OURS
from hardtack.deploy.prepare.step import Change, Step, Target, command, file, gone

INTERFACE = OURS
ADDRESS = "203.0.113.254"  # of TEST-NET-3: nobody else's, ever
GATEWAY = "203.0.113.255"
METRIC = "1000000000"
NETWORKD = Path("etc/systemd/network/00-hardtack.network")
"""Where systemd-networkd would take our interface for its own."""
_UNMANAGED = f"[Match]\nName={INTERFACE}\n\n[Link]\nUnmanaged=yes\n"


def plan(target: Target) -> Iterable[Change]:
    facts = target.facts()
    if facts.k3s is not None and facts.network.claimed:
        yield from file(target, NETWORKD, _UNMANAGED)
        if target.root == Path("/") and target.path("run/systemd/netif").is_dir():
            yield command(target, "networkctl", "reload")
    if facts.k3s is None or any(route.stays for route in facts.network.defaults):
        return
    yield from interface(target)
    if ADDRESS not in facts.network.addresses.get(INTERFACE, ()):
        yield command(target, "ip", "address", "add", f"{ADDRESS}/31", "dev", INTERFACE)
    yield command(
        target, "ip", "route", "replace", "default", "via", GATEWAY, "dev", INTERFACE,
        "metric", METRIC,
    )  # fmt: skip


def interface(target: Target) -> Iterable[Change]:
    """Our interface, up."""
    if not target.path(f"sys/class/net/{INTERFACE}").exists():
        yield Change(f"make the interface {INTERFACE} (dummy)", lambda: _make(target))
    yield command(target, "ip", "link", "set", INTERFACE, "arp", "off", "up")


def _make(target: Target) -> None:
    """A dummy; where the kernel has none a bridge without ports, which k3s needs anyhow."""
    try:
        target.run("ip", "link", "add", INTERFACE, "type", "dummy")
    except BoxError:
        target.run("ip", "link", "add", INTERFACE, "type", "bridge")


def undo(target: Target) -> Iterable[Change]:
    if target.path(f"sys/class/net/{INTERFACE}").exists():
        yield command(target, "ip", "link", "delete", INTERFACE)
    yield from gone(target, [NETWORKD])


STEP = Step("route", "a default route that needs no cable", plan, undo)
