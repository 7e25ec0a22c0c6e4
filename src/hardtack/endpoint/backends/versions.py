"""Which version of a detector's model is served next. The choice itself knows no disk."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardtack.core.errors import ModelError
from hardtack.inference import ondisk
from hardtack.inference.arrived import present
from hardtack.inference.package import Package


@dataclass(frozen=True)
class Version:
    """A whole version of a detector's model, with its out-of-distribution model where it has one.

    `weights`: bytes of it on the box, and in all.
    """

    primary: Package
    oodd: Package | None = None
    weights: tuple[int, int] = (0, 0)

    @property
    def label(self) -> str:
        """What people call it: `3`, or `3-oodd2`."""
        beside = f"-oodd{self.oodd.version}" if self.oodd else ""
        return self.primary.version + beside

    @property
    def identity(self) -> str:
        """The label with what the version says: one published anew under its old number differs."""
        text = self.primary.text + (self.oodd.text if self.oodd else "")
        return f"{self.label}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def packages(self) -> tuple[Package, ...]:
        return (self.primary, self.oodd) if self.oodd else (self.primary,)

    @property
    def arrived(self) -> bool:
        return self.weights[0] >= self.weights[1]

    @property
    def size(self) -> int:
        return sum(part.size for part in self.packages)


@dataclass(frozen=True)
class Seen:
    """What a look at a detector's directory found: whole versions, highest first, every number
    that is there, whole or not, and why there is none."""

    whole: tuple[Version, ...] = ()
    numbers: frozenset[int] = frozenset()
    problem: str = ""


def look(directory: Path) -> Seen:
    """What is in a detector's directory now; sizes are checked, not hashes. Blocks on the mount."""
    primary, oodd = directory / "primary", directory / "oodd"
    try:
        numbers = ondisk.versions(primary)
        found, reasons = _whole(primary, numbers)
        beside: list[Package | None] = [None]
        if oodd.is_dir():
            seconds, more = _whole(oodd, ondisk.versions(oodd))
            beside, reasons = [*seconds], reasons + more
    except ModelError as error:
        return Seen(problem=error.message)
    except OSError as error:
        return Seen(problem=f"{directory} can't be read: {error.strerror}.")
    whole = [
        Version(one, other, present(one, *([other] if other else [])))
        for one in found
        for other in beside
    ]
    problem = "" if whole else f"{directory} has no whole version. {' '.join(reasons)}".rstrip()
    return Seen(tuple(whole), frozenset(numbers), problem)


def _whole(directory: Path, numbers: Sequence[int]) -> tuple[list[Package], list[str]]:
    """The whole packages among these versions, and why the others aren't."""
    found, reasons = [], []
    for number in numbers:
        try:
            found.append(ondisk.open_package(directory / str(number), hashes=False))
        except ModelError as error:
            reasons.append(error.message)
    return found, reasons


def first(seen: Seen, last: str, refused: Collection[str]) -> Version | None:
    """What a detector that has no server begins with.

    The version that served last; else the highest that is on the box as a whole, so that a box
    with no network doesn't wait for one that it can't fetch; else the highest. Of refused versions
    only where there are no others.
    """
    wanted = [v for v in seen.whole if v.identity not in refused] or list(seen.whole)
    here = [v for v in wanted if v.arrived]
    known = [v for v in here if v.identity == last]
    return next(iter(known + here + wanted), None)


def following(seen: Seen, serving: str, refused: Collection[str]) -> Version | None:
    """The version that is to take over from the one of this identity; None while that is the best.

    Only where the serving one was taken away does a lower one follow: a version that is being
    published anew isn't whole for a while.
    """
    best = next((v for v in seen.whole if v.identity not in refused), None)
    if best is None or best.identity == serving:
        return None
    if int(best.primary.version) < number_of(serving) and number_of(serving) in seen.numbers:
        return None
    return best


def number_of(identity: str) -> int:
    number = identity.partition("-")[0]
    return int(number) if number.isdecimal() else -1


def refused_now(seen: Seen, refused: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    """Those refused versions that are still there: label and reason."""
    labels = {v.identity: v.label for v in seen.whole}
    return [(labels[i], reason) for i, reason in refused.items() if i in labels]
