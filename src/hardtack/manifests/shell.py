"""Images that shell commands pull with crane, docker, ctr, skopeo and their like."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

_PULLERS = re.compile(r"\b(crane|docker|podman|nerdctl|ctr|crictl|skopeo)\b")
_SEPARATORS = re.compile(r"&&|\|\||[;|&()]|\$\(|`")
_ASSIGNMENT = re.compile(
    r"(?:export\s+|local\s+|readonly\s+)?([A-Za-z_]\w*)=(\S*|\"[^\"]*\"|'[^']*')$"
)
_CONDITIONAL = re.compile(r"^(?:then|else|do)\s+")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")
# Options of these commands that take their value as the next word.
_WITH_VALUE = {
    "--platform",
    "-n",
    "--namespace",
    "-a",
    "--address",
    "--user",
    "-u",
    "--format",
    "-H",
    "--host",
    "--override-arch",
    "--override-os",
    "--authfile",
    "--creds",
    "--src-creds",
    "-c",
    "--cache_path",
    "--hosts-dir",
    "--snapshotter",
    "--config",
    "--context",
    "--arch",
    "--os",
}
_VERBS = {
    "crane": ({"pull"},), "docker": ({"pull"}, {"image", "pull"}), "crictl": ({"pull"},),
    "podman": ({"pull"}, {"image", "pull"}), "nerdctl": ({"pull"}, {"image", "pull"}),
    "ctr": ({"images", "pull"}, {"image", "pull"}, {"i", "pull"}), "skopeo": ({"copy"},),
}  # fmt: skip


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """`$NAME`, `${NAME}` and `${NAME:-default}` replaced where they are known; others stay."""

    def value(found: re.Match[str]) -> str:
        known = variables.get(found[1] or found[3])
        if known is None:
            known = found[2]
        return found[0] if known is None else known

    return _VARIABLE.sub(value, text)


def unresolved(text: str) -> str:
    """The first variable that is still in `text`, or the empty string."""
    found = _VARIABLE.search(text)
    return found[0] if found else ""


def pulled(
    text: str, variables: Mapping[str, str] | None = None
) -> Iterator[tuple[int, str, str, str]]:
    """(line from 0, command, image, platform) for each image that `text` pulls.

    Variables that the script assigns once with a plain value are resolved; others stay as they
    are in the image's text.
    """
    known = dict(variables or {})
    changing = set()
    for number, line in _logical_lines(text):
        for offset, part in _commands(line):
            command = part.strip()
            bare = _CONDITIONAL.sub("", command)
            if bare != command and (chosen := _ASSIGNMENT.fullmatch(bare)):
                changing.add(chosen[1])
                known.pop(chosen[1], None)
            elif found := _ASSIGNMENT.fullmatch(command):
                name, value = found[1], substitute(found[2].strip("\"'"), known)
                if known.get(name, value) != value or name in changing:
                    changing.add(name)
                    known.pop(name, None)
                else:
                    known[name] = value
            elif _PULLERS.search(command):
                for puller, image, wanted in _images(_words(command)):
                    platform = substitute(wanted, known)
                    if unresolved(platform):
                        platform = ""
                    yield number + offset, puller, substitute(image, known), platform


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    pending, start = "", 0
    for number, line in enumerate(text.split("\n")):
        if not pending:
            start = number
        if line.lstrip().startswith("#"):
            pending += "\n" if pending else ""
        elif line.rstrip().endswith("\\"):
            pending += line.rstrip()[:-1] + "\n"
        else:
            yield start, pending + line
            pending = ""
    if pending:
        yield start, pending


def _commands(line: str) -> Iterator[tuple[int, str]]:
    """(line within the logical line, command) for each command of a logical line."""
    number = 0
    for part in _SEPARATORS.split(line):
        blank = len(part) - len(part.lstrip())
        yield number + part.count("\n", 0, blank), part
        number += part.count("\n")


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command, comments=True)
    except ValueError:
        return command.split()


def _images(words: list[str]) -> Iterator[tuple[str, str, str]]:
    for at, word in enumerate(words):
        puller = word.rpartition("/")[2]
        if puller not in _VERBS:
            continue
        platform, plain = "", []
        rest = iter(words[at + 1 :])
        for argument in rest:
            if argument.startswith("-"):
                option, equals, value = argument.partition("=")
                if not equals and option in _WITH_VALUE:
                    value = next(rest, "")
                platform = value if option == "--platform" else platform
            else:
                plain.append(argument)
        for verb in _VERBS[puller]:
            if set(plain[: len(verb)]) == verb:
                targets = plain[len(verb) :]
                if puller == "skopeo":
                    targets = [target for target in targets[:1] if target.startswith("docker://")]
                elif puller == "crane":
                    targets = targets[:-1] or targets
                for target in targets if puller in ("crane", "podman") else targets[:1]:
                    yield (
                        f"{puller} {plain[len(verb) - 1]}",
                        target.removeprefix("docker://"),
                        platform,
                    )
        return
