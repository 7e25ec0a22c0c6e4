"""systemd's unit files as the next start finds them, below a root directory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from hardtack.deploy.facts.links import resolved, tidied

PLACES = (
    "etc/systemd/system.control", "run/systemd/generator.early", "etc/systemd/system",
    "etc/systemd/system.attached", "run/systemd/generator", "usr/local/lib/systemd/system",
    "lib/systemd/system", "usr/lib/systemd/system", "run/systemd/generator.late",
)  # fmt: skip
"""The foremost goes first. What generators make is made anew at each start."""
_FLEETING = (
    "run/systemd/system.control", "run/systemd/transient", "run/systemd/system",
    "run/systemd/system.attached",
)  # fmt: skip
"""What lies there goes at the next start."""
_NOTHING = "/dev/null"
_MOST_ALIASES = 8
_UNESCAPED = re.compile(r"[^A-Za-z0-9:_.]")


class UnitFiles:
    """The files below `root`, read once. Raises OSError where it may not look."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, pattern: str) -> list[str]:
        """The units with a file of their own, or a link, whose name fits."""
        return sorted(name for name in self._files if fnmatchcase(name, pattern))

    def id(self, name: str) -> str:
        """What systemd calls the unit; other names of it are links to that one's file."""
        for _ in range(_MOST_ALIASES):
            target = self._alias(name)
            if target is None:
                return name
            name = target
        return name

    def masked(self, name: str) -> bool:
        """Whether systemd won't start the unit: its foremost file is nothing, or empty."""
        file = self._file(name)
        return file is not None and _is_nothing(self._root, file)

    def emptied(self, name: str) -> Path | None:
        """The file of the unit, where it is masked by having nothing in it."""
        file = self._file(name)
        return file if file and not file.is_symlink() and self.masked(name) else None

    def there(self, name: str) -> bool:
        """Whether a file says what the unit is, and it isn't masked."""
        file = self._file(name)
        return file is not None and not self.masked(name) and self._read(file) is not None

    def settings(self, name: str) -> Iterator[tuple[str, str]]:
        """(key, value) of the unit's own file, then of its drop-ins by name, of one name the
        foremost alone."""
        own = self._file(name)
        for file in [*([own] if own else []), *self._drop_ins(name)]:
            for line in (self._read(file) or "").replace("\\\n", " ").splitlines():
                key, equals, value = line.partition("=")
                if equals and not key.startswith(("#", ";")):
                    yield key.strip(), value.strip()

    @cached_property
    def links(self) -> tuple[tuple[str, str, str], ...]:
        """(what starts another, how: `wants` or `requires`, that other)."""
        foremost: dict[tuple[str, str, str], Path] = {}
        for directory in self._directories:
            by, _, how = directory.name.rpartition(".")
            if how in ("wants", "requires"):
                for file in sorted(directory.iterdir()):
                    foremost.setdefault((self.id(by), how, file.name), file)
        return tuple(
            (by, how, self.id(name))
            for (by, how, name), file in foremost.items()
            if file.is_symlink() and not _is_nothing(self._root, file)
        )

    @cached_property
    def fleeting(self) -> dict[str, str]:
        """Unit → what it is until the next start alone: `masked`, or `enabled`."""
        found: dict[str, str] = {}
        for place in (self._root / each for each in _FLEETING):
            found |= {link.name: "enabled" for link in place.glob("*.wants/*")}
            masks = (file for file in place.glob("*.*") if _is_nothing(self._root, file))
            found |= {mask.name: "masked" for mask in masks}
        return found

    def _alias(self, name: str) -> str | None:
        """The unit of another name that the link leads to; None where it is no such link."""
        link = self._files.get(name)
        if link is None or not link.is_symlink():
            return None
        target = Path(os.path.normpath(_below(self._root, link.parent) / link.readlink()))
        other = target.name
        inside = str(target.parent).lstrip("/") in PLACES
        return other if inside and other != name and _kind(other) == _kind(name) else None

    def _file(self, name: str) -> Path | None:
        """The foremost file that says what the unit is; of an instance that of its template too."""
        known = self.id(name)
        file = self._files.get(known)
        if file is None and (template := _template(known)):
            file = self._files.get(self.id(template))
        return file

    def _drop_ins(self, name: str) -> list[Path]:
        found: dict[str, Path] = {}
        for called in (*self._called(self.id(name)), [_kind(name)]):
            wanted = {f"{each}.d": rank for rank, each in enumerate(called)}
            here = [d for d in self._directories if d.name in wanted]
            for directory in sorted(here, key=lambda d: (self._rank(d), wanted[d.name])):
                for file in directory.glob("*.conf"):
                    found.setdefault(file.name, file)
        return [found[each] for each in sorted(found)]

    def _called(self, known: str) -> list[list[str]]:
        """For each name of the unit all names under which drop-ins of it may lie, its own first."""
        others = [name for name in self._aliases if self._aliases[name] == known]
        return [list(_variants(name)) for name in (known, *sorted(others))]

    @cached_property
    def _aliases(self) -> dict[str, str]:
        return {name: known for name in self._files if (known := self.id(name)) != name}

    def _rank(self, directory: Path) -> int:
        return self._places.index(directory.parent)

    def _read(self, file: Path) -> str | None:
        """None where there is nothing to be read."""
        path = resolved(self._root, _below(self._root, file))
        return path.read_text(errors="replace") if path and path.is_file() else None

    @cached_property
    def _places(self) -> list[Path]:
        found = [resolved(self._root, f"/{place}") for place in PLACES]
        return list(dict.fromkeys(path for path in found if path is not None and path.is_dir()))

    @cached_property
    def _entries(self) -> list[Path]:
        return [entry for place in self._places for entry in sorted(place.iterdir())]

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Unit → its foremost file, or link."""
        found: dict[str, Path] = {}
        for entry in self._entries:
            if entry.is_symlink() or entry.is_file():
                found.setdefault(entry.name, entry)
        return found

    @cached_property
    def _directories(self) -> list[Path]:
        """Those of links and of drop-ins, the foremost first."""
        ends = (".wants", ".requires", ".d")
        return [e for e in self._entries if e.name.endswith(ends) and e.is_dir()]


def of_path(path: str) -> str:
    """The unit that mounts `path`, an absolute one: `srv-data.mount`."""
    parts = tidied(path)[1:]
    first = "".join(f"\\x{ord(sign):02x}" for sign in parts[:1] if sign == ".")
    return (first + "".join(map(_escaped, parts[len(first[:1]) :])) or "-") + ".mount"


def _escaped(sign: str) -> str:
    if sign == "/":
        return "-"
    return "".join(f"\\x{b:02x}" for b in sign.encode()) if _UNESCAPED.match(sign) else sign


def _below(root: Path, path: Path) -> Path:
    """`path`, one of ours, as the box knows it."""
    return Path("/", path.relative_to(root))


def _is_nothing(root: Path, file: Path) -> bool:
    """A link to /dev/null, or a file with nothing in it."""
    if file.is_symlink() and str(file.readlink()) == _NOTHING:
        return True
    path = resolved(root, _below(root, file))
    return path is not None and path.is_file() and path.stat().st_size == 0


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


def _template(name: str) -> str:
    """`getty@.service` of `getty@tty1.service`; empty of what is no instance."""
    before, at, rest = name.partition("@")
    return f"{before}@.{_kind(rest)}" if at and not rest.startswith(".") else ""


def _variants(name: str) -> Iterator[str]:
    """The names under which drop-ins of a unit of this name may lie: `foo-bar.service`,
    `foo-.service`; the most particular first."""
    before, at, rest = name.rpartition(".")[0].partition("@")
    kind = _kind(name)
    truncated = False
    while before:
        yield f"{before}{at}{rest}.{kind}"
        if rest:
            yield f"{before}@.{kind}"
        if at and truncated:
            yield f"{before}.{kind}"
        before, dash, _ = before.rstrip("-").rpartition("-")
        before, truncated = before + dash, True
