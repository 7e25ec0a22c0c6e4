"""Images of a Dockerfile: `FROM` with its ARGs and stages, `COPY --from`, and pulls in `RUN`."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hardtack.manifests.build import found
from hardtack.manifests.model import FoundImage, Kind
from hardtack.manifests.place import Place
from hardtack.manifests.programs import starts
from hardtack.manifests.shell import pulled, substitute

_NAME = re.compile(r"(?:.*\.)?(?:Dockerfile|Containerfile)(?:\..*)?", re.IGNORECASE)
_HEREDOC = re.compile(r"<<-?([\"']?)(\w+)\1")
_ESCAPE = re.compile(r"#\s*escape\s*=\s*(\S)\s*$", re.IGNORECASE)
_SYNTAX = re.compile(r"#\s*syntax\s*=\s*(\S+)", re.IGNORECASE)
_PAIR = re.compile(r"(\w+)=(\"[^\"]*\"|'[^']*'|\S*)")
_FROM_OPTION = re.compile(r"--from=(\S+)|\bfrom=([^\s,]+)")


def is_dockerfile(file: Path) -> bool:
    """By its name: `Dockerfile`, `Dockerfile.gpu`, `edge.Containerfile`."""
    return _NAME.fullmatch(file.name) is not None


def instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """(line from 0, instruction in capitals, the rest with its line structure kept)."""
    lines = text.split("\n")
    first = _ESCAPE.match(lines[0])
    escape = first[1] if first else "\\"
    at = 0
    while at < len(lines):
        start = at
        body: list[str] = []
        while at < len(lines):
            line = lines[at].rstrip("\r")
            at += 1
            if line.lstrip().startswith("#"):
                if not body:
                    body.append("")
                    break
                body.append("\\")  # a comment ends no instruction
                continue
            continued = line.rstrip().endswith(escape)
            body.append(line.rstrip()[:-1] + "\\" if continued else line)
            if not continued and (line.strip() or len(body) == 1):
                break
        for _, word in _HEREDOC.findall("\n".join(body)) if body else ():
            while at < len(lines):
                body.append(lines[at])
                at += 1
                if body[-1].strip() == word:
                    break
        whole = "\n".join(body).lstrip()
        name, *rest = re.split(r"[ \t]", whole, maxsplit=1)
        if name.strip():
            yield start, name.upper(), "".join(rest)


def images(text: str, file: Path) -> Iterator[FoundImage]:
    for number, comment in enumerate(text.split("\n")):
        if not comment.startswith("#"):
            break
        if frontend := _SYNTAX.match(comment):
            yield _image(frontend[1], Place(file, number + 1), "syntax", Kind.DOCKERFILE, "")
    build = _Build(file)
    for line, name, rest in map(_triggered, instructions(text)):
        yield from build.images(line, name, rest)


@dataclass
class _Build:
    """What the instructions so far have set: variables before the first stage and in this one, and
    those of every stage by its number and name."""

    file: Path
    outer: dict[str, str] = field(default_factory=dict)
    inner: dict[str, str] = field(default_factory=dict)
    stages: dict[str, dict[str, str]] = field(default_factory=dict)
    stage: int = -1
    platform: str = ""

    def images(self, line: int, name: str, rest: str) -> Iterator[FoundImage]:
        """Those that the instruction names, which is carried out."""
        flat = rest.replace("\\\n", " ")
        place = Place(self.file, line + 1)
        if name in ("ARG", "ENV"):
            self._set(name, flat)
        elif name == "FROM":
            yield from self._from(flat, place)
        elif name == "COPY" or (name == "RUN" and "--mount" in flat):
            yield from self._copied(name, flat, place)
        if name in ("RUN", "CMD", "ENTRYPOINT"):
            for offset, command, raw, wanted in pulled(_shell(rest), self.inner):
                at = Place(self.file, line + 1 + offset)
                kind = Kind.STARTED if starts(command) else Kind.COMMAND
                yield _image(raw, at, f"stage {self.stage} › {name} › {command}", kind, wanted)

    def _set(self, name: str, flat: str) -> None:
        known = self.outer if self.stage < 0 else self.inner
        key, _, value = flat.strip().partition(" ")
        if name == "ENV" and value and "=" not in key:  # as it was written once
            known[key] = substitute(value.strip(), known)
            return
        if name == "ARG" and "=" not in flat and flat.strip() in self.outer:
            known[flat.strip()] = self.outer[flat.strip()]
        known.update(_pairs(flat, known))

    def _from(self, flat: str, place: Place) -> Iterator[FoundImage]:
        self.stage += 1
        words = substitute(flat, self.outer).split()
        self.platform = next((w[11:] for w in words if w.startswith("--platform=")), "")
        words = [word.strip("\"'") for word in words if not word.startswith("--")]
        named = words[0].lower() if words else "scratch"
        if named != "scratch" and (named.isdigit() or named not in self.stages):
            way = f"stage {self.stage} › FROM"
            yield _image(words[0], place, way, Kind.DOCKERFILE, self.platform)
        self.inner = dict(self.stages.get(named, {}))
        self.stages[str(self.stage)] = self.inner
        if len(words) >= 3 and words[1].lower() == "as":
            self.stages[words[2].lower()] = self.inner

    def _copied(self, name: str, flat: str, place: Place) -> Iterator[FoundImage]:
        for copied in _FROM_OPTION.finditer(flat):
            image = substitute(copied[1] or copied[2], self.outer | self.inner)
            if not image.isdigit() and image.lower() not in self.stages:
                way = f"stage {self.stage} › {name}"
                yield _image(image, place, way, Kind.DOCKERFILE, self.platform)


def _triggered(instruction: tuple[int, str, str]) -> tuple[int, str, str]:
    """What ONBUILD has a later build do, in its place."""
    line, name, rest = instruction
    if name == "ONBUILD":
        name, _, rest = rest.lstrip().partition(" ")
    return line, name.upper(), rest


def _shell(rest: str) -> str:
    """The exec form (`["sh", "-c", "..."]`) as shell; the shell form as it is."""
    if not rest.lstrip().startswith("["):
        return rest
    try:
        words = json.loads(rest.replace("\\\n", " "))
    except ValueError:
        return rest
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return rest
    if len(words) > 2 and words[0].rpartition("/")[2] in ("sh", "bash", "ash") and (
        re.fullmatch(r"-\w*c", words[-2])):  # fmt: skip
        return str(words[-1]).replace("\n", "; ")
    return shlex.join(words)


def _image(raw: str, place: Place, path: str, kind: Kind, platform: str) -> FoundImage:
    platforms = (platform,) if platform and "$" not in platform else ()
    return found(raw, place, path, kind, platforms=platforms)


def _pairs(text: str, known: dict[str, str]) -> dict[str, str]:
    return {key: substitute(value.strip("\"'"), known) for key, value in _PAIR.findall(text)}
