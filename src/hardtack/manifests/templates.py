"""A chart's templates, read raw: their documents, and the images that their actions put in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hardtack.manifests import marks
from hardtack.manifests.build import found
from hardtack.manifests.embedded import NAMES_AN_IMAGE
from hardtack.manifests.flatten import Flat, Part
from hardtack.manifests.grafts import joined
from hardtack.manifests.helm import Chart
from hardtack.manifests.holes import expand
from hardtack.manifests.model import FoundImage, Kind, PullPolicy
from hardtack.manifests.pieces import Inserted, Untold
from hardtack.manifests.place import Place, Problem, Severity
from hardtack.manifests.podspecs import fragment
from hardtack.manifests.resources import CONTAINERS
from hardtack.manifests.template import Node
from hardtack.manifests.yamlpos import Document, parse

_IMAGE = re.compile(r"\s*(?:- )?image:\s*[\"']?([^\s\"'#{]+)[\"']?\s*(?:#.*)?")


@dataclass(frozen=True)
class Template:
    """A template with one set of its chart's values: `documents` are those of `flat`, `every` has
    all branches of its conditions."""

    file: Path
    chart: Chart
    flat: Flat
    documents: list[Document]
    problems: list[Problem]
    every: Flat

    def images(self, of_documents: Sequence[FoundImage]) -> list[FoundImage]:
        """All that the template names: those `of_documents`, and what its actions put in."""
        parts = _inserted(self.flat.parts, self.file, self.chart)
        images = _merged(of_documents, list(parts), self.flat.parts, self.file)
        is_whole = self.flat is self.every and not self.problems
        return images if is_whole else [*images, *_unread(self.every, self.file, images)]

    def taken_in(self) -> Iterator[Path]:
        """The chart's files that its ConfigMaps and Secrets may hold."""
        if any(document.kind in ("ConfigMap", "Secret") for document in self.documents):
            for pattern in self.flat.files:
                yield from _below(self.chart.directory, pattern)


def read(nodes: list[Node], file: Path, chart: Chart) -> Iterator[Template]:
    """The template in `file`, once for each set of the chart's values."""
    for number, every in enumerate(chart.flattened(nodes, file)):
        flat = every
        documents, problems = _parsed(flat, file)
        if problems:  # other branches may not fit beside those that the values choose
            chosen = chart.flattened(nodes, file, only_chosen=True)[number]
            fitting, wrong = _parsed(chosen, file)
            if not wrong:
                flat, documents, problems = chosen, fitting, wrong
        yield Template(file, chart, flat, documents, problems, every)


def _parsed(flat: Flat, file: Path) -> tuple[list[Document], list[Problem]]:
    """The template's documents, with what its actions put in, unless that doesn't fit there; and
    why a part of it can't be read. Both branches of a condition stand in the text: what is twice
    there is no error."""
    whole, told = flat.text, marks.without_untold(flat.text)
    for text in dict.fromkeys((whole, told, marks.without_grafts(told))):
        documents, problems = parse(text, file)
        errors = [problem for problem in problems if problem.severity is Severity.ERROR]
        if not errors:
            break
    return [
        replace(document, root=joined(document.root, flat.grafts), template=True)
        for document in documents
    ], [
        replace(error, message=f"part of this template can't be read raw: {error.message}",
                severity=Severity.WARNING) for error in errors
    ]  # fmt: skip


def _inserted(parts: Sequence[Part], file: Path, chart: Chart) -> Iterator[FoundImage]:
    """Images in text that actions of the template `file` put in: at the lines of the named
    templates that write them, else at the actions' own."""
    for part in parts:
        piece = part.piece
        here = Place(file, piece.action.line)
        path = f"{{{{ {piece.action.body.partition('|')[0].strip()[:60]} }}}}"
        kind = CONTAINERS.get(part.below, Kind.CONTAINER)
        if isinstance(piece, Untold):
            reason = f"cannot tell: {piece.why}"
            yield FoundImage(path, None, here, path, kind, reason=reason)
            continue
        documents, problems = parse(piece.text, file)
        wrong = next((p for p in problems if p.severity is Severity.ERROR), None)
        if wrong and NAMES_AN_IMAGE.search(piece.text):
            reason = f"cannot tell: in what it puts in, line {wrong.place.line} is {wrong.message}"
            yield FoundImage(path, None, here, path, kind, reason=reason)
        for document in documents:
            named = replace(document, path=path, template=True)
            for image in fragment(named, part.below):
                yield _standing(image, piece, here, chart)


def _merged(
    images: Sequence[FoundImage],
    parts: Sequence[FoundImage],
    by: Sequence[Part],
    file: Path,
) -> list[FoundImage]:
    """The images of a template with the `parts` of them that its actions put in `by`: each once, at
    the place and by the way of the part, with the policy that the container has as a whole."""
    rest = list(parts)
    found: list[FoundImage] = []
    for image in images:
        part = next((p for p in rest if p.place == image.place and p.raw == image.raw), None)
        if part is None:
            found.append(replace(image, via=_via(image.place, by, file)))
            continue
        rest.remove(part)
        kind = part.kind if image.kind is Kind.CRD else image.kind
        found.append(replace(image, kind=kind, path=part.path, via=part.via))
    return found + rest


def _unread(flat: Flat, file: Path, images: Sequence[FoundImage]) -> Iterator[FoundImage]:
    """Images of the lines that `images` has none of, in a template that can't be read as a whole
    with all its conditions' branches."""
    known = {image.place.line for image in images if image.place.file == file}
    why = "this part of the template can't be read raw"
    for number, line in enumerate(flat.text.split("\n"), 1):
        written = _IMAGE.match(line) if number not in known else None
        for raw, unknown in expand(written[1], flat.holes) if written else ():
            if not marks.lacks_digest(raw):
                image = found(raw, Place(file, number), file.name, Kind.CONTAINER, unknown=unknown)
                yield replace(image, policy=PullPolicy(None, True, why))


def _via(place: Place, by: Sequence[Part], file: Path) -> Place | None:
    """Where the template takes in what stands in another file."""
    pieces = [part.piece for part in by if isinstance(part.piece, Inserted)]
    for piece in pieces if place.file != file else ():
        if piece.origins.has(place.file, place.line):
            return Place(file, piece.action.line)
    return None


def _standing(image: FoundImage, piece: Inserted, here: Place, chart: Chart) -> FoundImage:
    """An image of inserted text, whose place is one in that text, at its place on disk."""
    origin = piece.origins.of(image.place.line - 1, image.place.column)
    if origin is None or (origin.file, origin.line) == (here.file, here.line):
        return replace(image, place=here)
    file = here.file
    shown = file.relative_to(chart.directory) if file.is_relative_to(chart.directory) else file
    return replace(image, place=origin, via=here, path=f"{shown}:{here.line} › {image.path}")


def _below(directory: Path, pattern: str) -> list[Path]:
    """The chart's files of `.Files.Get` and `.Files.Glob`, none outside it."""
    if pattern.startswith("/") or ".." in pattern.split("/") or not pattern:
        return []
    try:
        return [file for file in sorted(directory.glob(pattern)) if file.is_file()]
    except ValueError:  # a pattern that Python's glob doesn't know
        return []
