"""systemd's unit files as they lie below a root directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PLACES = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system",
          "usr/lib/systemd/system", "lib/systemd/system")  # fmt: skip
"""The foremost goes first."""
_MADE = ("run/systemd/generator", "run/systemd/generator.late", "run/systemd/transient")
"""Where units lie that are made anew at each start."""


def settings(root: Path, name: str) -> Iterator[tuple[str, str]]:
    """(key, value) of a unit's own file, the foremost place first, then of its drop-ins by
    name, of one name the foremost alone; of an instance those of its template too."""
    called = [name, *([template] if (template := _template(name)) else [])]
    files = [f for n in called for d in PLACES if (f := root / d / n).is_file()][:1]
    directories = [root / d / f"{n}.d" for d in PLACES for n in called]
    drop_ins = {f.name: f for d in reversed(directories) for f in d.glob("*.conf")}
    for file in [*files, *(drop_ins[each] for each in sorted(drop_ins))]:
        try:
            text = file.read_text(errors="replace").replace("\\\n", " ")
        except OSError:
            continue
        for line in text.splitlines():
            key, equals, value = line.partition("=")
            if equals and not key.startswith(("#", ";")):
                yield key.strip(), value.strip()


def there(root: Path, name: str) -> bool:
    """Whether a file says what the unit is, and it isn't masked."""
    called = [n for n in (name, _template(name)) if n]
    files = (root / place / n for n in called for place in (*PLACES, *_MADE))
    return not masked(root, name) and any(f.is_symlink() or f.is_file() for f in files)


def masked(root: Path, name: str) -> bool:
    link = root / PLACES[0] / name
    return link.is_symlink() and str(link.readlink()) == "/dev/null"


def mounted(root: Path) -> frozenset[str]:
    """The places that units mount."""
    names = {p.name for d in (*PLACES, *_MADE) for p in (root / d).glob("*.mount")}
    return frozenset(place for name in names if (place := where(root, name)))


def where(root: Path, mount: str) -> str:
    """The place of a mount's unit; empty where no file says it."""
    for place in (*PLACES, *_MADE):
        try:
            lines = (root / place / mount).read_text(errors="replace").splitlines()
        except OSError:
            continue
        return next((line[6:].strip() for line in lines if line.startswith("Where=")), "")
    return ""


def links(root: Path) -> Iterator[Path]:
    """The links by which units are started with others: NAME.wants/OTHER, NAME.requires/OTHER."""
    for place in PLACES:
        for how in ("wants", "requires"):
            yield from (root / place).glob(f"*.{how}/*")


def _template(name: str) -> str:
    """`getty@.service` of `getty@tty1.service`; empty of what is no instance."""
    before, at, rest = name.partition("@")
    return f"{before}@.{rest.rpartition('.')[2]}" if at and not rest.startswith(".") else ""
