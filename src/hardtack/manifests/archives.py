"""Packed charts, unpacked for a scan, and how their files are named."""

from __future__ import annotations

import itertools
import shutil
import tarfile
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO

from hardtack.manifests.files import LARGEST_FILE
from hardtack.manifests.place import Place, Problem
from hardtack.manifests.yamlpos import Mapping, Node

MOST_FILES = 10_000
_FIRST = 20  # members of an archive, among which a chart's `name/Chart.yaml` is


def is_subchart(file: Path) -> bool:
    """Whether Helm takes the archive for a part of the chart that it lies in."""
    return file.suffix == ".tgz" and (file.parent.parent / "Chart.yaml").is_file() and (
        file.parent.name == "charts")  # fmt: skip


def is_chart(file: Path) -> bool:
    """Whether the file is a chart as `helm package` packs it. Reads no further than it must."""
    if not file.name.endswith((".tgz", ".tar.gz")):
        return False
    size = 0
    try:
        with tarfile.open(file, "r:gz") as tar:
            for member in itertools.islice(tar, _FIRST):
                if PurePosixPath(member.name).match("*/Chart.yaml") and member.isfile():
                    return True
                size += member.size
                if size > LARGEST_FILE:
                    return False
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        return False
    return False


@dataclass
class Unpacked:
    """What packed charts hold, below the directory `scratch`. For people its files are named as
    paths below their archive."""

    scratch: Path
    archives: dict[Path, Path] = field(default_factory=dict)  # by the directory each lies in

    def charts(self, archive: Path, problems: list[Problem]) -> list[Path]:
        """The directories of the charts in an archive, which is unpacked."""
        try:
            content = archive.open("rb")
        except OSError as error:
            problems.append(_unreadable(archive, error))
            return []
        with content:
            return self.content(content, archive, problems)

    def content(self, content: IO[bytes], file: Path, problems: list[Problem]) -> list[Path]:
        """The same for an archive that stands in `file`."""
        into = self.scratch / str(len(self.archives))
        into.mkdir()
        self.archives[into] = file
        return _unpack(content, file, into, problems)

    def name(self, file: Path) -> Path:
        for directory, archive in self.archives.items():
            if file.is_relative_to(directory):
                return self.name(archive) / file.relative_to(directory)
        return file

    def place(self, place: Place) -> Place:
        return replace(place, file=self.name(place.file))

    def name_nodes(self, node: Node) -> None:
        """Names the files that the nodes of a tree came out of."""
        if node.file:
            node.file = self.name(node.file)
        for key, _ in node.items() if isinstance(node, Mapping) else ():
            self.name_nodes(key)
        for child in node:
            self.name_nodes(child)


def _unpack(content: IO[bytes], file: Path, into: Path, problems: list[Problem]) -> list[Path]:
    """The charts' directories that the archive holds, unpacked below `into`: files only, none
    outside it, 20 MB in all. What is wrong with it is added to `problems`."""
    size = 0
    try:
        with tarfile.open(fileobj=content, mode="r:gz") as tar:
            for number, member in enumerate(tar):
                size += member.size
                if size > LARGEST_FILE or number > MOST_FILES:
                    raise tarfile.TarError(
                        f"it holds more than {LARGEST_FILE:,} bytes or {MOST_FILES:,} files"
                    )
                if member.isfile():
                    _write(tar, member, into)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        problems.append(_unreadable(file, error))
    return sorted(found for found in into.iterdir() if (found / "Chart.yaml").is_file())


def _unreadable(file: Path, error: Exception) -> Problem:
    what = f"left out: this packed chart can't be read: {error}"
    return Problem(Place(file, 1), " ".join(what.split()))


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    """Not `extract`, whose filters Python 3.11 has from 3.11.4 only."""
    file = (into / member.name.lstrip("/")).resolve()
    if not file.is_relative_to(into.resolve()):
        raise tarfile.TarError(f"{member.name!r} leads out of it")
    content = tar.extractfile(member)
    assert content is not None
    file.parent.mkdir(parents=True, exist_ok=True)
    with content, file.open("wb") as target:
        shutil.copyfileobj(content, target)
