"""The steps in their order, done, told only, or taken back."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from hardtack.core.errors import BoxError, HardtackError
from hardtack.deploy.facts import unreadable
from hardtack.deploy.prepare import (
    address,
    boot,
    cgroups,
    clock,
    collection,
    disk,
    flavour,
    forward,
    images,
    manifests,
    names,
    node,
    order,
    portmap,
    propagation,
    route,
    space,
)
from hardtack.deploy.prepare.step import Change, Step, Target

STEPS: tuple[Step, ...] = (
    space.STEP,
    clock.STEP,
    cgroups.STEP,
    propagation.STEP,
    portmap.STEP,
    forward.STEP,
    route.STEP,
    address.STEP,
    node.STEP,
    names.STEP,
    collection.STEP,
    order.STEP,
    disk.STEP,
    flavour.STEP,
    images.STEP,
    manifests.STEP,
    boot.STEP,
)
"""Room first, or nothing can be written; then the clock, whose time all bears that is written."""
_ROOM = "Free some space, or inodes: hardtack cache evict, hardtack images prune."
_RIGHTS = "Run as root, on a file system that can be written to."
NAMES = tuple(step.name for step in STEPS)


@dataclass(frozen=True, slots=True)
class Done:
    """What one step did, or would do: nothing where nothing was due. `unseen`: why a dry run can't
    say what the step would do; `remedy`: what helps."""

    step: str
    changes: tuple[str, ...]
    unseen: str = ""
    remedy: str = ""


def chosen(only: Collection[str] = (), without: Collection[str] = ()) -> tuple[Step, ...]:
    """The steps that `only` names (all where it names none), save those of `without`."""
    return tuple(s for s in STEPS if (not only or s.name in only) and s.name not in without)


def prepare(
    target: Target,
    steps: Iterable[Step] = STEPS,
    *,
    dry_run: bool = False,
    tell: Callable[[str, str], None] = lambda _step, _change: None,
) -> list[Done]:
    """Do each step; `tell` hears of each change before it is made. `dry_run` makes none, and goes
    on after a step into which it may not look.

    Raises BoxError, naming the step at which it stopped; those after it weren't begun.
    """
    return [_do(step.name, step.plan, target, dry_run, tell) for step in steps]


def undo(
    target: Target,
    steps: Iterable[Step] = STEPS,
    *,
    dry_run: bool = False,
    tell: Callable[[str, str], None] = lambda _step, _change: None,
) -> list[Done]:
    """Take back what the steps did, the last first. Raises BoxError, as `prepare`."""
    return [
        _do(step.name, step.undo, target, dry_run, tell)
        for step in reversed(tuple(steps))
        if not isinstance(step.undo, str)
    ]


def _do(
    name: str,
    plan: Callable[[Target], Iterable[Change]],
    target: Target,
    dry_run: bool,
    tell: Callable[[str, str], None],
) -> Done:
    told = []
    try:
        for change in list(plan(target)):
            tell(name, change.text)
            told.append(change.text)
            if not dry_run:
                change.do()
    except (HardtackError, OSError) as error:
        why, remedy = _why(error)
        if dry_run:
            return Done(name, tuple(told), why, remedy)
        raise BoxError(f"Stopped at the step {name}: {why}", remedy=remedy) from error
    return Done(name, tuple(told))


def _why(error: HardtackError | OSError) -> tuple[str, str]:
    """What is said of it, and what helps."""
    if isinstance(error, HardtackError):
        return error.message, error.remedy
    message, helps = unreadable.said(error)
    remedies = {
        errno.ENOSPC: _ROOM,
        errno.EROFS: _RIGHTS,
        errno.EACCES: _RIGHTS,
        errno.EPERM: _RIGHTS,
    }
    return message, remedies.get(error.errno or 0, helps)
