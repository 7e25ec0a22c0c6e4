"""The whole examination."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hardtack.core.errors import HardtackError, NotFound
from hardtack.core.units import format_duration
from hardtack.deploy.doctor import machine
from hardtack.deploy.doctor.finding import Finding, note, ok, problem
from hardtack.deploy.doctor.reach import Way, reach
from hardtack.deploy.facts import kernel, read, unreadable, versions
from hardtack.deploy.ready import box
from hardtack.deploy.ready.report import State
from hardtack.deploy.requirements import Requirement
from hardtack.source.open import dialect_of, is_store, open_source
from hardtack.source.options import SourceOptions

_SOON = 3600.0


@dataclass(frozen=True)
class Patient:
    """What is examined. `source`: the weights' and how it is asked (None: nothing is looked for
    there); `requirements`: None where no host is to be tried."""

    root: Path = Path("/")
    directories: tuple[Path, ...] = ()
    socket: Path | None = None
    source: tuple[str, SourceOptions] | None = None
    requirements: Sequence[Requirement] | None = None
    way: Way = field(default_factory=Way)
    build: bool = False


def examine(patient: Patient) -> list[Finding]:
    """Every finding, what is well too. Nothing is changed."""
    looks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("kernel", lambda: _kernel(patient.root)),
        ("versions", lambda: machine.versions(versions.read(patient.socket))),
        ("box", lambda: _box(patient)),
    ]
    if patient.source is not None:
        url, options = patient.source
        if is_store(url):
            looks.append(("credentials", lambda: [credentials(url, options)]))
        else:
            looks.append(("source", lambda: [directory(url, options)]))
    if patient.requirements is not None:
        due = patient.requirements
        looks.append(("reach", lambda: reach(due, patient.way, build=patient.build)))
    return [finding for name, look in looks for finding in _guarded(name, look)]


def _kernel(root: Path) -> Iterable[Finding]:
    found = kernel.read(root)
    yield from machine.kernel(found, root=os.geteuid() == 0)
    yield from machine.kubernetes(found)


def _box(patient: Patient) -> Iterable[Finding]:
    """What `hardtack ready` checks of the box itself, by the same names."""
    for row in box.rows(read.read(patient.root, patient.directories)):
        if row.state is State.READY:
            yield ok(row.check, row.detail or "well")
        else:
            yield problem(row.check, row.detail, row.remedy)


def credentials(url: str, options: SourceOptions) -> Finding:
    """Whether requests to the source, a bucket, can be signed."""
    name = "credentials"
    if options.unsigned:
        return ok(name, "requests are unsigned, as asked")
    try:
        found = dialect_of(url, options).signer()
    except HardtackError as error:
        return problem(name, error.message, error.remedy)
    if found.expires is None:
        return ok(name, found.who)
    left = found.expires - time.time()
    if left < _SOON:
        return note(name, f"{found.who}, good for {format_duration(left)}",
                    "They must be renewed by then; a mount goes on with what it has.")  # fmt: skip
    return ok(name, f"{found.who}, good for {format_duration(left)}")


def directory(url: str, options: SourceOptions) -> Finding:
    """Whether the source, a directory of this machine, can be listed, and holds anything."""
    name = "source"
    source = open_source(url, options)
    place = unquote(urlsplit(url).path)
    try:
        if not next(iter(source.pages()), ()):
            helps = "Publish weights there; if it is a disk's, see whether it is mounted."
            return note(name, f"there is no file in {place}", helps)
        os.listdir(place)
    except NotFound as error:
        return problem(name, error.message, "Correct it, or mount the disk that has it.")
    except OSError as error:
        return problem(name, f"{place} can't be listed: {error.strerror}", "Let this user read it.")
    finally:
        source.close()
    return ok(name, f"{place} can be listed")


def _guarded(name: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """The findings of `look`; an error is one too."""
    try:
        return list(look())
    except HardtackError as error:
        return [problem(name, error.message, error.remedy or "Mend it, then look again.")]
    except OSError as error:
        return [problem(name, *unreadable.said(error))]
