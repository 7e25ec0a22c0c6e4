"""Cloud credentials in containers that don't need them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hardtack.manifests.place import Severity
from hardtack.manifests.yamlpos import children, text_of
from hardtack.policy.config import matches
from hardtack.policy.deployment import Container, Deployment
from hardtack.policy.rule import Found, Rule, example, example_pod
from hardtack.policy.rules.mounts import mounters

_VARIABLES = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
}
_SECRET = re.compile(r"aws|gcp|gcloud|azure|ecr|s3", re.IGNORECASE)
_PATH = re.compile(r"/\.aws(?:/|$)|/\.config/gcloud|/\.azure(?:/|$)")
# Commands and images that speak to a cloud, and so need to say who they are.
_SPEAKS = re.compile(
    r"\baws\b|aws-cli|\becr\b|s3://|\bgcloud\b|\bgsutil\b|gs://|\baz\b|\brclone\b|s3-sync"
)


def _check(deployment: Deployment) -> Iterator[Found]:
    mounting = set(mounters(deployment))
    references = {
        (image.place.file, image.place.line): image.reference for image in deployment.deployed
    }
    for container in deployment.containers:
        if container in mounting or _needs(container):
            continue
        image = container.node.get("image")
        place = container.document.place(image) if image else container.place
        reference = references.get((place.file, place.line))
        if any(matches(reference, pattern) for pattern in deployment.config.credentials):
            continue
        if held := _held(container):
            yield Found(
                container.place,
                f"{container.way} holds cloud credentials ({held}), and nothing in its command "
                "or image speaks to a cloud",
            )


def _needs(container: Container) -> bool:
    words = [*children(container.node.get("command")), *children(container.node.get("args"))]
    return bool(_SPEAKS.search(" ".join([container.image, *map(text_of, words)])))


def _held(container: Container) -> str:
    """What gives the container credentials; empty when nothing does."""
    for name in container.environment():
        if name in _VARIABLES:
            return name
    for source in children(container.node.get("envFrom")):
        secret = text_of(source.get("secretRef", "name"))
        if _SECRET.search(secret):
            return f"Secret {secret}"
    secrets = {
        text_of(volume.get("name")): text_of(volume.get("secret", "secretName"))
        for volume in children(container.pod.get("volumes"))
    }
    for mount in children(container.node.get("volumeMounts")):
        path, secret = text_of(mount.get("mountPath")), secrets.get(text_of(mount.get("name")), "")
        if _PATH.search(path) or (secret and _SECRET.search(secret)):
            return f"{secret or 'files'} at {path}"
    return ""


_KEYS = (
    "env:",
    "  - name: AWS_ACCESS_KEY_ID",
    "    valueFrom:",
    "      secretKeyRef: {name: cloud, key: id}",
)

RULES = (
    Rule(
        "credentials-unneeded",
        Severity.WARNING,
        "A container holds cloud credentials that it doesn't need",
        "A server that reads its weights from a mount needs no keys of the bucket: the mount's "
        "sidecar has them. Images that do need some are named in the configuration "
        "(`credentials`).",
        example(pod_yaml=example_pod(*_KEYS)),
        example(pod_yaml=example_pod()),
        _check,
    ),
)
