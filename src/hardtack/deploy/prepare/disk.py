"""k3s awaits the disk with its data, where the start goes on without it (nofail).

Else it may be sooner than the disk, and begins a new cluster in the empty directory below.
"""

from __future__ import annotations

from collections.abc import Iterable

from hardtack.deploy.facts.disks import unawaited
from hardtack.deploy.facts.k3s_start import UNITS as K3S
from hardtack.deploy.prepare.order import UNITS, reload
from hardtack.deploy.prepare.step import Change, Step, Target, file, gone

NAME = "zz-hardtack-disk.conf"


def plan(target: Target) -> Iterable[Change]:
    facts = target.facts()
    places = unawaited(facts)
    names = [u.name for u in facts.systemd.units if u.name in K3S] if facts.systemd else []
    text = "[Unit]\n" + "".join(f"RequiresMountsFor={place}\n" for place in places)
    changes = [c for n in names if places for c in file(target, UNITS / f"{n}.d" / NAME, text)]
    yield from changes
    yield from reload(target, changes)


def undo(target: Target) -> Iterable[Change]:
    changes = gone(target, [UNITS / f"{name}.d" / NAME for name in K3S])
    yield from changes
    yield from reload(target, changes)


STEP = Step("disk", "k3s awaits the disk with its data", plan, undo)
