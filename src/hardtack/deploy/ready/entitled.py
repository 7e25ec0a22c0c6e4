"""Does the kubelet let pods have an image that is on the box, or ask its registry first? Pure.

From Kubernetes 1.35 on (1.33 behind a gate) it notes with whose credentials it pulled an image, and
pulls again for a pod that has others; what it didn't pull itself is anybody's, unless its
configuration says otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from hardtack.deploy.facts.kubelet import ALLOWED, CREDENTIALS, GATES
from hardtack.deploy.facts.model import K3s
from hardtack.deploy.facts.pulls import Pulls
from hardtack.deploy.ready.amiss import Amiss
from hardtack.deploy.ready.checks import Check
from hardtack.deploy.ready.report import Row, State
from hardtack.manifests.reference import Reference
from hardtack.manifests.yamlpos import Node, text_of

_GATE = "KubeletEnsureSecretPulledImages"
_USUAL, _LISTED = "NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages"
_NEVER = "NeverVerify"


@dataclass(frozen=True)
class Image:
    """One of the lock: its name, all names of it, and the id by which the kubelet knows it (empty:
    it isn't here)."""

    name: str
    names: Collection[str]
    id: str

    @property
    def spellings(self) -> frozenset[str]:
        """Every way in which a pod can write it."""
        names = (self.name, *self.names)
        return frozenset(text for name in names for text in Reference.parse(name).spellings)


def rows(k3s: K3s, pulls: Pulls, images: Iterable[Image], held: Collection[str]) -> Iterator[Row]:
    """A row for each image whose registry the kubelet would ask. `held`: the pull secrets that
    the deployment's pods name."""
    policy = k3s.kubelet.get(CREDENTIALS) or _USUAL
    if _off(k3s.kubelet.get(GATES, "")):
        return
    allowed = k3s.kubelet.get(ALLOWED, "").split(",") if policy == _LISTED else []
    for image in images:
        free = policy == _NEVER or _allows(allowed, Reference.parse(image.name).full_repository)
        damaged = _damaged(pulls, image)  # the kubelet reads its notes first
        if free and damaged is None:
            continue
        amiss = damaged or _noted(pulls, image, held)
        if amiss is None and policy != _USUAL:
            amiss = (
                "the kubelet asks its registry whether a pod may have it "
                f"({CREDENTIALS}: {policy})",
                f"Take {CREDENTIALS} out of the kubelet's configuration.",
            )
        if amiss:
            said, remedy = amiss
            yield Row(Check.IMAGES_CREDENTIALS, image.name, State.WRONG, said, remedy=remedy)


def named(roots: Iterable[Node]) -> frozenset[str]:
    """The pull secrets that pods and accounts of these documents name."""
    found: set[str] = set()
    pending = list(roots)
    while pending:
        node = pending.pop()
        for secret in node.get("imagePullSecrets") or ():
            found.add(text_of(secret.get("name")))
        pending += node
    return frozenset(found - {""})


def _damaged(pulls: Pulls, image: Image) -> Amiss | None:
    file = pulls.damaged(image.id, image.spellings)
    if file is None:
        return None
    return (
        f"the kubelet can't read its note of it ({file}), which a power cut may have cut short: it "
        "pulls again, whatever it is told",
        f"Stop k3s, remove {file}, and start it: then it counts as preloaded.",
    )


def _noted(pulls: Pulls, image: Image, held: Collection[str]) -> Amiss | tuple[()] | None:
    """What the kubelet's notes of the image amount to: what is amiss, or nothing where they let
    pods have it; None where there are none."""
    noted = pulls.of(image.id)
    if noted is None:
        began = pulls.began(image.spellings)
        if began is None:
            return None
        return (
            f"the kubelet began to pull it and never noted the end ({began}): it pulls again",
            f"Stop k3s, remove {began}, and start it: then it counts as preloaded.",
        )
    credentials = noted.get(Reference.parse(image.name).full_repository)
    if credentials and (
        credentials.everybody
        or credentials.accounts
        or any(name in held for _, name in credentials.secrets)
    ):
        return ()
    secrets = [f"{space}/{name}" for space, name in credentials.secrets] if credentials else []
    whose = f"with {', '.join(secrets)}, which no pod names" if secrets else "for nobody it knows"
    file = pulls.file(image.id)
    return (
        f"the kubelet pulled it {whose}: it asks its registry for every pod that has others",
        "Name that secret in imagePullSecrets, or stop k3s, "
        f"remove {file}, and start it: then it counts as preloaded.",
    )


def _off(gates: str) -> bool:
    """Whether the kubelet notes nothing; of several words the last counts."""
    said: Mapping[str, str] = dict(
        gate.partition("=")[::2] for gate in gates.replace(" ", "").split(",")
    )
    return said.get(_GATE, "").lower() == "false"


def _allows(patterns: Iterable[str], repository: str) -> bool:
    """As the kubelet has it: a repository in full, or all below one that ends in `/*`."""
    return any(
        repository == pattern or (pattern.endswith("/*") and repository.startswith(pattern[:-1]))
        for pattern in patterns
    )
