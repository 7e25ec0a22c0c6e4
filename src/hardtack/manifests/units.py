"""systemd's units that run containers: commands of services, and Podman's quadlets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hardtack.manifests.build import found
from hardtack.manifests.model import FoundImage, Kind
from hardtack.manifests.place import Place
from hardtack.manifests.programs import starts
from hardtack.manifests.shell import pulled

SUFFIXES = (".service", ".container")
_EXECUTES = re.compile(r"Exec\w*\s*=\s*[-@:+!|]*(.*)", re.DOTALL)
_IMAGE = re.compile(r"Image\s*=\s*(.+)")


def images(text: str, file: Path) -> Iterator[FoundImage]:
    for number, line in _settings(text):
        if executes := _EXECUTES.match(line):
            for offset, command, raw, platform in pulled(executes[1]):
                kind = Kind.STARTED if starts(command) else Kind.COMMAND
                yield found(raw, Place(file, number + offset), command, kind,
                            platforms=(platform,) if platform else ())  # fmt: skip
        elif (image := _IMAGE.match(line)) and file.suffix != ".service":
            name = image[1].strip()
            if not re.search(r"\.(?:image|build)$", name):  # another unit, which says it
                yield found(name, Place(file, number), "Image", Kind.CONTAINER)


def _settings(text: str) -> Iterator[tuple[int, str]]:
    """(line, setting) of each, lines that go on joined with their breaks kept."""
    pending, start = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith(("#", ";")):
            continue
        start = start if pending else number
        pending += line + "\n"
        if not line.endswith("\\"):
            yield start, pending.strip()
            pending = ""
