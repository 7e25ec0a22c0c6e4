"""The steps in their order, done, told only, or taken back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from hardtack.core.errors import BoxError, HardtackError
from hardtack.deploy.prepare import (
    address,
    boot,
    cgroups,
    clock,
    collection,
    flavour,
    forward,
    images,
    manifests,
    names,
    order,
    portmap,
    propagation,
    route,
    space,
)
from hardtack.deploy.prepare.step import Change, Step, Target

STEPS: tuple[Step, ...] = (
    clock.STEP,
    space.STEP,
    cgroups.STEP,
    propagation.STEP,
    portmap.STEP,
    forward.STEP,
    route.STEP,
    address.STEP,
    names.STEP,
    collection.STEP,
    order.STEP,
    flavour.STEP,
    images.STEP,
    manifests.STEP,
    boot.STEP,
)
"""The clock first: all that is written after bears its time."""
NAMES = tuple(step.name for step in STEPS)
UNDOABLE = tuple(step.name for step in STEPS if step.undo is not None)


@dataclass(frozen=True, slots=True)
class Done:
    """What one step did, or would do: nothing where nothing was due."""

    step: str
    changes: tuple[str, ...]


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
    """Do each step; `tell` hears of each change before it is made. `dry_run` makes none.

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
        if step.undo is not None
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
    except HardtackError as error:
        raise BoxError(
            f"Stopped at the step {name}: {error.message}", remedy=error.remedy
        ) from error
    except OSError as error:
        raise BoxError(
            f"Stopped at the step {name}: {error.filename or ''} {error.strerror}.".replace(
                "  ", " "
            ),
            remedy="Run as root, on a file system that can be written to.",
        ) from error
    return Done(name, tuple(told))
