"""Images of a compose file: `services.*.image`, with variables from `.env` and their defaults."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Variables

from hardtack.manifests.build import found
from hardtack.manifests.model import FoundImage, Kind, PullPolicy
from hardtack.manifests.shell import substitute
from hardtack.manifests.yamlpos import Document, Mapping, Scalar, text_of


def is_compose(document: Document) -> bool:
    """A mapping of services, each with an image or a build, and no Kubernetes kind."""
    services = document.root.get("services")
    return (
        not document.kind
        and isinstance(services, Mapping)
        and any(service.get("image") or service.get("build") for service in services)
    )


def images(document: Document, variables: Variables[str, str]) -> Iterator[FoundImage]:
    services = document.root.get("services")
    for name, service in services.items() if isinstance(services, Mapping) else ():
        image = service.get("image")
        if not isinstance(image, Scalar):
            continue
        platform = text_of(service.get("platform"))
        yield found(
            substitute(image.text, variables),
            document.place(image),
            " › ".join(part for part in (document.path, f"services.{name.text}") if part),
            Kind.COMPOSE,
            policy=_policy(text_of(service.get("pull_policy"))),
            platforms=(platform,) if platform else (),
            hidden=document.hidden,
        )


def _policy(written: str) -> PullPolicy | None:
    match written:
        case "always":
            return PullPolicy("Always", True, "pull_policy is set")
        case "never" | "build":
            return PullPolicy("Never", True, "pull_policy is set")
        case "missing" | "if_not_present":
            return PullPolicy("IfNotPresent", True, "pull_policy is set")
    return None
