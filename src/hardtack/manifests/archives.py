"""Packed subcharts, `charts/*.tgz`, unpacked for a scan, and how their files are named."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from hardtack.manifests.files import LARGEST_FILE
from hardtack.manifests.place import Place, Problem
from hardtack.manifests.yamlpos import Mapping, Node

MOST_FILES = 10_000


def is_packed_chart(file: Path) -> bool:
    return file.suffix == ".tgz" and (file.parent.parent / "Chart.yaml").is_file() and (
        file.parent.name == "charts")  # fmt: skip


@dataclass
class Unpacked:
    """What packed charts hold, below the directory `scratch`. For people its files are named as
    paths below their archive."""

    scratch: Path
    archives: dict[Path, Path] = field(default_factory=dict)  # by the directory each lies in

    def charts(self, archive: Path, problems: list[Problem]) -> list[Path]:
        """The directories of the charts in an archive, which is unpacked."""
        into = self.scratch / str(len(self.archives))
        into.mkdir()
        self.archives[into] = archive
        return _unpack(archive, into, problems)

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


def _unpack(archive: Path, into: Path, problems: list[Problem]) -> list[Path]:
    """The charts' directories that the archive holds, unpacked below `into`: files only, none
    outside it, 20 MB in all. What is wrong with it is added to `problems`."""
    size = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for number, member in enumerate(tar):
                size += member.size
                if size > LARGEST_FILE or number > MOST_FILES:
                    raise tarfile.TarError(
                        f"it holds more than {LARGEST_FILE:,} bytes or {MOST_FILES:,} files"
                    )
                if member.isfile():
                    _write(tar, member, into)
    except (tarfile.TarError, OSError, EOFError) as error:
        what = f"left out: this packed chart can't be read: {error}"
        problems.append(Problem(Place(archive, 1), " ".join(what.split())))
    return sorted(found for found in into.iterdir() if (found / "Chart.yaml").is_file())


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
