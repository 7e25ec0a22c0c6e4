"""The node's name, the same with every cable out: pods and volumes are bound to it."""

from __future__ import annotations

from collections.abc import Iterable

from hardtack.deploy.facts.k3s import CONFIG
from hardtack.deploy.prepare.step import Change, Step, Target, file, gone

FILE = CONFIG / "config.yaml.d/zz-hardtack-name.yaml"


def plan(target: Target) -> Iterable[Change]:
    facts = target.facts()
    if facts.k3s is None:
        return
    coming = facts.k3s.settings.get("node-name", "").lower() or facts.network.name
    wanted = facts.k3s.node or coming or target.host_name().lower()
    if wanted != coming:
        yield from file(target, FILE, f"node-name: '{wanted}'\n")  # 1e5 is a name too


def undo(target: Target) -> Iterable[Change]:
    yield from gone(target, [FILE])


STEP = Step("node", "the node's name kept the same", plan, undo)
