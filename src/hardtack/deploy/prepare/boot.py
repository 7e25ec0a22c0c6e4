"""The box is prepared again at each start, before k3s, and notes the time while it runs.

Without systemd (in a container) whatever starts k3s runs `hardtack box prepare` first.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from hardtack.deploy.facts.systemd import PREPARING
from hardtack.deploy.prepare.order import UNITS, reload
from hardtack.deploy.prepare.step import Change, Step, Target, file, gone

CLOCK, TIMER = "hardtack-clock.service", "hardtack-clock.timer"
_LINKS = {PREPARING: "multi-user.target.wants", TIMER: "timers.target.wants"}


def units(command: tuple[str, ...]) -> dict[str, str]:
    """The unit files by name; `command` is what prepares the box."""
    note = (*command[: command.index("box")], "box", "clock")
    return {PREPARING: _PREPARE.format(_words(command)), CLOCK: _CLOCK.format(_words(note)),
            TIMER: _TIMER}  # fmt: skip


def _words(command: tuple[str, ...]) -> str:
    return shlex.join(command).replace("%", "%%")


_PREPARE = """\
[Unit]
Description=hardtack: prepare this box to come up without a network
# Not after network-online.target: there may never be one.
After=local-fs.target
Before=k3s.service k3s-agent.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={}

[Install]
WantedBy=multi-user.target
"""
_CLOCK = """\
[Unit]
Description=hardtack: note the time, for a start without a battery

[Service]
Type=oneshot
ExecStart={}
"""
_TIMER = """\
[Unit]
Description=hardtack: note the time

[Timer]
OnBootSec=10min
OnUnitActiveSec=10min

[Install]
WantedBy=timers.target
"""


def plan(target: Target) -> Iterable[Change]:
    if target.facts().systemd is None:
        return
    changes = [c for n, t in units(target.command).items() for c in file(target, UNITS / n, t)]
    for name, directory in _LINKS.items():
        link = target.path(UNITS / directory / name)
        if not link.is_symlink():
            changes.append(Change(f"enable {name}", lambda link=link: _link(link)))  # type: ignore[misc]
    yield from changes
    yield from reload(target, changes)


def _link(link: Path) -> None:
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)  # a file there starts nothing
    link.symlink_to(f"../{link.name}")


def undo(target: Target) -> Iterable[Change]:
    links = [UNITS / directory / name for name, directory in _LINKS.items()]
    changes = gone(target, [*links, *(UNITS / name for name in (PREPARING, CLOCK, TIMER))])
    yield from changes
    yield from reload(target, changes)


STEP = Step("boot", "prepared again at each start (systemd)", plan, undo)
