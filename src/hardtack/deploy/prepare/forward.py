"""Pods' packets pass the legacy FORWARD chain of a container engine that drops the unknown.

k3s writes its own rules with nft; both flavours judge each packet, and balena-engine's policy in
the legacy one is DROP.
"""

from __future__ import annotations

from collections.abc import Iterable

from hardtack.deploy.prepare import iptables
from hardtack.deploy.prepare.step import Change, Step, Target, command

CHAIN = "EDGE-FORWARD"
_PODS, _SERVICES = "10.42.0.0/16", "10.43.0.0/16"
_PROGRAM = ("iptables-legacy", "-w")


def plan(target: Target) -> Iterable[Change]:
    k3s = target.facts().k3s
    table = iptables.table(target, "legacy", "filter")
    top = "DOCKER-USER" if "DOCKER-USER" in table.chains else "FORWARD"
    if k3s is None or (top == "FORWARD" and table.chains.get(top, "ACCEPT") == "ACCEPT"):
        return
    if CHAIN not in table.chains:
        yield command(target, *_PROGRAM, "-N", CHAIN)
    networks = [
        k3s.settings.get("cluster-cidr", _PODS),
        k3s.settings.get("service-cidr", _SERVICES),
    ]
    wanted = [
        [CHAIN, option, network, "-j", "ACCEPT"]
        for given in networks
        for network in given.split(",")
        if ":" not in network
        for option in ("-s", "-d")
    ]
    there = [rule[1:] for rule in table.rules]
    for rule in wanted:
        if rule not in there:
            yield command(target, *_PROGRAM, "-A", *rule)
    if [top, "-j", CHAIN] not in there:
        yield command(target, *_PROGRAM, "-I", top, "-j", CHAIN)


def undo(target: Target) -> Iterable[Change]:
    table = iptables.table(target, "legacy", "filter")
    if CHAIN not in table.chains:
        return
    for rule in table.rules:
        if iptables.target_of(rule) == CHAIN:
            yield command(target, *_PROGRAM, "-D", *rule[1:])
    yield command(target, *_PROGRAM, "-F", CHAIN)
    yield command(target, *_PROGRAM, "-X", CHAIN)


STEP = Step("forward", "pods' packets pass the legacy FORWARD chain", plan, undo)
