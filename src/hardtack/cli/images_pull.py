"""`hardtack images pull`: from a lock to bundles."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from hardtack.cli.images_options import LOCK, PLATFORMS, REGISTRY, registry_of
from hardtack.cli.options import using
from hardtack.cli.output import json_option, print_json
from hardtack.cli.progress import shown
from hardtack.core.units import format_count, format_size
from hardtack.images.lockfile import read_lock
from hardtack.images.platforms import Platform
from hardtack.images.pull import pull as pull_images


@click.command()
@LOCK
@PLATFORMS
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for the bundles.",
)
@click.option("--split", is_flag=True, help="One bundle for each image.")
@click.option(
    "--compress", type=click.Choice(["zstd"]), help="For k3s; containerd 1.6's ctr reads none."
)
@using(REGISTRY)
@json_option
def pull(lock_file: Path, platforms: tuple[str, ...], out: Path, **values: Any) -> None:
    """Pull what images.lock names into bundles; goes on where it was interrupted.

    With nothing to do, no registry is asked.
    """
    locked = read_lock(lock_file)
    with registry_of(values) as registry, shown("pull") as progress:
        done = pull_images(
            locked,
            out,
            registry,
            [Platform.parse(p) for p in platforms],
            split=values["split"],
            zstd=values["compress"] == "zstd",
            progress=progress,
        )
    if values["as_json"]:
        print_json(
            {
                "bundles": [b.path for b in done.bundles],
                "written": done.written,
                "removed": done.removed,
                "fetched_bytes": done.fetched,
                "foreign": done.foreign,
            }
        )
    else:
        for bundle in done.bundles:
            news = "written" if bundle.path in done.written else "there already"
            size = format_size(bundle.path.stat().st_size)
            holds = format_count(len(bundle.images), "image")
            click.echo(f"{bundle.path}  {size}  {holds}  {news}")
        click.echo(f"{format_size(done.fetched)} fetched.", err=True)
    for layer in done.foreign:
        click.echo(f"hardtack: not in the bundle, registries don't hand it out: {layer}", err=True)
    if done.foreign:
        sys.exit(1)
