"""The node's address, the same with every cable out: k3s's certificates and the node name it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hardtack.deploy.facts.k3s import CONFIG, DATA
from hardtack.deploy.facts.model import Facts, K3s
from hardtack.deploy.prepare import route
from hardtack.deploy.prepare.step import Change, Step, Target, command, file, gone

FILE = CONFIG / "config.yaml.d/zz-hardtack-address.yaml"
PORTS = CONFIG / "config.yaml.d/zz-hardtack-node-ports.yaml"
_EVERYWHERE = "kube-proxy-arg+:\n  - nodeport-addresses=0.0.0.0/0\n"
NOTE = Path("var/lib/hardtack/node-address")
"""Outlives k3s's configuration, which in a container is new with each release."""


def plan(target: Target) -> Iterable[Change]:
    facts = target.facts()
    if facts.k3s is None:
        return
    given = [a for a in facts.k3s.settings.get("node-ip", "").split(",") if a]
    now = next((a for a in given if "." in a), None)
    wanted = target.node_address or now or _noted(target) or _present(target, facts)
    # The step before gives the interface this address, but only where no default route stays.
    given_by_route = not any(one.stays for one in facts.network.defaults)
    if wanted not in facts.network.staying and not (wanted == route.ADDRESS and given_by_route):
        yield from route.interface(target)
        yield command(target, "ip", "address", "add", f"{wanted}/32", "dev", route.INTERFACE)
    yield from file(target, NOTE, f"{wanted}\n")
    if now != wanted:
        six = [a for a in given if ":" in a]
        yield from file(target, FILE, f"node-ip: {','.join([wanted, *six])}\n")
    if _only_there(facts.k3s):
        yield from file(target, PORTS, _EVERYWHERE)


def _only_there(k3s: K3s) -> bool:
    """Whether kube-proxy would open NodePorts at the node's address alone, where no camera asks:
    with nftables it does, with iptables it opens them at every address of the box."""
    said = k3s.settings.get("kube-proxy-arg", "").replace("--", "")
    return "proxy-mode=nftables" in said and "nodeport-addresses=" not in said


def _noted(target: Target) -> str | None:
    try:
        return target.path(NOTE).read_text().strip() or None
    except FileNotFoundError:
        return None


def _present(target: Target, facts: Facts) -> str:
    """The address that a k3s that ran before took, that of the best default route; else ours."""
    if not target.path(DATA / "server/tls").is_dir():
        return route.ADDRESS
    interfaces = [r.interface for r in facts.network.defaults if not r.stays]
    found = [a for name in interfaces for a in sorted(facts.network.addresses.get(name, ()))]
    return found[0] if found else route.ADDRESS


def undo(target: Target) -> Iterable[Change]:
    yield from gone(target, [FILE, PORTS, NOTE])


STEP = Step(
    "address", "the node's address kept the same, NodePorts open at every address", plan, undo
)
