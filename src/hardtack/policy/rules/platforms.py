"""Images for every platform of the fleet."""

from __future__ import annotations

from collections.abc import Iterator

from hardtack.manifests.place import Severity
from hardtack.policy.deployment import Deployment
from hardtack.policy.rule import Found, Rule, example, pod_of
from hardtack.policy.rules.lock import locked

_POD = pod_of("alpine:3.20.3")


def _check(deployment: Deployment) -> Iterator[Found]:
    lock = deployment.lock
    if lock is None:
        return
    fleet = deployment.config.platforms or lock.platforms
    for reference, platforms in lock.images.items():
        if missing := [platform for platform in fleet if platform not in platforms]:
            yield Found(
                lock.places[reference],
                f"{reference} has no manifest for {', '.join(missing)}; "
                f"the lock has {', '.join(platforms) or 'none'}",
            )


RULES = (
    Rule(
        "platform-missing",
        Severity.ERROR,
        "An image has no manifest for a platform of the fleet",
        "A box of that platform could not start it. The fleet's platforms stand in the "
        "configuration (`platforms`); without that, they are those of the lock.",
        example(pod_yaml=_POD, images_lock=locked("alpine:3.20.3", platforms=("linux/amd64",))),
        example(pod_yaml=_POD, images_lock=locked("alpine:3.20.3")),
        _check,
    ),
)
