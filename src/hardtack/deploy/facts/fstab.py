"""/etc/fstab: what is mounted at boot."""

from __future__ import annotations

from pathlib import Path

from hardtack.deploy.facts.model import Entry


def read(root: Path) -> tuple[Entry, ...]:
    """The lines of the file below `root`."""
    try:
        lines = (root / "etc/fstab").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    fields = [line.split() for line in lines if not line.lstrip().startswith("#")]
    return tuple(
        Entry(f[0], f[1], f[2], frozenset(f[3].split(",") if len(f) > 3 else ()))
        for f in fields
        if len(f) > 2
    )
