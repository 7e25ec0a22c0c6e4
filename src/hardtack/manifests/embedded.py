"""YAML inside strings of ConfigMaps and Secrets, to any depth, with the lines it has on disk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from hardtack.manifests.grafts import joined
from hardtack.manifests.marks import ANY_GRAFT_ENTRY
from hardtack.manifests.place import Problem, Severity
from hardtack.manifests.resources import decoded, resources
from hardtack.manifests.yamlpos import Document, Mapping, Node, Scalar, parse, text_of

DEEPEST = 8
_WORTH_READING = re.compile(f'image|kind:|"kind"|containers|services:|<<: |{ANY_GRAFT_ENTRY}')
NAMES_AN_IMAGE = re.compile(r"^[ \t-]*[\"']?image[\"']?[ \t]*:[ \t]*\S", re.MULTILINE)


def documents(
    outer: Document,
    source: Sequence[str],
    problems: list[Problem],
    grafts: tuple[Node, ...] = (),
    depth: int = 0,
) -> Iterator[Document]:
    """The documents inside `outer`'s strings, innermost too; `source` are the file's lines, marks
    in it stand for `grafts`.

    A string that isn't YAML is nothing to report, most of them are not meant to be, unless it
    looks as if it named an image: then what is wrong with it is added to `problems`.
    """
    if depth > DEEPEST:
        return
    for way, root in resources(outer):
        for step, value, text in _worth_reading(root):
            path = f"{way} › {step}"
            is_plain = text == value.text  # not base64, which has one line
            lines = _lines(value, text, source) if is_plain else _flat(value)
            inner, wrong = parse(text, outer.file, lines=lines)
            if NAMES_AN_IMAGE.search(text):
                problems += _noted(wrong, path)
            for document in inner:
                if not isinstance(document.root, Scalar):
                    grown = joined(document.root, grafts)
                    named = replace(document, root=grown, hidden=True, path=path,
                                    template=outer.template)  # fmt: skip
                    yield named
                    yield from documents(named, source, problems, grafts, depth + 1)


def _worth_reading(root: Mapping) -> Iterator[tuple[str, Scalar, str]]:
    """(way, string, what it says, base64 read) of those that may be YAML with images in it."""
    kind = text_of(root.get("kind"))
    if kind not in ("ConfigMap", "Secret"):
        return
    for field in ("data", "stringData", "binaryData"):
        is_encoded = field == "binaryData" or (kind == "Secret" and field == "data")
        values = root.get(field)
        for key, value in values.items() if isinstance(values, Mapping) else ():
            if isinstance(value, Scalar):
                text = decoded(value.text) if is_encoded else value.text
                if _WORTH_READING.search(text):
                    yield f"{field}.{key.text}", value, text


def _noted(problems: list[Problem], where: str) -> list[Problem]:
    return [
        replace(problem, severity=Severity.NOTE, message=f"in {where}: {problem.message}")
        for problem in problems
        if problem.severity is Severity.ERROR
    ]


def _flat(node: Scalar) -> Callable[[int], int]:
    return lambda _: node.line


def _lines(node: Scalar, text: str, source: Sequence[str]) -> Callable[[int], int]:
    """Where the lines of a string stand. Literal blocks are exact; for folded and quoted strings
    each line is looked for among the source lines of the node, in order."""
    wanted = text.split("\n")
    end = min(node.end_line, len(source))
    if node.style == "|" and end - node.line >= len([line for line in wanted if line]):
        return lambda n: node.line + 1 + n
    places: list[int] = []
    at = node.line
    for line in wanted:
        piece = line.strip()[:60]
        match = next((n for n in range(at, end + 1) if piece and piece in source[n - 1]), at)
        places.append(match)
        at = match
    return lambda n: places[min(n, len(places) - 1)]
