"""Command lines that fetch, or start, images: which of their words are the images.

Most options of these programs take a value, and new ones come with each release; those that stand
alone are few. So the tables hold the latter, from each program's own list of options: any other
option takes the next word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Fetched(NamedTuple):
    """An image that a command fetches or starts: `crane pull`, `a/b:1`, `linux/arm64` or empty."""

    command: str
    image: str
    platform: str


@dataclass(frozen=True)
class _Program:
    """`verbs`: what fetches an image's layers, or starts it, with the options that stand alone
    there; `alone`: those that do anywhere. crane digest, skopeo inspect and their like ask about
    an image only. `go`: options in Go's own way, where `-name` is `--name`, none behind a word.
    `ends`: the options of `run` and `create` end behind the image, with its command."""

    alone: str
    verbs: dict[str, str] = field(default_factory=dict)
    go: bool = False
    ends: bool = True


_RUN = (
    "-d --detach -i --interactive -t --tty -P --publish-all -q --quiet --rm --init --privileged "
    "--read-only --no-healthcheck --oom-kill-disable --sig-proxy --disable-content-trust --rootfs"
)
_PULL = "-a --all-tags -q --quiet --disable-content-trust"
_DOCKER = dict.fromkeys(("pull", "image pull"), _PULL) | dict.fromkeys(
    ("run", "create", "container run", "container create"), f"{_RUN} --use-api-socket"
)
_PODMAN = dict.fromkeys(("pull", "image pull"), f"{_PULL} --tls-verify") | dict.fromkeys(
    ("run", "create", "container run", "container create"),
    f"{_RUN} --tls-verify --env-host --http-proxy --no-hosts --no-hostname --passwd --replace "
    "--rmi --read-only-tmpfs --unsetenv-all",
)
_NERDCTL = dict.fromkeys(("pull", "image pull"), "-q --quiet --all-platforms") | dict.fromkeys(
    ("run", "create", "container run", "container create"), _RUN
)
_CTR_REMOTE = (
    "-k --skip-verify --plain-http --http-dump --http-trace --all-platforms --all-metadata"
)
_CTR_RUN = (
    "--rm --null-io -d --detach --cni --runc-systemd-cgroup --remap-labels --net-host --privileged "
    "--read-only -t --tty --allow-new-privs --seccomp --apparmor-default --rootfs --no-pivot"
)
_CTR = (
    dict.fromkeys(("images pull", "image pull", "i pull"),
                  f"{_CTR_REMOTE} --print-chainid --local --sync-fs --skip-metadata")
    | {"content fetch": f"{_CTR_REMOTE} --metadata-only"}
    | dict.fromkeys(("run", "containers create", "container create", "c create"), _CTR_RUN)
)  # fmt: skip
_CRANE = {"pull": "--annotate-ref", "export": "", "append": "--set-base-image-annotations"}
_CRANE |= dict.fromkeys(("copy", "cp"), "-a --all-tags -n --no-clobber")
_SKOPEO_COPY = "-a --all -q --quiet --remove-signatures --preserve-digests"
_SKOPEO_SIDES = (
    " --src-tls-verify --dest-tls-verify --src-no-creds --dest-no-creds --dest-compress "
    "--dest-decompress --dest-oci-accept-uncompressed-layers --dest-precompute-digests"
)
_SKOPEO = {
    "copy": _SKOPEO_COPY + _SKOPEO_SIDES,
    "sync": f"{_SKOPEO_COPY}{_SKOPEO_SIDES} --dry-run --keep-going --scoped",
}
_BUILDAH_COMMON = "-q --quiet --tls-verify --remove-signatures"
_BUILDAH = {
    "pull": f"-a --all-tags {_BUILDAH_COMMON}",
    "from": f"--http-proxy --pull --pull-always --pull-never {_BUILDAH_COMMON}",
}
_KUBECTL = (
    "-i --stdin -t --tty -q --quiet --rm --attach --expose --privileged --command --wait --force "
    "--leave-stdin-open --save-config --dry-run --insecure-skip-tls-verify --all -A --local "
    "--record --share-processes --replace --warnings-as-errors"
)
_PROGRAMS = {
    "crane": _Program("-v --verbose --insecure --allow-nondistributable-artifacts", _CRANE),
    "docker": _Program("-D --debug --tls --tlsverify", _DOCKER),
    "balena-engine": _Program("-D --debug --tls --tlsverify", _DOCKER),
    "podman": _Program("-r --remote --syslog --transient-store --noout", _PODMAN),
    "nerdctl": _Program(
        "--debug --debug-full --insecure-registry --experimental --kube-hide-dupe", _NERDCTL
    ),
    "ctr": _Program("--debug", _CTR, go=True),
    "crictl": _Program("-D --debug --enable-tracing", {"pull": ""}, go=True),
    "skopeo": _Program("--debug --insecure-policy --tls-verify", _SKOPEO),
    "buildah": _Program("--debug", _BUILDAH),
    "kubectl": _Program(_KUBECTL, ends=False, verbs=dict.fromkeys(
        ("run", "debug", "set image", "create deployment", "create deploy", "create job",
         "create cronjob", "create cj"), "")),
}  # fmt: skip
_STARTS = {"run", "create", "debug", "image", "deployment", "deploy", "job", "cronjob", "cj"}
_NAME = re.compile(r"\b(?:" + "|".join(_PROGRAMS) + r")\b")
# A place that skopeo, podman and buildah take an image from which is no registry.
_ELSEWHERE = re.compile(
    r"(?:dir|oci|oci-archive|docker-archive|docker-daemon|containers-storage|sif|ostree|tarball):"
    r"|(?:oci-archive|ipfs)://"
)
_NUMBER = re.compile(r"-\d")
_VARIABLE = re.compile(r"\$(?:\{[^}]*\}|\w+|@|\*)")


def starts(command: str) -> bool:
    """Whether the command, such as `docker run`, starts the image: it needn't fetch it."""
    return command.rpartition(" ")[2] in _STARTS


