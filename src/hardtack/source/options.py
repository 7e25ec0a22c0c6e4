"""How a source is reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What a person may say about a source; None and empty mean "as the environment says".

    Durations in seconds, rates in bytes a second. `credentials` is `auto` (environment, files,
    `credential_process`, web identity, container, SSO, assume-role: whatever is configured) or
    `instance` (the instance metadata service may be asked as well). `progress_deadline` bounds the
    time without a byte; `minimum_rate` is what a body must keep up over four times that long;
    `attempts` and `deadline` bound one request with its repetitions.
    """

    region: str | None = None
    endpoint_url: str | None = None
    path_style: bool | None = None
    profile: str | None = None
    unsigned: bool = False
    credentials: str = "auto"
    ca_bundle: str | None = None
    proxy: str | None = None
    insecure: bool = False
    connections: int = 8
    progress_deadline: float = 20.0
    minimum_rate: int = 1000
    attempts: int = 5
    deadline: float = 120.0


_OF_AWS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE")


def not_of_aws(value: str | None, env: Mapping[str, str]) -> str | None:
    """`value`, unless it is what a variable of AWS's says: the command line takes those for
    options, and they aren't meant for another cloud."""
    return None if value in {env.get(name) for name in _OF_AWS} else value
