"""cgroup v2 in a container: the kubelet can't make `kubepods` while processes sit in the root.

A cgroup that isn't the machine's own root may have processes or controllers for its children, never
both. So what runs in ours moves into a leaf, and the controllers are passed on.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

from hardtack.core.errors import BoxError
from hardtack.deploy.prepare.step import Change, Step, Target

TREE = Path("sys/fs/cgroup")
LEAF = "init"
_ROUNDS = 20


def plan(target: Target) -> Iterable[Change]:
    top = target.path(TREE)
    if not (top / "cgroup.controllers").is_file():
        return  # cgroup v1, or none: nothing of this holds there
    offered = (top / "cgroup.controllers").read_text().split()
    passed = (top / "cgroup.subtree_control").read_text().split()
    missing = [name for name in offered if name not in passed]
    if not missing:
        return
    ours = (top / "cgroup.type").exists()  # the machine's root has no type, and no such rule
    if ours and _processes(top):
        yield Change(f"move the processes of {top} into {top / LEAF}", lambda: _move(top))
    yield Change(
        f"pass on {' '.join(missing)} in {top / 'cgroup.subtree_control'}",
        lambda: _pass_on(top, missing),
    )


def _processes(top: Path) -> list[str]:
    return (top / "cgroup.procs").read_text().split()


def _move(top: Path) -> None:
    """Until none is left: processes start others while we look."""
    leaf = top / LEAF
    leaf.mkdir(exist_ok=True)
    for _ in range(_ROUNDS):
        there = _processes(top)
        if not there:
            return
        for process in there:
            try:
                _write(leaf / "cgroup.procs", process)
            except OSError as error:
                if error.errno != errno.ESRCH:  # it ended
                    raise
    raise BoxError(
        f"{top} still has processes after {_ROUNDS} rounds: {' '.join(_processes(top)[:8])}.",
        remedy="Start fewer things beside k3s in this container.",
    )


def _pass_on(top: Path, names: list[str]) -> None:
    """One by one, so that an error names the controller."""
    for name in names:
        try:
            _write(top / "cgroup.subtree_control", f"+{name}")
        except OSError as error:
            raise BoxError(
                f"The cgroup controller {name} can't be passed on: {error.strerror}.",
                remedy="The container must be privileged, with a cgroup namespace of its own.",
            ) from error


def _write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)


STEP = Step(
    "cgroups",
    "cgroup v2's controllers passed on to the kubelet",
    plan,
    "stays until a restart: the kubelet runs in it",
)
