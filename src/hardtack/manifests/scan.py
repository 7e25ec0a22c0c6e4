"""Every image that files and directories name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from hardtack.core.errors import ManifestError
from hardtack.manifests import compose, dockerfile, embedded, kustomize, lists, podspecs, shell
from hardtack.manifests.build import found
from hardtack.manifests.helm import Chart, chart_of
from hardtack.manifests.model import FoundImage, Kind, Place, Problem, Scan, Severity
from hardtack.manifests.yamlpos import Document, parse

LARGEST_FILE = 50 * 1024 * 1024  # bytes
_YAML = (".yaml", ".yml", ".json")
_SCRIPTS = (".sh", ".bash")
_DOCKERFILE = re.compile(r"(?:.*\.)?(?:Dockerfile|Containerfile)(?:\..*)?", re.IGNORECASE)
_LEFT_OUT = {".git", ".idea", ".venv", ".vscode", "node_modules", "__pycache__"}


def scan(paths: Iterable[Path], *, helm: Literal["rendered", "raw", "auto"] = "raw") -> Scan:
    """What `paths` (files, or directories walked in order) name.

    Helm templates are read raw, with values resolved. Raises ManifestError when a path doesn't
    exist, or a rendered scan is asked for.
    """
    if helm == "rendered":
        raise ManifestError(
            "Rendered scans of Helm charts are not part of this version.",
            remedy="Run `helm template` and scan its output, or scan the chart raw.",
        )
    work = _Scan()
    for file, named in _files(paths):
        work.read(file, named)
    images = [kustomize.applied(image, work.overrides) for image in work.images]
    unique = {(i.place, i.reference, i.raw, i.path): i for i in images}
    return Scan(tuple(unique.values()), tuple(work.problems), tuple(work.documents))


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """(file, whether it was named itself), each file once."""
    seen: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise ManifestError(f"There is no {path}.", remedy="Give files or directories to scan.")
        for file in [path] if path.is_file() else _walk(path):
            if file not in seen:
                seen.add(file)
                yield file, file == path


def _walk(top: Path) -> Iterator[Path]:
    for where, directories, names in os.walk(top):
        directories[:] = sorted(name for name in directories if name not in _LEFT_OUT)
        for name in sorted(names):
            file = Path(where, name)
            if file.is_file():
                yield file


@dataclass
class _Scan:
    images: list[FoundImage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    overrides: list[kustomize.Override] = field(default_factory=list)
    charts: dict[Path, Chart | None] = field(default_factory=dict)

    def read(self, file: Path, named: bool) -> None:
        name = file.name
        yaml = file.suffix in _YAML or name in kustomize.FILES
        script = file.suffix in _SCRIPTS
        if not (named or yaml or script or _DOCKERFILE.fullmatch(name) or lists.is_list(file)):
            return
        text = self._text(file)
        if text is None:
            return
        if _DOCKERFILE.fullmatch(name):
            self.images += dockerfile.images(text, file)
        elif lists.is_list(file):
            self.images += lists.images(text, file)
        elif script or text.startswith("#!"):
            for line, command, raw, platform in shell.pulled(text):
                place = Place(file, line + 1)
                platforms = (platform,) if platform else ()
                self.images.append(found(raw, place, command, Kind.COMMAND, platforms=platforms))
        elif yaml:
            self._yaml(text, file)
        else:
            self._note(file, "left out: no kind of deployment file is known by this name")

    def _text(self, file: Path) -> str | None:
        try:
            size = file.stat().st_size
            if size > LARGEST_FILE:
                self._note(file, f"left out: {size:,} bytes, more than {LARGEST_FILE:,}",
                           Severity.WARNING)  # fmt: skip
                return None
            data = file.read_bytes()
        except OSError as error:
            self._note(file, f"it can't be read: {error.strerror}", Severity.ERROR)
            return None
        if b"\0" in data[:8192]:
            self._note(file, "left out: it's a binary file")
            return None
        try:
            return data.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            self._note(file, f"left out: not UTF-8 (byte {error.start})", Severity.WARNING)
            return None

    def _note(self, file: Path, message: str, severity: Severity = Severity.NOTE) -> None:
        self.problems.append(Problem(Place(file, 1), message, severity))

    def _yaml(self, text: str, file: Path) -> None:
        chart = chart_of(file, self.charts)
        reasons: tuple[str, ...] = ()
        template = chart is not None and "{{" in text
        if chart and template:
            text, reasons = chart.flattened(text)
        if chart and file.parent == chart.directory and file.name.startswith("values"):
            return
        documents, problems = parse(text, file)
        if template:
            # Both branches of a condition stand in the text: what is twice there is not an error.
            problems = [
                replace(p, message=f"part of this template can't be read raw: {p.message}",
                        severity=Severity.WARNING)
                for p in problems if p.severity is Severity.ERROR
            ]  # fmt: skip
        self.problems += problems
        source = text.split("\n")
        for outer in documents:
            document = replace(outer, template=template)
            if file.name in kustomize.FILES:
                self.overrides += kustomize.overrides(document)
                self.documents.append(document)
                continue
            for each in (document, *embedded.documents(document, source)):
                self.documents.append(each)
                if compose.is_compose(each):
                    self.images += compose.images(each, _environment(file))
                else:
                    self.images += podspecs.images(each, reasons)


def _environment(file: Path) -> dict[str, str]:
    """The variables of the `.env` beside a compose file."""
    beside = file.parent / ".env"
    try:
        lines = beside.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
