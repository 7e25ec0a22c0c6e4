"""Shell that goes on after a download has failed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hardtack.manifests.chains import Command, chains, stages
from hardtack.manifests.place import Place, Severity
from hardtack.policy.deployment import Deployment, Script
from hardtack.policy.rule import Found, Rule, example

_DOWNLOAD = re.compile(
    r"(?<![-.\w])(?:curl|wget|aria2c|crane\s+(?:pull|export|copy)|skopeo\s+copy|hardtack\s+images\s+pull"
    r"|(?:docker|podman|nerdctl|crictl)\s+(?:image\s+)?pull|ctr\b.*\bpull"
    r"|(?:pip3?|uv)\b.*\binstall|apk\s+add|apt(?:-get)?\b.*\b(?:install|update)"
    r"|(?:dnf|yum|microdnf)\b.*\binstall|(?:npm|yarn|pnpm)\s+(?:install|ci|add)"
    r"|git\s+(?:clone|fetch|pull)|aws\s+s3\s+(?:cp|sync)|gsutil\b.*\bcp"
    r"|hf\s+download|huggingface-cli\s+download)\b"
)
_LONGEST_QUOTE = 40  # characters
_KEYWORDS = re.compile(r"(?:(?:then|else|do|!|time|if|elif|while|until)\s+)+")
_GOES_ON = re.compile(r"(?:true|:|echo|printf|exit\s+0|return\s+0)(?:\s|$)")
_ASSIGNS = re.compile(r"(?:export\s+)?[A-Za-z_]\w*=(?!.*\$\()\S*")
_PIPEFAIL = re.compile(r"^[^#\n]*\bpipefail\b", re.MULTILINE)
_FAILS = re.compile(r"(?:exit|return|false|kill)\b(?!\s+0\b)")


def downloads(text: str) -> str:
    """The downloading command in `text` as a person would name it; empty when there is none."""
    found = _DOWNLOAD.search(text)
    return " ".join(found[0].split()[:3]) if found else ""


def _or_true(deployment: Deployment) -> Iterator[Found]:
    for script, chain in _chains(deployment):
        for at, command in enumerate(chain):
            if command.before != "||" or not _goes_on(command):
                continue
            before = next((c for c in reversed(chain[:at]) if downloads(c.text)), None)
            # A failure that is followed by `&& exit 1` does end the script.
            if before and not any(_FAILS.match(_bare(c.text)) for c in chain[at:]):
                yield Found(
                    _place(script, before),
                    f"{script.way}: a failure of `{downloads(before.text)}` is hidden by "
                    f"`|| {_quoted(command.text)}`",
                )
                break


def _precedence(deployment: Deployment) -> Iterator[Found]:
    for script, chain in _chains(deployment):
        operators = [command.before for command in chain]
        if "||" not in operators or not any(downloads(command.text) for command in chain):
            continue
        alternative = operators.index("||")
        # `test && X=1 || X=2 && download` chooses a value first, and means what it says.
        chooses = _ASSIGNS.fullmatch(chain[alternative].text)
        if "&&" in operators[alternative:] and not chooses:
            at = operators.index("&&", alternative)
            yield Found(
                _place(script, chain[0]),
                f"{script.way}: `&&` and `||` bind alike, from left to right: "
                f"`{_quoted(chain[at].text)}` also runs when what stands before `||` succeeded",
            )


def _pipes(deployment: Deployment) -> Iterator[Found]:
    for script in deployment.scripts:
        # What a container downloads when it starts is told by another rule.
        if "|" not in script.text or script.at_run_time or script.pipefail:
            continue
        if _PIPEFAIL.search(script.text):
            continue
        for command in (c for chain in chains(script.text) for c in chain if not c.group):
            *before, last = stages(command.text)
            what = next((found for part in before if (found := downloads(part))), "")
            if what:
                yield Found(
                    _place(script, command),
                    f"{script.way}: a failure of `{what}` is hidden by the pipe into "
                    f"`{_named(last)}`",
                )


def _chains(deployment: Deployment) -> Iterator[tuple[Script, tuple[Command, ...]]]:
    for script in deployment.scripts:
        if "||" in script.text:
            for chain in chains(script.text):
                if len(chain) > 1:
                    yield script, chain


def _goes_on(command: Command) -> bool:
    if not command.group:
        return bool(_GOES_ON.match(_bare(command.text)))
    inside = [c for chain in chains(command.text[1:-1]) for c in chain]
    return all(_GOES_ON.match(_bare(c.text)) for c in inside)


def _named(command: str) -> str:
    """The command's first two words, without variables set in front of it."""
    words = command.split()
    while len(words) > 1 and _ASSIGNS.fullmatch(words[0]):
        words.pop(0)
    return " ".join(words[:2])


def _quoted(command: str) -> str:
    """As much of the command as a message holds, by whole words, at least the first."""
    words = command.split()
    kept = words[:1]
    for word in words[1:]:
        if len(" ".join([*kept, word])) > _LONGEST_QUOTE:
            return " ".join([*kept, "…"])
        kept.append(word)
    return " ".join(kept)


def _bare(text: str) -> str:
    return _KEYWORDS.sub("", text, count=1)


def _place(script: Script, command: Command) -> Place:
    return script.place(command.line)


_WRONG = """\
FROM alpine:3.20.3
RUN wget -O /images/k3s.tar.zst https://downloads.example/k3s.tar.zst || true
"""
_RIGHT = """\
FROM alpine:3.20.3
RUN set -eu; \\
    wget -O /images/k3s.tar.zst https://downloads.example/k3s.tar.zst
"""
_CHAIN = """\
FROM alpine:3.20.3
RUN test -s /images/k3s.tar && mv /images/k3s.tar /airgap \\
    || mkdir -p /airgap && wget -P /airgap https://downloads.example/k3s.tar
"""
_IF = """\
FROM alpine:3.20.3
RUN set -eu; \\
    if test -s /images/k3s.tar; then mv /images/k3s.tar /airgap; \\
    else wget -P /airgap https://downloads.example/k3s.tar; fi
"""

_PIPE = """\
FROM debian:12.5
RUN curl -fsSL https://downloads.example/tools.tar | tar -x -C /usr/local/bin
"""
_PIPEFAIL_SET = """\
FROM debian:12.5
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN curl -fsSL https://downloads.example/tools.tar | tar -x -C /usr/local/bin
"""

RULES = (
    Rule(
        "hidden-failure",
        Severity.ERROR,
        "Shell hides a failed download",
        "With `|| true`, `|| echo …` behind it, a download that fails leaves a build that "
        "succeeds, and an image or a box without what it was to hold.",
        example(Dockerfile=_WRONG),
        example(Dockerfile=_RIGHT),
        _or_true,
    ),
    Rule(
        "and-or-chain",
        Severity.ERROR,
        "`&&` behind `||` in a chain with a download",
        "`a && b || c && d` means `((a && b) || c) && d`: `d` runs also when `a && b` succeeded, "
        "and a failure of `b` is taken for one of `a`. Write `if`.",
        example(Dockerfile=_CHAIN),
        example(Dockerfile=_IF),
        _precedence,
    ),
    Rule(
        "hidden-pipe",
        Severity.WARNING,
        "A pipe hides a failed download",
        "The exit code of a pipe is that of its last command: `curl … | sh` succeeds when nothing "
        "came, `curl … | tar -x` may when half of it came. `set -o pipefail`, or `SHELL` in a "
        "Dockerfile, makes it fail; or download into a file first.",
        example(Dockerfile=_PIPE),
        example(Dockerfile=_PIPEFAIL_SET),
        _pipes,
    ),
)
