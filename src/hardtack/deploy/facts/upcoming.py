"""What a restart starts that isn't what runs now: a newer kernel, another k3s."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from hardtack.deploy.facts.links import resolved
from hardtack.deploy.facts.model import Upcoming

_K3S = ("usr/local/bin/k3s", "usr/bin/k3s", "bin/k3s")
_RUNNING = re.compile(r".*/data/([0-9a-f]{64})/bin/k3s")
"""Where k3s unpacks what it consists of, and runs from; the name is that of what it carries."""
_CARRIED = b".tar"
_HASH = re.compile(rb"[0-9a-f]{64}")
_LENGTH = 64
_PIECE = 1 << 20
_ASIDE = (".old", ".bak", ".signed", ".dpkg-bak", ".rpmsave")
_FIRST = ("initrd.img-{}", "initramfs-{}.img", "initrd-{}")


def read(root: Path, release: str | None = None) -> Upcoming:
    """`release`: the kernel that runs; by itself this machine's."""
    return Upcoming(tuple(_kernels(root, release or os.uname().release)), _another_k3s(root))


def _kernels(root: Path, running: str) -> Iterator[tuple[str, str]]:
    """(version, what it lacks) of each kernel that is newer than the one that runs, and not whole:
    an installation of it was broken off, or had no room."""
    for image in sorted((root / "boot").glob("vmlinuz-*")):
        version = image.name.partition("-")[2]
        if version.endswith(_ASIDE) or _numbers(version) <= _numbers(running):
            continue
        modules = resolved(root, f"lib/modules/{version}/modules.dep")
        if modules is None:
            yield version, "its modules"
        if _first(root, running) and not _first(root, version):
            yield version, "its initial RAM disk"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def _first(root: Path, version: str) -> bool:
    """Whether the kernel has an initial RAM disk, and not an empty file."""
    files = (root / "boot" / name.format(version) for name in _FIRST)
    return any(file.is_file() and file.stat().st_size for file in files)


def _another_k3s(root: Path) -> bool:
    """Whether the program was replaced while k3s runs; False where that can't be told."""
    running = set(_running(root))
    program = next((path for name in _K3S if (path := resolved(root, name))), None)
    if not running or program is None:
        return False
    stat = program.stat()
    carried = _carried(program, stat.st_size, stat.st_mtime_ns)
    return bool(carried) and not running & carried


def _running(root: Path) -> Iterator[str]:
    """What the k3s that run below `root` were unpacked from."""
    for process in (root / "proc").glob("[0-9]*"):
        try:
            found = _RUNNING.fullmatch(os.readlink(process / "exe"))
        except OSError:
            continue  # it ended, or is somebody else's
        if found:
            yield found[1]


@lru_cache(maxsize=4)
def _carried(program: Path, _size: int, _changed: int) -> frozenset[str]:
    """The names of what the program carries: HASH.tar.zst; kept until the file changes. It is read,
    not mapped: an upgrade that cuts the file off would end us with SIGBUS."""
    found: set[str] = set()
    kept = b""
    with program.open("rb") as file:
        while piece := file.read(_PIECE):
            text = kept + piece
            found.update(_names(text))
            kept = text[-(_LENGTH + len(_CARRIED) - 1) :]
    return frozenset(found)


def _names(text: bytes) -> Iterator[str]:
    at = text.find(_CARRIED)
    while at >= 0:
        name = text[max(0, at - _LENGTH) : at]
        if _HASH.fullmatch(name):
            yield name.decode()
        at = text.find(_CARRIED, at + 1)
