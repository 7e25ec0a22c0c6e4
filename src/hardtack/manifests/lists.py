"""Plain lists of images, one on a line, `#` for comments: `k3s-images.txt` and its like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hardtack.manifests.build import found
from hardtack.manifests.model import FoundImage, Kind
from hardtack.manifests.place import Place


def is_list(file: Path) -> bool:
    return "image" in file.name.lower() and file.suffix in (".txt", ".list", "")


def images(text: str, file: Path) -> Iterator[FoundImage]:
    kind = Kind.K3S if "k3s" in file.name.lower() else Kind.LIST
    for number, line in enumerate(text.split("\n"), 1):
        entry = line.partition("#")[0].strip()
        if entry:
            yield found(entry, Place(file, number), file.name, kind)
