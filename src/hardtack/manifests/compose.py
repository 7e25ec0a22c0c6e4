"""Images of a compose file: `services.*.image`, with variables from `.env` and their defaults."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Variables
from dataclasses import replace

from hardtack.manifests import dockerfile, settings, started
from hardtack.manifests.build import found
from hardtack.manifests.model import FoundImage, Kind, PullPolicy
from hardtack.manifests.shell import substitute
from hardtack.manifests.yamlpos import (
    Document,
    Mapping,
    Node,
    Scalar,
    children,
    standing_at,
    text_of,
)

_NAMES = {f"{stem}.{end}" for stem in ("compose", "docker-compose") for end in ("yaml", "yml")}


def is_compose(document: Document) -> bool:
    """A mapping of services, each with an image or a build, or of other compose files, and no
    Kubernetes kind."""
    services = document.root.get("services")
    return not document.kind and (
        (
            isinstance(services, Mapping)
            and any(
                service.get("image") or service.get("build") or service.get("extends")
                for service in services
            )
        )
        or (document.file.name in _NAMES and "include" in document.root)
    )


def takes_in(document: Document) -> Iterator[tuple[str, Scalar]]:
    """(way, where) of the files that a compose file includes, or whose services it extends."""
    for number, each in enumerate(children(document.root.get("include"))):
        paths = each if isinstance(each, Scalar) else each.get("path")
        for path in [paths] if isinstance(paths, Scalar) else children(paths):
            if isinstance(path, Scalar):
                yield f"include[{number}]", path
    services = document.root.get("services")
    for name, service in services.items() if isinstance(services, Mapping) else ():
        file = service.get("extends", "file")
        if isinstance(file, Scalar):
            yield f"services.{name.text} › extends", file


def images(document: Document, variables: Variables[str, str]) -> Iterator[FoundImage]:
    services = document.root.get("services")
    for name, service in services.items() if isinstance(services, Mapping) else ():
        way = " › ".join(part for part in (document.path, f"services.{name.text}") if part)
        yield from _settings(document, way, service.get("environment"), variables)
        yield from _built(document, way, service.get("build"))
        yield from started.commands(document, way, service, variables)
        for number, volume in enumerate(children(service.get("volumes"))):
            source = volume.get("source")
            if text_of(volume.get("type")) == "image" and isinstance(source, Scalar):
                yield found(substitute(source.text, variables), document.place(source),
                            f"{way} › volumes[{number}]", Kind.VOLUME,
                            hidden=document.hidden)  # fmt: skip
        image = service.get("image")
        if not isinstance(image, Scalar) or (not text_of(image) and service.get("build")):
            continue
        if isinstance(service, Mapping) and (key := service.key("image")):
            image = standing_at(key, image)
        platform = text_of(service.get("platform"))
        yield found(
            substitute(text_of(image), variables),
            document.place(image),
            way,
            Kind.COMPOSE,
            policy=_policy(text_of(service.get("pull_policy"))),
            platforms=(platform,) if platform else (),
            hidden=document.hidden,
        )


def _built(document: Document, way: str, build: Node | None) -> Iterator[FoundImage]:
    """Base images of what compose builds itself."""
    inline = build.get("dockerfile_inline") if build else None
    if isinstance(inline, Scalar):
        first = inline.line + 1 if inline.style == "|" else inline.line
        for image in dockerfile.images(inline.text, document.file):
            line = min(first + image.place.line - 1, max(inline.end_line, first))
            yield replace(image, place=replace(image.place, line=line),
                          path=f"{way} › build › {image.path}", hidden=document.hidden)  # fmt: skip
    contexts = build.get("additional_contexts") if build else None
    for key, value in contexts.items() if isinstance(contexts, Mapping) else ():
        if isinstance(value, Scalar) and value.text.startswith("docker-image://"):
            yield found(value.text.removeprefix("docker-image://"), document.place(value),
                        f"{way} › build › {key.text}", Kind.DOCKERFILE,
                        hidden=document.hidden)  # fmt: skip


def _settings(
    document: Document, way: str, given: Node | None, variables: Variables[str, str]
) -> Iterator[FoundImage]:
    """Images in a service's variables, which its program starts."""
    pairs = list(given.items()) if isinstance(given, Mapping) else []
    for line in children(given):
        name, _, text = text_of(line).partition("=")
        pairs.append((Scalar(line.line, line.column, name), Scalar(line.line, line.column, text)))
    for key, value in pairs:
        if isinstance(value, Scalar):
            resolved = replace(value, text=substitute(value.text, variables))
            for named in settings.entry(key.text, resolved, {}):
                yield found(named.text.text, document.place(value),
                            f"{way} › environment.{key.text}", Kind.SETTING,
                            hidden=document.hidden, unknown=named.why)  # fmt: skip


def _policy(written: str) -> PullPolicy | None:
    match written:
        case "always":
            return PullPolicy("Always", True, "pull_policy is set")
        case "never" | "build":
            return PullPolicy("Never", True, "pull_policy is set")
        case "missing" | "if_not_present":
            return PullPolicy("IfNotPresent", True, "pull_policy is set")
    return None
