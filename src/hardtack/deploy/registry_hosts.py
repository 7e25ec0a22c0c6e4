"""The hosts behind an image registry's name: who hands out tokens, who hands out layers."""

from __future__ import annotations

import re

_ECR = re.compile(r"\d{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.(amazonaws\.com(?:\.cn)?)")
_TOKENS, _LAYERS = "access tokens", "layers"

_KNOWN: dict[str, tuple[tuple[str, str], ...]] = {
    "docker.io": (
        ("registry-1.docker.io", "manifests"),
        ("auth.docker.io", _TOKENS),
        ("production.cloudflare.docker.com", _LAYERS),
        ("production.cloudfront.docker.com", _LAYERS),
        ("*.r2.cloudflarestorage.com", _LAYERS),
    ),
    "ghcr.io": (("ghcr.io", "manifests"), ("pkg-containers.githubusercontent.com", _LAYERS)),
    "quay.io": (("quay.io", "manifests"), ("*.quay.io", _LAYERS)),
    "registry.k8s.io": (
        ("registry.k8s.io", "manifests"),
        ("*.pkg.dev", _LAYERS),
        ("*.amazonaws.com", _LAYERS),
    ),
    "public.ecr.aws": (("public.ecr.aws", "manifests"), ("*.cloudfront.net", _LAYERS)),
    "mcr.microsoft.com": (
        ("mcr.microsoft.com", "manifests"),
        ("*.data.mcr.microsoft.com", _LAYERS),
    ),
}


def region_of(registry: str) -> str | None:
    """The AWS region of an ECR registry; None for every other."""
    match = _ECR.fullmatch(registry)
    return match[1] if match else None


def hosts(registry: str) -> tuple[tuple[str, str], ...]:
    """(host, what it hands out), the registry itself first.

    A registry that isn't known may send its clients on to another host for the layers.
    """
    if match := _ECR.fullmatch(registry):
        region, domain = match[1], match[2]
        return (
            (registry, "manifests"),
            (f"api.ecr.{region}.{domain}", _TOKENS),
            (f"prod-{region}-starport-layer-bucket.s3.{region}.{domain}", _LAYERS),
        )
    return _KNOWN.get(registry, ((registry, "manifests and layers"),))
