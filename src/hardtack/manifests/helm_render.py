"""Images of a chart as `helm template` renders it, at the lines of the templates they came from."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hardtack.core.errors import ManifestError
from hardtack.manifests import embedded, podspecs
from hardtack.manifests.files import LARGEST_FILE
from hardtack.manifests.model import FoundImage
from hardtack.manifests.place import Place, Problem
from hardtack.manifests.yamlpos import parse

TIMEOUT = 60.0  # seconds for one chart
_SOURCE = re.compile(r"# Source: (.+)")
_KIND = re.compile(r"^kind:[ \t]*[\"']?(\w+)", re.MULTILINE)
_SPLIT = re.compile(r"^---.*$", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """One rendered document: the template it came from, below the chart's directory, and YAML."""

    template: str
    text: str


def program(environment: Mapping[str, str]) -> str | None:
    """Helm: what HELM names, or `helm` on the PATH."""
    found = shutil.which(environment.get("HELM") or "helm", path=environment.get("PATH"))
    return found and os.path.abspath(found)


def render(
    helm: str, chart: Path, *, release: str = "release", options: Sequence[str] = (),
    values: Mapping[str, Any] | None = None, timeout: float = TIMEOUT,
) -> list[Section]:  # fmt: skip
    """The chart's documents; `options` are more of `helm template`'s, paths in them absolute;
    `values` are set over the chart's.

    Raises ManifestError where Helm refuses it.
    """
    command = [helm, "template", release, str(chart.resolve()), *options]
    with tempfile.TemporaryDirectory(prefix="hardtack-helm-") as home:
        out, err = Path(home, "out"), Path(home, "err")
        if values:
            Path(home, "values.json").write_text(json.dumps(values))
            command += ["--values", str(Path(home, "values.json"))]
        try:
            with out.open("wb") as stdout, err.open("wb") as stderr:
                done = subprocess.run(
                    command, env=_environment(home), stdin=subprocess.DEVNULL, stdout=stdout,
                    stderr=stderr, timeout=timeout, check=False, cwd=home,
                )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ManifestError(
                f"helm template of {chart} took longer than {timeout:g} s.",
                remedy="Scan the chart raw: --helm raw.",
            ) from error
        except OSError as error:
            raise ManifestError(
                f"{helm} can't be run: {error.strerror}.",
                remedy="Set HELM to Helm's program, or scan the chart raw: --helm raw.",
            ) from error
        if done.returncode:
            said = err.read_text(errors="replace")[:4000]
            said = " ".join(said[max(said.find("Error"), 0) :].split())
            raise ManifestError(
                f"helm template refuses {chart}: {said[:500]}",
                remedy="Mend the chart or its values; a scan can read it raw: --helm raw.",
            )
        if out.stat().st_size > LARGEST_FILE:
            raise ManifestError(
                f"helm template of {chart} writes more than {LARGEST_FILE:,} bytes.",
                remedy="Scan the chart raw: --helm raw.",
            )
        return list(sections(out.read_text(errors="replace")))


def _environment(home: str) -> dict[str, str]:
    """An environment in which Helm has no repositories, plugins, cluster or network."""
    nowhere = dict.fromkeys(
        ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
    )
    homes = {
        name: str(Path(home, name))
        for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "HELM_PLUGINS")
    }
    return {"PATH": os.defpath, "HOME": home, "KUBECONFIG": os.devnull, **nowhere, **homes}


def sections(rendered: str) -> Iterator[Section]:
    """The documents of `helm template`'s output."""
    template = ""
    for piece in _SPLIT.split(rendered):
        text = piece.lstrip("\n")
        first, _, rest = text.partition("\n")
        if source := _SOURCE.fullmatch(first.strip()):
            template, text = source[1].partition("/")[2], rest
        if template and text.strip():
            yield Section(template, text)


def images(
    section: Section, file: Path, template: str, raw: Sequence[FoundImage]
) -> tuple[list[FoundImage], list[Problem]]:
    """What the section names, at lines of its template `file` with the text `template`.

    `raw` is what a raw scan found in that file, and in those that a template may take in.
    """
    documents, problems = parse(section.text, file)
    begins = _begins(section.text, template)
    lines = section.text.split("\n")
    found: list[FoundImage] = []
    for outer in documents:
        for document in (outer, *embedded.documents(outer, lines, problems)):
            for image in podspecs.images(document):
                found.append(
                    _standing(image, template, raw) or replace(image, place=Place(file, begins))
                )
    return found, [replace(p, place=replace(p.place, line=begins, column=1)) for p in problems]


def _standing(image: FoundImage, template: str, raw: Sequence[FoundImage]) -> FoundImage | None:
    """The image where the chart's files name it, if exactly that can be told."""
    same = [one for one in raw if one.reference is not None and one.reference == image.reference]
    here = image.place.file
    same.sort(key=lambda one: (one.place.file != here, one.path != image.path, one.place.line))
    if same:
        return replace(image, place=same[0].place, via=same[0].via)
    for number, line in enumerate(template.split("\n"), 1):
        at = line.find(image.raw)
        if image.raw and at >= 0 and not line.lstrip().startswith("#"):
            return replace(image, place=Place(image.place.file, number, at + 1))
    unknown = [one for one in raw if one.reference is None and _alike(one, image)]
    if len({one.place for one in unknown}) == 1:
        return replace(image, place=unknown[0].place, via=unknown[0].via)
    return None


def _alike(one: FoundImage, other: FoundImage) -> bool:
    """Whether both are, say, the second container of a Deployment."""
    kinds = [re.sub(r"/\S*", "", image.path) for image in (one, other)]
    return one.hidden == other.hidden and kinds[0] == kinds[1]


def _begins(section: str, template: str) -> int:
    """The line where the template's document of the section's kind begins."""
    kind = _KIND.search(section)
    starts = [0] + [mark.end() + 1 for mark in _SPLIT.finditer(template)]
    ends = [*starts[1:], len(template)]
    for start, end in zip(starts, ends, strict=True):
        named = _KIND.search(template, start, end)
        if kind and named and named[1] == kind[1]:
            return template.count("\n", 0, start) + 1
    return 1
