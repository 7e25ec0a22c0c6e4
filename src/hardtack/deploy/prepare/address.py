"""The node's address, the same with every cable out: k3s's certificates and the node name it."""

from __future__ import annotations

from collections.abc import Iterable

from hardtack.deploy.facts.k3s import CONFIG, DATA
from hardtack.deploy.facts.model import Facts
from hardtack.deploy.prepare import route
from hardtack.deploy.prepare.step import Change, Step, Target, command, file, gone

FILE = CONFIG / "config.yaml.d/zz-hardtack-address.yaml"


def plan(target: Target) -> Iterable[Change]:
    facts = target.facts()
    if facts.k3s is None:
        return
    given = [a for a in facts.k3s.settings.get("node-ip", "").split(",") if a]
    now = next((a for a in given if "." in a), None)
    wanted = target.node_address or now or _present(target, facts) or route.ADDRESS
    if wanted not in facts.network.staying and wanted != route.ADDRESS:
        yield from route.interface(target)
        yield command(target, "ip", "address", "add", f"{wanted}/32", "dev", route.INTERFACE)
    if now != wanted:
        six = [a for a in given if ":" in a]
        yield from file(target, FILE, f"node-ip: {','.join([wanted, *six])}\n")


def _present(target: Target, facts: Facts) -> str | None:
    """The address that a k3s that ran before took: that of the best default route."""
    if not target.path(DATA / "server/tls").is_dir():
        return None
    interfaces = [r.interface for r in facts.network.defaults if not r.stays]
    found = [a for name in interfaces for a in sorted(facts.network.addresses.get(name, ()))]
    return found[0] if found else None


def undo(target: Target) -> Iterable[Change]:
    yield from gone(target, [FILE])


STEP = Step("address", "the node's address kept the same", plan, undo)
