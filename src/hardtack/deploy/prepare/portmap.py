"""Host ports of pods that are gone: rules that CNI's portmap left when k3s was killed.

They would send a port's packets to an address that no pod has any more. Nothing is touched while
k3s runs: then they are those of living pods.
"""

from __future__ import annotations

from collections.abc import Iterable

from hardtack.deploy.facts.k3s import running
from hardtack.deploy.prepare import iptables
from hardtack.deploy.prepare.step import Change, Step, Target, command

_CHAINS = ("CNI-HOSTPORT-", "CNI-DN-", "CNI-SN-")


def plan(target: Target) -> Iterable[Change]:
    if target.facts().k3s is None or running(target.root):
        return
    for flavour in iptables.FLAVOURS:
        table = iptables.table(target, flavour, "nat")
        yield from _flush(target, f"iptables-{flavour}", table)


def _flush(target: Target, program: str, table: iptables.Table) -> Iterable[Change]:
    stale = [chain for chain in table.chains if chain.startswith(_CHAINS)]
    jumps = [r for r in table.rules if iptables.target_of(r) in stale and r[1] not in stale]
    for rule in jumps:
        yield command(target, program, "-w", "-t", "nat", "-D", *rule[1:])
    for option in ("-F", "-X"):  # emptied first: one that is jumped to can't be removed
        for chain in stale:
            yield command(target, program, "-w", "-t", "nat", option, chain)


STEP = Step(
    "portmap",
    "stale rules of host ports flushed",
    plan,
    "stays: the rules were those of pods that are gone",
)
