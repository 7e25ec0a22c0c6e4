"""One way to make a FoundImage from text, and Kubernetes' default pull policy."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hardtack.core.errors import BadReference
from hardtack.manifests.model import FoundImage, Kind, PullPolicy
from hardtack.manifests.place import Place
from hardtack.manifests.reference import DEFAULT_TAG, Reference
from hardtack.manifests.shell import unresolved

# A template's action that isn't one plain text stands in the YAML as OPEN + number + CLOSE.
OPEN, CLOSE = "\ue000", "\ue001"
# `@sha256:` at a line's end, behind which a template puts no digest, would make the line a key.
NO_DIGEST = "@sha256:-"
_HOLE = re.compile(f"{OPEN}([0-9]+){CLOSE}")
_MOST_TEXTS = 200


@dataclass(frozen=True)
class Choice:
    """A hole that may be each of `options`; holes of one `frame` have their n-th together."""

    frame: int
    options: tuple[str, ...]


Hole = Choice | str  # a string says why it can't be told


def expand(text: str, holes: Sequence[Hole]) -> list[tuple[str, str]]:
    """(text, why it can't be told) for each text that `text` with its holes may be."""
    if OPEN not in text:
        return [(text, "")]
    pending, done = [(text, 0)], dict[str, str]()
    while pending and len(done) < _MOST_TEXTS:
        here, depth = pending.pop(0)
        numbers = [int(number) for number in _HOLE.findall(here)]
        found = {n: holes[n] for n in numbers if n < len(holes)}
        choices = {n: hole for n, hole in found.items() if isinstance(hole, Choice)}
        if not choices or depth > 20:
            why = next((hole for hole in found.values() if isinstance(hole, str)), "")
            unclear = OPEN in here
            reason = f"cannot tell: {why or 'it is made by a template'}" if unclear else ""
            done[_HOLE.sub("{{…}}", _unquoted(here))] = reason
            continue
        frames: dict[int, int] = {}
        for hole in choices.values():
            frames[hole.frame] = max(frames.get(hole.frame, 0), len(hole.options))
        ways = itertools.product(*(range(count) for count in frames.values()))
        for way in itertools.islice(ways, _MOST_TEXTS):
            at = dict(zip(frames, way, strict=True))
            pending.append((_chosen(here, choices, at), depth + 1))
    return list(done.items())


def _unquoted(text: str) -> str:
    """Without the quotes that an action put in: YAML would have read them."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _chosen(text: str, choices: dict[int, Choice], at: dict[int, int]) -> str:
    def option(hole: re.Match[str]) -> str:
        choice = choices.get(int(hole[1]))
        if choice is None:
            return hole[0]
        return choice.options[min(at[choice.frame], len(choice.options) - 1)]

    return _HOLE.sub(option, text)


def found(
    raw: str,
    place: Place,
    path: str,
    kind: Kind,
    *,
    policy: PullPolicy | None = None,
    platforms: tuple[str, ...] = (),
    hidden: bool = False,
    unknown: str = "",
) -> FoundImage:
    """The image that `raw` names; `unknown` is why it can't be told, when it can't."""
    reference, malformed = None, False
    reason = unknown
    if not reason and (variable := unresolved(raw)):
        reason = f"cannot tell: {variable} has no value that is written down"
    if not reason and not raw.strip():
        reason = "no image is written here"
    if not reason:
        try:
            reference = Reference.parse(raw)
        except BadReference as error:
            reason, malformed = error.message, True
    return FoundImage(
        raw, reference, place, path, kind, policy, platforms, hidden, reason, malformed
    )


def policy_in_force(written: str, reference: Reference | None, *, unclear: str = "") -> PullPolicy:
    """The pull policy of a container: as written, or what Kubernetes defaults to."""
    if unclear:
        return PullPolicy(None, True, unclear)
    match written:
        case "Always" | "IfNotPresent" | "Never":
            return PullPolicy(written, True, "imagePullPolicy is set")
        case "":
            return _default(reference)
    return PullPolicy(None, True, f"imagePullPolicy is {written!r}, which Kubernetes refuses")


def _default(reference: Reference | None) -> PullPolicy:
    if reference is None:
        return PullPolicy(None, False, "the default depends on the tag, which can't be told")
    if reference.tag == DEFAULT_TAG:
        return PullPolicy("Always", False, "default, because the tag is :latest")
    if reference.tag is None and reference.digest is None:
        return PullPolicy("Always", False, "default, because there is no tag, which means :latest")
    why = f"the tag is :{reference.tag}" if reference.tag else "a digest names the image"
    return PullPolicy("IfNotPresent", False, f"default, because {why}")
