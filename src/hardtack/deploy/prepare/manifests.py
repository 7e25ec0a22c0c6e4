"""The manifests that came with the system image, put where k3s applies them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from hardtack.core.errors import FormatError
from hardtack.core.files import fsync_directory, write_atomically
from hardtack.deploy.facts.k3s import DATA
from hardtack.deploy.prepare.step import Change, Step, Target

TO = DATA / "server/manifests"
NOTES = Path("var/lib/hardtack/manifests.json")
"""Which of the files there are ours: those alone are ever removed."""
_ENDINGS = (".yaml", ".yml", ".json")


def plan(target: Target) -> Iterable[Change]:
    if not target.manifests.is_dir():
        return
    to = target.path(TO)
    wanted = {p.name: p for p in sorted(target.manifests.iterdir()) if p.name.endswith(_ENDINGS)}
    ours = _ours(target)
    new = [n for n, p in wanted.items() if not _same(p, to / n)]
    old = [name for name in ours if name not in wanted and (to / name).exists()]
    if sorted(wanted) != ours:  # noted first: what an interruption leaves is known to be ours
        yield Change(f"note what is ours in {target.path(NOTES)}",
                     lambda: _note(target, sorted({*ours, *wanted})))  # fmt: skip
    for name in new:
        yield Change(f"write {to / name}", lambda name=name: _copy(wanted[name], to / name))  # type: ignore[misc]
    yield from _remove(target, old)
    if sorted({*ours, *wanted}) != sorted(wanted):
        yield Change(f"forget what is gone in {target.path(NOTES)}",
                     lambda: _note(target, sorted(wanted)))  # fmt: skip


def undo(target: Target) -> Iterable[Change]:
    there = [name for name in _ours(target) if (target.path(TO) / name).exists()]
    yield from _remove(target, there)
    if target.path(NOTES).exists():
        yield Change(f"remove {target.path(NOTES)}", target.path(NOTES).unlink)


def _remove(target: Target, names: Iterable[str]) -> Iterable[Change]:
    """k3s keeps what it applied; a file that is gone is only never applied again."""
    for name in names:
        path = target.path(TO) / name
        yield Change(f"remove {path}", path.unlink)


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and other.read_bytes() == one.read_bytes()


def _copy(source: Path, to: Path) -> None:
    """Through a name that k3s doesn't apply: it looks at all that ends in .yaml."""
    to.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(to.with_name(to.name + ".new"), source.read_bytes(), mode=0o600)
    os.rename(to.with_name(to.name + ".new"), to)
    fsync_directory(to.parent)


def _ours(target: Target) -> list[str]:
    path = target.path(NOTES)
    try:
        return sorted(Path(str(name)).name for name in json.loads(path.read_bytes())["files"])
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} is damaged: {error!r}.", remedy="Remove it.") from None


def _note(target: Target, names: list[str]) -> None:
    path = target.path(NOTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"version": 1, "files": names}).encode())


STEP = Step("manifests", "manifests put where k3s applies them", plan, undo)
