"""Images that shell commands pull with crane, docker, ctr, skopeo and their like."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

_PULLERS = re.compile(r"\b(crane|docker|podman|nerdctl|ctr|crictl|skopeo)\b")
_SEPARATORS = re.compile(r"&&|\|\||[;|&()]|\$\(|`")
_ASSIGNMENT = re.compile(
    r"(?:export\s+|local\s+|readonly\s+)?([A-Za-z_]\w*)=(\S*|\"[^\"]*\"|'[^']*')$"
)
_CONDITIONAL = re.compile(r"^(?:then|else|do)\s+")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")
# Options that take their value as the next word: of all these commands, and of some of them.
_WITH_VALUE = {
    "--platform", "--namespace", "--address", "--user", "--format", "--host", "-H", "--authfile",
    "--creds", "--src-creds", "--dest-creds", "--cache_path", "--hosts-dir", "--snapshotter",
    "--config", "--context", "--arch", "--os", "--override-arch", "--override-os",
    "--override-variant",
}  # fmt: skip
_OWN_WITH_VALUE = {
    "crane": {"-c", "-j", "--jobs", "-b", "--base", "-f", "--new_layer", "-t", "--new_tag",
              "-o", "--output"},
    "skopeo": {"-f", "-s", "--src", "-d", "--dest", "--retry-times", "--policy", "--registries.d"},
    "ctr": {"-a", "-n", "-u"}, "nerdctl": {"-a", "-n"}, "crictl": {"-r", "--auth"},
    "docker": {"-c"}, "podman": {"-c", "--connection"},
}  # fmt: skip
# What fetches an image's layers; crane digest, skopeo inspect and their like ask about it only.
_PULLS = (("pull",), ("image", "pull"))
_VERBS = {
    "crane": (("pull",), ("export",), ("copy",), ("cp",), ("append",)),
    "docker": _PULLS, "podman": _PULLS, "nerdctl": _PULLS, "crictl": (("pull",),),
    "ctr": (("images", "pull"), ("image", "pull"), ("i", "pull"), ("content", "fetch")),
    "skopeo": (("copy",), ("sync",)),
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
    """(command, image, platform) of the first of these commands among the words."""
    for at, word in enumerate(words):
        puller = word.rpartition("/")[2]
        if puller not in _VERBS:
            continue
        plain, options = _sorted_out(words[at + 1 :], _WITH_VALUE | _OWN_WITH_VALUE[puller])
        for verb in _VERBS[puller]:
            if tuple(plain[: len(verb)]) == verb:
                for image in _fetched(puller, verb[-1], plain[len(verb) :], options):
                    yield f"{puller} {verb[-1]}", image, options.get("--platform", "")
        return


def _sorted_out(words: list[str], with_value: AbstractSet[str]) -> tuple[list[str], dict[str, str]]:
    """(words that are no options, options with their values)."""
    plain: list[str] = []
    options: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word.startswith("-") and word != "-":
            option, equals, value = word.partition("=")
            options[option] = next(rest, "") if not equals and option in with_value else value
        else:
            plain.append(word)
    return plain, options


def _fetched(puller: str, verb: str, words: list[str], options: Mapping[str, str]) -> list[str]:
    """Which of a command's words are images that it fetches."""
    match puller, verb:
        case "crane", "pull":
            return words[:-1] or words
        case "crane", "export":
            return [image for image in words[:1] if image != "-"]
        case "crane", "append":
            return [value for name in ("-b", "--base") if (value := options.get(name))]
        case "skopeo", "copy":
            prefix = "docker://"
            return [w.removeprefix(prefix) for w in words[:1] if w.startswith(prefix)]
        case "skopeo", "sync":
            is_registry = "docker" in (options.get("-s"), options.get("--src"))
            return words[:1] if is_registry else []
        case "podman", _:
            return words
    return words[:1]
