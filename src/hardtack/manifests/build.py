"""One way to make a FoundImage from text, and Kubernetes' default pull policy."""

from __future__ import annotations

from hardtack.core.errors import BadReference
from hardtack.manifests.model import FoundImage, Kind, PullPolicy
from hardtack.manifests.place import Place
from hardtack.manifests.reference import DEFAULT_TAG, Reference
from hardtack.manifests.shell import unresolved


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
