"""The generated part of docs/network-requirements.md."""

from __future__ import annotations

from collections.abc import Iterable

from hardtack.deploy.requirements import (
    Direction,
    Requirement,
    Settings,
    When,
    not_at_run_time,
    requirements,
)

_HEADINGS = {
    When.BUILD: "Build time: the machine that builds and pulls",
    When.FIRST_BOOT: "First boot of a box",
    When.RUN: "Run time",
    When.UPGRADE: "Upgrade of a box",
}


def render(settings: Settings) -> str:
    """Tables by time, then who is never asked."""
    found = requirements(settings)
    parts = [_section(when, (r for r in found if when in r.when)) for when in When]
    never = "\n".join(f"- **{who}**: {why}." for who, why in not_at_run_time(settings))
    return "\n".join([*parts, f"### Not at run time\n\n{never}\n"])


def _section(when: When, found: Iterable[Requirement]) -> str:
    rows = "\n".join(_row(requirement) for requirement in found)
    return (
        f"### {_HEADINGS[when]}\n\n| | host | port | purpose | without it |\n"
        f"| --- | --- | --- | --- | --- |\n{rows}\n"
    )


def _row(one: Requirement) -> str:
    host = one.host if " " in one.host else f"`{one.host}`"
    way = "from" if one.direction is Direction.IN else "to"
    purpose = one.purpose + (f" (only if {one.only_if})" if one.only_if else "")
    port = f"{one.port}/{one.transport} {one.protocol}"
    return f"| {way} | {host} | {port} | {purpose} | {one.without} |"
