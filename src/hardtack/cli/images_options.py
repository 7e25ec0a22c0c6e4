"""Options that several `hardtack images` commands share, and what they mean."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hardtack.cli.options import Existing, option
from hardtack.core.errors import ContainerdError
from hardtack.images.k3s import K3S_IMAGES
from hardtack.images.platforms import Platform

if TYPE_CHECKING:  # imported by the commands that talk to a registry, or to containerd
    from hardtack.images.containerd import Containerd
    from hardtack.images.registry import Registry

LOCK = option(
    "--lock",
    "lock_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default="images.lock",
    show_default=True,
    help="The lock file.",
)
PLATFORMS = click.option(
    "--platform", "platforms", multiple=True, metavar="OS/ARCH", help="Again for each platform."
)
REGISTRY = [
    option(
        "--registries",
        type=Existing(directories=False),
        help="k3s's registries.yaml: mirrors, certificates, credentials.",
    ),
    option(
        "--insecure-registry",
        multiple=True,
        metavar="HOST",
        help="Talk http, or TLS without checking, to this host.",
    ),
    option(
        "--registry-ca",
        type=Existing(directories=False),
        help="A CA certificate to trust for registries.",
    ),
]
VALUES = click.option(
    "--values", "values_files", type=Existing(directories=False), multiple=True, metavar="FILE",
    help="Values set over those of the charts, as Helm's --values. Again for more, the last wins.",
)  # fmt: skip
DIRECTORY = click.Path(file_okay=False, path_type=Path)
TO = click.option(
    "--to",
    type=DIRECTORY,
    default=K3S_IMAGES,
    show_default=True,
    help="The directory that k3s loads images from.",
)
SOCKET = click.option(
    "--socket", type=click.Path(path_type=Path), help="containerd's socket. Default: k3s's own."
)
PLATFORM = click.option("--platform", metavar="OS/ARCH", help="Default: this machine's.")


def platform_of(text: str | None) -> Platform:
    return Platform.parse(text) if text else Platform.here()


@contextlib.contextmanager
def containerd_at(socket: Path | None) -> Iterator[Containerd]:
    """containerd on `socket`, or where it usually is. Raises ContainerdError."""
    from hardtack.images.containerd import Containerd, find_socket

    found = socket or find_socket()
    if found is None:
        raise ContainerdError(
            "No containerd was found.", remedy="Start it, or name its socket with --socket."
        )
    store = Containerd(found)
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def registry_of(values: dict[str, Any]) -> Iterator[Registry]:
    """The registry client that a command's parameters say."""
    from hardtack.images.mirrors import Registries
    from hardtack.images.registry import Registry

    insecure = frozenset(values["insecure_registry"])
    for host in insecure:
        if "/" in host:
            raise click.UsageError(f"--insecure-registry is a host, HOST[:PORT], not {host!r}.")
    file, ca = values["registries"], values["registry_ca"]
    if file is not None:
        registries = Registries.read(file, insecure=insecure, ca=ca)
    else:
        registries = Registries(insecure=insecure, ca=ca)
    registry = Registry(registries)
    try:
        yield registry
    finally:
        registry.close()
