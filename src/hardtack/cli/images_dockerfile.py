"""`hardtack images dockerfile`: the preloader stage of Dockerfiles, from one lock."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hardtack.cli.images_options import LOCK
from hardtack.cli.options import Existing, using
from hardtack.cli.output import json_option, print_json
from hardtack.core.units import format_count
from hardtack.images import dockerfile as preloading
from hardtack.images.lockfile import read_lock


@click.command()
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=Existing(directories=False),
)
@using([LOCK])
@click.option("--check", is_flag=True, help="Write nothing; exit 1 where a stage differs.")
@json_option
def dockerfile(files: tuple[Path, ...], lock_file: Path, check: bool, as_json: bool) -> None:
    """Write the preloader stage into each Dockerfile FILE, between its markers.

    A FILE says its platform (`# hardtack: preload platform=linux/arm64`) and where the stage goes
    (`# hardtack: preload begin`, `# hardtack: preload end`).
    """
    locked = read_lock(lock_file)
    if not check:
        written = preloading.write(files, locked)
        if as_json:
            print_json({"written": written})
        else:
            for file in files:
                click.echo(f"{file}  {'written' if file in written else 'in step already'}")
        return
    differences = preloading.check(files, locked)
    if as_json:
        print_json({"differences": differences})
    else:
        for difference in differences:
            click.echo(f"{difference.file}:{difference.line}: not what {lock_file} gives")
            for line in difference.lines:
                click.echo(f"  {line}")
        if not differences:
            click.echo(f"In step with {lock_file}: {format_count(len(files), 'file')}.")
    sys.exit(1 if differences else 0)
