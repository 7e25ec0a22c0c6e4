"""`images.lock`, preload lists and manifests in step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hardtack.manifests.model import FoundImage, Kind
from hardtack.manifests.place import Severity
from hardtack.manifests.reference import Reference
from hardtack.policy.deployment import Deployment, references
from hardtack.policy.rule import Found, Rule, example, pod_of

_DIGEST = "sha256:" + "c7" * 32
# k3s's own images are preloaded without any manifest that names them.
_K3S = ("rancher/", "k3s/")


def _not_locked(deployment: Deployment) -> Iterator[Found]:
    lock = deployment.lock
    for image in deployment.scan.images if lock else ():
        if lock is None or image.reference is None or image.kind is Kind.DOCKERFILE:
            continue
        if image.reference not in lock.images:
            yield Found(image.place, f"{image.raw} is not in {lock.file.name}")


def _not_named(deployment: Deployment) -> Iterator[Found]:
    lock = deployment.lock
    named = references(i for i in deployment.scan.images if i.kind is not Kind.DOCKERFILE)
    for reference, place in lock.places.items() if lock else ():
        if reference not in named and not reference.repository.startswith(_K3S):
            yield Found(place, f"{reference} is locked, but nothing that was scanned names it")


def preloaded(deployment: Deployment) -> dict[Path, dict[Reference, FoundImage]]:
    """The images that each preload list (the pulls of one Dockerfile or script) pulls."""
    lists: dict[Path, dict[Reference, FoundImage]] = {}
    for image in deployment.scan.images:
        if image.kind is Kind.COMMAND and image.reference is not None and not image.hidden:
            lists.setdefault(image.place.file, {}).setdefault(image.reference, image)
    return lists


def _lists_differ(deployment: Deployment) -> Iterator[Found]:
    lists = preloaded(deployment)
    every: dict[Reference, FoundImage] = {}
    for images in lists.values():
        every = images | every
    for file, images in lists.items():
        at = next(iter(images.values())).place
        for reference, there in every.items():
            if reference not in images and there.place.file != file:
                yield Found(at, f"{reference} is preloaded by {there.place}, but not by {file}")


def _not_preloaded(deployment: Deployment) -> Iterator[Found]:
    lists = preloaded(deployment)
    every = {reference for images in lists.values() for reference in images}
    for reference, images in references(deployment.deployed).items():
        if every and reference not in every and deployment.third_party(images[0]):
            files = ", ".join(map(str, lists))
            message = f"{reference} is needed here, but not preloaded by {files}"
            yield Found(images[0].place, message)


def _preloaded_in_vain(deployment: Deployment) -> Iterator[Found]:
    started = (image for image in deployment.scan.images if image.kind is Kind.STARTED)
    named = references((*deployment.deployed, *started))
    for images in preloaded(deployment).values() if named else ():
        for reference, image in images.items():
            if reference not in named and not reference.repository.startswith(_K3S):
                yield Found(image.place, f"{reference} is preloaded, but no manifest names it")


def locked(*images: str, platforms: tuple[str, ...] = ("linux/amd64", "linux/arm64")) -> str:
    """The text of a lock, for examples."""
    text = 'version = 1\nplatforms = ["linux/amd64", "linux/arm64"]\n'
    for image in images:
        text += f'\n[[image]]\nname = "docker.io/library/{image}"\ndigest = "{_DIGEST}"\n'
        text += "[image.platforms]\n"
        for platform in platforms:
            text += f'"{platform}" = {{ digest = "{_DIGEST}", size = 3620000 }}\n'
    return text


def _preloader(*images: str) -> str:
    pulls = "".join(f"RUN crane pull {image} /images/{n}.tar\n" for n, image in enumerate(images))
    return f"FROM gcr.io/go-containerregistry/crane:v0.20.2\n{pulls}"


RULES = (
    Rule(
        "not-in-lock",
        Severity.ERROR,
        "An image is not in the lock",
        "Bundles are made from `images.lock`. An image that is not in it is not on the box. Runs "
        "when there is a lock.",
        example(pod_yaml=pod_of("alpine:3.20.3"), images_lock=locked()),
        example(pod_yaml=pod_of("alpine:3.20.3"), images_lock=locked("alpine:3.20.3")),
        _not_locked,
    ),
    Rule(
        "lock-unused",
        Severity.WARNING,
        "The lock has an image that nothing names",
        "It costs time on the link and room on the disk, and mostly means that a version was "
        "moved in one place and forgotten in the other.",
        example(
            pod_yaml=pod_of("alpine:3.20.3"), images_lock=locked("alpine:3.20.3", "busybox:1.35.0")
        ),
        example(pod_yaml=pod_of("alpine:3.20.3"), images_lock=locked("alpine:3.20.3")),
        _not_named,
    ),
    Rule(
        "preload-lists-differ",
        Severity.ERROR,
        "Two preload lists differ",
        "Dockerfiles that preload images for several platforms are kept in step by hand, until "
        "they aren't. `hardtack images dockerfile` writes them all from one lock.",
        example(
            Dockerfile_cpu=_preloader("alpine:3.20.3"),
            Dockerfile_gpu=_preloader("alpine:3.20.3", "busybox:1.36.1"),
        ),
        example(
            Dockerfile_cpu=_preloader("alpine:3.20.3", "busybox:1.36.1"),
            Dockerfile_gpu=_preloader("alpine:3.20.3", "busybox:1.36.1"),
        ),
        _lists_differ,
    ),
    Rule(
        "preload-missing",
        Severity.ERROR,
        "An image is needed, but not preloaded",
        "Where Dockerfiles or scripts preload images, each third-party image of the manifests has "
        "to be among them, in the same version.",
        example(
            Dockerfile=_preloader("alpine:3.20.3"),
            a_yaml=pod_of("alpine:3.20.3"),
            b_yaml=pod_of("busybox:1.36.1"),
        ),
        example(Dockerfile=_preloader("alpine:3.20.3"), a_yaml=pod_of("alpine:3.20.3")),
        _not_preloaded,
    ),
    Rule(
        "preload-unused",
        Severity.WARNING,
        "An image is preloaded, but nothing names it",
        "It costs room on every box. k3s's own images (`rancher/…`) are excepted.",
        example(
            Dockerfile=_preloader("alpine:3.20.3", "busybox:1.36.1"),
            a_yaml=pod_of("alpine:3.20.3"),
        ),
        example(
            Dockerfile=_preloader("alpine:3.20.3", "rancher/mirrored-pause:3.6"),
            a_yaml=pod_of("alpine:3.20.3"),
        ),
        _preloaded_in_vain,
    ),
)
