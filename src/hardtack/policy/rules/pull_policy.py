"""When Kubernetes would ask a registry although the image is on the box."""

from __future__ import annotations

from collections.abc import Iterator

from hardtack.manifests.model import FoundImage, Kind, PullPolicy
from hardtack.manifests.place import Severity
from hardtack.policy.deployment import Deployment
from hardtack.policy.edits import beside, instead
from hardtack.policy.rule import Edit, Found, Rule, example, pod_of

_DIGEST = "sha256:" + "c7" * 32


def _policies(deployment: Deployment) -> Iterator[tuple[FoundImage, PullPolicy]]:
    """Each image that has a pull policy its owner isn't allowed by configuration."""
    for image in deployment.deployed:
        own = deployment.config.owner(image.reference)
        policy = image.policy
        if policy and not (own and (policy.value is None or policy.value in own.pull_policies)):
            yield image, policy


def _missing(deployment: Deployment) -> Iterator[Found]:
    for image, policy in _policies(deployment):
        if image.kind is Kind.CRD or policy.explicit or policy.value == "Always":
            continue
        yield Found(
            image.place,
            f"{image.raw or 'an image'} has no imagePullPolicy: expected IfNotPresent or Never "
            f"({f'{policy.value} by ' if policy.value else ''}{policy.why})",
            _added(deployment, image),
        )


def _always(deployment: Deployment) -> Iterator[Found]:
    for image, policy in _policies(deployment):
        if policy.explicit and policy.value == "Always":
            yield Found(
                image.place,
                f"{image.raw} has pull policy Always: each start asks the registry, "
                "and fails without a network",
                _replaced(deployment, image),
            )


def _always_by_default(deployment: Deployment) -> Iterator[Found]:
    for image, policy in _policies(deployment):
        if not policy.explicit and policy.value == "Always":
            yield Found(
                image.place,
                f"{image.raw} has no imagePullPolicy, which means Always here ({policy.why})",
                _added(deployment, image),
            )


def _unknown(deployment: Deployment) -> Iterator[Found]:
    for image, policy in _policies(deployment):
        if policy.explicit and policy.value is None:
            yield Found(image.place, f"{image.raw}: its pull policy can't be told: {policy.why}")


def _added(deployment: Deployment, image: FoundImage) -> Edit | None:
    container = deployment.owners.get((image.place.file, image.place.line))
    if container is None or container.node.get("imagePullPolicy"):
        return None
    return beside(deployment, image.place, "image", "imagePullPolicy: IfNotPresent")


def _replaced(deployment: Deployment, image: FoundImage) -> Edit | None:
    container = deployment.owners.get((image.place.file, image.place.line))
    written = container.node.get("imagePullPolicy") if container else None
    if container is None or written is None:
        return None
    place = container.document.place(written)
    return instead(deployment, place, "imagePullPolicy", "Always", "IfNotPresent")


RULES = (
    Rule(
        "pull-policy-missing",
        Severity.WARNING,
        "An image has no imagePullPolicy",
        "Kubernetes then chooses by the tag: IfNotPresent today, Always on the day when somebody "
        "writes `:latest`. What a box needs to come up with the cable out should be written down.",
        example(pod_yaml=pod_of("alpine:3.20", "")),
        example(pod_yaml=pod_of("alpine:3.20", "IfNotPresent")),
        _missing,
        fix="adds `imagePullPolicy: IfNotPresent` below the image",
    ),
    Rule(
        "pull-always",
        Severity.ERROR,
        "An image has the pull policy Always",
        "With Always the kubelet asks the registry at every start of the container. Without a "
        "network the pod stays in ImagePullBackOff, even with the image on the box.",
        example(pod_yaml=pod_of("alpine:3.20", "Always")),
        example(pod_yaml=pod_of("alpine:3.20", "IfNotPresent")),
        _always,
        fix="writes IfNotPresent in place of Always",
    ),
    Rule(
        "pull-always-by-default",
        Severity.ERROR,
        "An image has the pull policy Always by default",
        "Without an imagePullPolicy, the tag `:latest`, or no tag at all, means Always: the "
        "kubelet asks the registry at every start of the container.",
        example(pod_yaml=pod_of(f"alpine:latest@{_DIGEST}", "")),
        example(pod_yaml=pod_of(f"alpine@{_DIGEST}", "IfNotPresent")),
        _always_by_default,
        fix="adds `imagePullPolicy: IfNotPresent` below the image",
    ),
    Rule(
        "pull-policy-unknown",
        Severity.WARNING,
        "A pull policy can't be told from the files",
        "A template or a variable chooses the pull policy when the deployment is installed, or it "
        "is a word that Kubernetes refuses. Nothing here can promise that it isn't Always.",
        example(pod_yaml=pod_of("alpine:3.20", "WhenMissing")),
        example(pod_yaml=pod_of("alpine:3.20", "IfNotPresent")),
        _unknown,
    ),
)
