"""What iptables-save says, of both flavours: chains, policies and rules."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from hardtack.core.errors import BoxError
from hardtack.deploy.prepare.step import Target, find

FLAVOURS = ("legacy", "nft")


@dataclass
class Table:
    """One table: its chains with their policies (`-`: a chain of somebody's own), and its rules as
    the words after `iptables -t TABLE`."""

    chains: dict[str, str] = field(default_factory=dict)
    rules: list[list[str]] = field(default_factory=list)


def table(target: Target, flavour: str, name: str) -> Table:
    """The table `name` of a flavour; an empty one where there is none, or no such iptables.

    To ask iptables-legacy for a table makes the kernel load it: it is asked only for those that
    are there. Raises BoxError where a legacy table is there and no program to look into it.
    """
    program = f"iptables-{flavour}-save"
    if flavour == "legacy" and name not in legacy_tables(target.root):
        return Table()
    if find(program) is None:
        if flavour == "legacy":
            raise BoxError(
                f"The kernel has the legacy iptables table {name}, and there is no {program}.",
                remedy="Install it (Debian: iptables).",
            )
        return Table()
    return parse(target.run(program, "-t", name))


def legacy_tables(root: Path) -> list[str]:
    """The tables of iptables-legacy that the kernel has in this network namespace."""
    try:
        return (root / "proc/net/ip_tables_names").read_text().split()
    except OSError:
        return []


def parse(text: str) -> Table:
    """The table in the output of iptables-save for one table. Pure."""
    found = Table()
    for line in text.splitlines():
        if line.startswith(":"):
            chain, policy, *_ = line[1:].split()
            found.chains[chain] = policy
        elif line.startswith("-A "):
            found.rules.append(shlex.split(line))
    return found


def target_of(rule: list[str]) -> str:
    """The chain that a rule jumps to; empty when to none."""
    return next((rule[i + 1] for i, w in enumerate(rule[:-1]) if w in ("-j", "-g")), "")
