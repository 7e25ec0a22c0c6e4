"""Manifests against the schemas of Kubernetes' releases."""

from __future__ import annotations

import functools
from typing import Any

import kubernetes_validate
from kubernetes_validate import utils

# It reads a release's definitions, some MB, anew for each manifest.
utils.schema_contents = functools.cache(utils.schema_contents)


def validate(manifest: dict[str, Any], release: str) -> None:
    """Raises kubernetes_validate.ValidationError where `release` (1.34) would refuse it."""
    kubernetes_validate.validate(manifest, release, strict=True)