def is_named(text: str) -> bool:
    """Whether one of the programs is named anywhere in the text."""
    return _NAME.search(text) is not None


def fetched(words: Sequence[str]) -> Iterator[Fetched]:
    """The images of the first of the programs among the words of a command; what stands before
    it, `sudo`, `env A=b`, `timeout 30`, is of no concern."""
    for at, word in enumerate(words):
        name = word.rpartition("/")[2]
        program = _PROGRAMS.get(name)
        if program is None:
            continue
        line = _parsed(program, words[at + 1 :])
        if line is not None:
            platform = line.options.get("--platform", [""])[-1]
            for image in _images(name, line):
                yield Fetched(f"{name} {line.verb.rpartition(' ')[2]}", image, platform)
            return


@dataclass
class _Line:
    """A command line taken apart: `words` are those behind the verb that are no options."""

    verb: str
    words: list[str]
    options: dict[str, list[str]]


def _parsed(program: _Program, words: Sequence[str]) -> _Line | None:
    """None where the command is none of the program's `verbs`."""
    line = _Line("", [], {})
    alone = set(program.alone.split())
    at = 0
    while at < len(words) and not (line.verb and _ends(program, line)):
        word = words[at]
        at += 1
        if word.startswith("-") and word not in ("-", "--"):
            if program.go and not word.startswith("--") and len(word.partition("=")[0]) > 2:
                word = f"-{word}"
            at = _option(word, words, at, alone, line.options)
        elif word == "--" and line.verb:
            break
        else:
            line.words.append(word)
            if not line.verb and (verb := " ".join(line.words)) in program.verbs:
                line.verb, line.words = verb, []
                alone |= set(program.verbs[verb].split())
    line.words += words[at:]
    return line if line.verb else None


def _ends(program: _Program, line: _Line) -> bool:
    """Whether the options end behind the last word: what follows is the container's own."""
    runs = program.ends and line.verb.endswith(("run", "create"))
    return bool(line.words) and (program.go or runs) and not _VARIABLE.fullmatch(line.words[-1])


def _option(
    word: str, words: Sequence[str], at: int, alone: set[str], options: dict[str, list[str]]
) -> int:
    """Keeps the option, or the cluster of short ones, with its value; says where the next is."""
    name, equals, value = word.partition("=")
    if not word.startswith("--"):
        short = 1
        while short < len(name) - 1 and f"-{name[short]}" in alone:
            options.setdefault(f"-{name[short]}", []).append("")
            short += 1
        name, rest = f"-{name[short]}", word[short + 1 :]
        equals, value = rest, rest.removeprefix("=")
    following = words[at] if at < len(words) else ""
    is_value = following and (not following.startswith("-") or _NUMBER.match(following))
    if not equals and name not in alone and (is_value or following == "-"):
        value = following
        at += 1
    options.setdefault(name, []).append(value)
    return at


def _images(name: str, line: _Line) -> Iterator[str]:
    """Which of a command's words are images that it fetches or starts."""
    words, options = line.words, line.options
    verb = line.verb.rpartition(" ")[2]
    if name == "kubectl":
        if line.verb == "set image":
            yield from (word.partition("=")[2] for word in words if "=" in word)
        yield from options.get("--image", [])
    elif name == "crane":
        yield from _of_crane(verb, words, options)
    elif name == "skopeo":
        is_registry = verb == "copy" or "docker" in (*options.get("-s", ()),
                                                     *options.get("--src", ()))  # fmt: skip
        for word in words[:1] if is_registry else ():
            if verb == "sync" or word.startswith("docker://") or _VARIABLE.match(word):
                yield word.removeprefix("docker://")
    elif verb in ("run", "create"):
        if "--rootfs" not in options:
            yield from (_plain(word) for word in _started(words) if not _ELSEWHERE.match(word))
    else:
        several = name in ("podman", "buildah") and verb == "pull"
        for word in words if several else words[:1]:
            if not _ELSEWHERE.match(word):
                yield _plain(word)


def _of_crane(verb: str, words: list[str], options: dict[str, list[str]]) -> list[str]:
    if verb == "append":
        return [value for name in ("-b", "--base") for value in options.get(name, [])]
    if verb == "pull":
        return words[:-1] or words
    return [word for word in words[:1] if word != "-"]


def _started(words: Sequence[str]) -> Sequence[str]:
    """The image of `run`: the first word, or the one behind variables that hold options."""
    at = 0
    while at < len(words) - 1 and (variable := _VARIABLE.fullmatch(words[at])):
        if not re.search(r"OPT|ARG|FLAG|PARAM|@|\*", variable[0], re.IGNORECASE):
            break
        at += 1
    return words[at : at + 1]


def _plain(word: str) -> str:
    return word.removeprefix("docker://")
