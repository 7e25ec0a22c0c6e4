"""`hardtack images install`, `audit`, `prune`, `extract`: from bundles to a box."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hardtack.cli.images_options import (
    DIRECTORY,
    LOCK,
    PLATFORM,
    REGISTRY,
    SOCKET,
    TO,
    containerd_at,
    platform_of,
    registry_of,
)
from hardtack.cli.options import Existing, using
from hardtack.cli.output import json_option, print_json, print_table
from hardtack.cli.progress import shown
from hardtack.core.errors import BoxError
from hardtack.deploy.facts.versions import k3s_version
from hardtack.images import install as installing
from hardtack.images.lockfile import read_lock
from hardtack.manifests.reference import Reference

if TYPE_CHECKING:  # gRPC is imported by those commands alone that talk to containerd
    from hardtack.images.audit import Row


@click.command()
@click.argument("directory", type=Existing(files=False))
@TO
@PLATFORM
@click.option(
    "--import", "import_now", is_flag=True, help="Load them into a running containerd too."
)
@SOCKET
@click.option("--k3s-version", help="Default: what `k3s --version` says.")
@json_option
def install(
    directory: Path, to: Path, platform: str | None, import_now: bool, **values: Any
) -> None:
    """Put the bundles of DIRECTORY where k3s loads them.

    Bundles that an earlier install put there and that DIRECTORY no longer has are removed.
    """
    version = values["k3s_version"] or _k3s_version()
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(containerd_at(values["socket"])) if import_now else None
        progress = stack.enter_context(shown("install"))
        done = installing.install(
            directory,
            to,
            platform=platform_of(platform),
            k3s_version=version,
            containerd=store,
            progress=progress,
        )
    if values["as_json"]:
        print_json(done)
        return
    for file in done.files:
        click.echo(f"{file}  {'new' if file in done.added else 'there already'}")
    for file in done.removed:
        click.echo(f"{file}  removed, no longer wanted")
    needed = {True: "k3s must be restarted", False: "no restart needed", None: "restart k3s"}
    click.echo(f"{needed[done.restart]}: {done.reason}.")


def _k3s_version() -> str | None:
    """What k3s says; of one that can't, the bundles are installed all the same."""
    try:
        return k3s_version()
    except BoxError as error:
        click.echo(f"hardtack: {error}", err=True)
        return None


@click.command()
@LOCK
@SOCKET
@TO
@PLATFORM
@click.option("--deep", is_flag=True, help="Read every byte and check it, not only the lengths.")
@json_option
def audit(lock_file: Path, to: Path, platform: str | None, **values: Any) -> None:
    """Is each image of images.lock on this box, whole, and under its names? Offline.

    Asks containerd's own store; without a containerd, reads the bundles in k3s's directory.
    Exit 1 when anything is not as it must be.
    """
    from hardtack.images.audit import State, audit_directory
    from hardtack.images.audit import audit as audit_store
    from hardtack.images.containerd import find_socket

    locked = read_lock(lock_file)
    socket = values["socket"] or find_socket()
    rows: Sequence[Row]
    if socket is None:
        rows = audit_directory(locked, platform_of(platform), to)
    else:
        with containerd_at(socket) as store:
            rows = audit_store(locked, platform_of(platform), store, deep=values["deep"])
    if values["as_json"]:
        print_json(rows)
    else:
        print_table(
            ("image", "state", "found"), ((row.name, row.state, row.detail) for row in rows)
        )
        where = f"containerd at {socket}" if socket else f"bundles in {to}"
        click.echo(f"Audited: {where}.", err=True)
    sys.exit(0 if all(row.state is State.OK for row in rows) else 1)


@click.command()
@LOCK
@TO
@PLATFORM
@json_option
def prune(lock_file: Path, to: Path, platform: str | None, as_json: bool) -> None:
    """Remove bundles that `install` put there and that images.lock no longer names."""
    removed = installing.prune(to, read_lock(lock_file), platform_of(platform))
    if as_json:
        print_json(removed)
    else:
        for file in removed:
            click.echo(f"{file}  removed")
        if not removed:
            click.echo("Nothing to remove.")


@click.command()
@click.argument("image")
@click.argument("paths", nargs=-1, required=True)
@click.option("--to", type=DIRECTORY, default=".", show_default=True)
@PLATFORM
@using(REGISTRY)
@json_option
def extract(
    image: str, paths: tuple[str, ...], to: Path, platform: str | None, **values: Any
) -> None:
    """Take the files PATHS out of IMAGE, without a container engine."""
    from hardtack.images.extract import extract as extract_files

    with registry_of(values) as registry, shown("extract") as progress:
        written = extract_files(
            Reference.parse(image), paths, to, platform_of(platform), registry, progress=progress
        )
    if values["as_json"]:
        print_json(written)
    else:
        for file in written:
            click.echo(str(file))
