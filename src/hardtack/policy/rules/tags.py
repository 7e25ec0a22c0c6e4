"""Names that mean another image tomorrow, and one image in several versions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from hardtack.manifests.model import FoundImage, Kind
from hardtack.manifests.place import Severity
from hardtack.policy.deployment import Deployment
from hardtack.policy.rule import Found, Rule, example

_BARE_MAJOR = re.compile(r"v?\d{1,2}")


def _floating(deployment: Deployment) -> Iterator[Found]:
    for image in _run(deployment):
        own = deployment.config.owner(image.reference)
        if own and own.floating_tags:
            continue
        if why := _floats(image):
            yield Found(image.place, f"{image.raw} is not one fixed image: {why}")


def _floats(image: FoundImage) -> str:
    """Why the image's name may mean another image tomorrow; empty when it may not."""
    reference = image.reference
    if reference is None or reference.digest:
        return ""
    tag = reference.tag
    if tag is None:
        return "it has no tag, which means :latest"
    if not any(char.isdigit() for char in tag):
        return f"the tag :{tag} moves"
    if _BARE_MAJOR.fullmatch(tag):
        return f"the tag :{tag} moves with every release of version {tag}"
    return ""


def _versions(deployment: Deployment) -> Iterator[Found]:
    places: dict[str, dict[str, list[FoundImage]]] = {}
    for image in _run(deployment):
        if image.reference is not None:
            version = image.reference.digest or image.reference.tag or "latest"
            name = image.reference.full_repository
            places.setdefault(name, {}).setdefault(version, []).append(image)
    for versions in places.values():
        if len(versions) < 2:
            continue
        # What most places name is the norm; among equals the first.
        counts = Counter({version: len(images) for version, images in versions.items()})
        norm = counts.most_common(1)[0][0]
        there = versions[norm][0]
        for version, images in versions.items():
            for image in images if version != norm else ():
                yield Found(
                    image.place,
                    f"{image.raw} is {there.raw} elsewhere ({there.place}): "
                    "two versions to pull, keep and update",
                )


def _run(deployment: Deployment) -> Iterator[FoundImage]:
    """The images that a box needs, base images of builds left out."""
    return (image for image in deployment.scan.images if image.kind is not Kind.DOCKERFILE)


def _pod(*images: str) -> str:
    containers = "".join(
        f"    - name: {name}\n      image: {image}\n      imagePullPolicy: IfNotPresent\n"
        for name, image in zip(("copy", "serve"), images, strict=False)
    )
    return f"""\
apiVersion: v1
kind: Pod
metadata:
  name: camera
spec:
  containers:
{containers}"""


RULES = (
    Rule(
        "floating-tag",
        Severity.ERROR,
        "An image's tag moves",
        "A tag like `:latest` or `:stable`, or none, means whatever was pushed last. Two boxes "
        "installed a week apart run different software, and what was preloaded is not what a "
        "manifest means. Name a version, or a digest.",
        example(pod_yaml=_pod("busybox:stable")),
        example(pod_yaml=_pod("busybox:1.36.1")),
        _floating,
    ),
    Rule(
        "one-version",
        Severity.WARNING,
        "One image in several versions",
        "Each version is pulled, stored and updated by itself, and one of them is easily forgotten "
        "in a preload list. The version that most places name is taken as the one that is meant.",
        example(pod_yaml=_pod("busybox:1.36.1", "busybox:1.35.0")),
        example(pod_yaml=_pod("busybox:1.36.1", "busybox:1.36.1")),
        _versions,
    ),
)
