"""`hardtack mount`, `unmount`, `health`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hardtack.cli.caches import cache_directory
from hardtack.cli.options import (
    CACHE,
    DURATION,
    MOUNT,
    MOUNTPOINT,
    SOURCE,
    cache_options,
    source_options,
    source_url,
    using,
)
from hardtack.cli.output import json_option, print_json

KEEPS = "--replace keeps the mount's source and options; unmount and mount anew"


@click.command()
@click.argument("source", required=False)
@click.argument("mountpoint", required=False, type=MOUNTPOINT, envvar="MOUNT_PATH")
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground; log to stderr.")
@click.option(
    "--wait/--no-wait",
    default=None,
    help="With no listing yet and no network: wait for the source, or end with an error. "
    "Default: wait when in the foreground.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Upgrade the running mount in place; open files live on, its options stay.",
)
@using(SOURCE, CACHE, MOUNT)
@click.pass_context
def mount(
    ctx: click.Context,
    /,
    source: str | None,
    mountpoint: Path | None,
    foreground: bool,
    wait: bool | None,
    replace: bool,
    **values: Any,
) -> None:
    """Mount SOURCE (s3://BUCKET/PREFIX, gs://…, az://…, file:///DIR) on MOUNTPOINT, read-only.

    Returns when the mount answers. SOURCE and MOUNTPOINT may come from S3_BUCKET and MOUNT_PATH;
    with S3_BUCKET one argument is the MOUNTPOINT.
    """
    from hardtack.mount import launch, running

    if replace:
        _replace(ctx, source, mountpoint)
        return
    if source is not None and source.startswith("/") and os.environ.get("S3_BUCKET"):
        mountpoint, source = Path(source), None
    if mountpoint is None:
        raise click.UsageError("MOUNTPOINT is missing: give a directory, or set MOUNT_PATH.")
    scheme, _, bucket = str(mountpoint).partition(":/")
    if bucket and "/" not in scheme and source is not None and source.startswith(("/", ".")):
        raise click.UsageError(
            f"SOURCE comes before MOUNTPOINT: hardtack mount {scheme}://{bucket} {source}"
        )
    url = source_url(source, values["prefix"])
    root = ctx.find_root().params
    directory = cache_directory(values["cache_directory"], url)
    if values["metrics_address"] and not foreground:
        _tell_of_metrics(values["metrics_address"])
    launch.mount(
        url,
        mountpoint,
        source_options(values),
        directory,
        cache_options(values),
        launch.MountOptions(
            allow_other=values["allow_other"] or os.geteuid() == 0,
            uid=os.getuid() if values["uid"] is None else values["uid"],
            gid=os.getgid() if values["gid"] is None else values["gid"],
            file_mode=values["file_mode"],
            dir_mode=values["dir_mode"],
            metrics_address=values["metrics_address"],
            hold=values["hold"],
            handover=values["handover"],
            foreground=foreground,
            wait=foreground if wait is None else wait,
            log_level=root["log_level"],
            log_format=root["log_format"],
        ),
    )
    click.echo(f"Mounted at {mountpoint}; its log is {directory / running.LOG_FILE}.", err=True)


def _tell_of_metrics(address: str) -> None:
    """A port that is taken costs the metrics, not the mount: so it is said before."""
    from hardtack.mount.metrics import refused

    if problem := refused(address):
        click.echo(
            f"hardtack: no metrics at {address}: {problem}. The mount goes without; another "
            "--metrics HOST:PORT needs a new mount.",
            err=True,
        )


def _replace(ctx: click.Context, source: str | None, mountpoint: Path | None) -> None:
    """`mount --replace MOUNTPOINT` and `mount --replace SOURCE MOUNTPOINT` mean the same.

    What would have no effect is refused; the environment and hardtack.toml may hold anything.
    """
    from hardtack.mount import launch, running

    given = {n for n in ctx.params if ctx.get_parameter_source(n) is ParameterSource.COMMANDLINE}
    alone = "mountpoint" not in given
    if source is not None and alone and (mountpoint is None or source.startswith("/")):
        mountpoint, source = Path(source), None
    if mountpoint is None:
        raise click.UsageError("MOUNTPOINT is missing.")
    more = given - {"source", "mountpoint", "replace"}
    if more:
        flags = sorted(p.opts[-1] for p in ctx.command.params if p.name in more)
        raise click.UsageError(f"{KEEPS} ({', '.join(flags)}).")
    if "source" in given and source is not None:
        wanted, shown = source_url(source, ctx.params["prefix"]), running.source_of(mountpoint)
        if wanted != shown:
            raise click.UsageError(f"{KEEPS} ({shown}, not {wanted}).")
    launch.replace(mountpoint)


@click.command()
@click.argument("mountpoint", type=MOUNTPOINT, envvar="MOUNT_PATH")
@click.option(
    "--lazy", is_flag=True, help="Detach now, though files are open; end when they close."
)
def unmount(mountpoint: Path, lazy: bool) -> None:
    """Unmount MOUNTPOINT after what is under way."""
    from hardtack.mount import unmounting

    unmounting.unmount(mountpoint, lazy=lazy)


@click.command()
@click.argument("mountpoint", type=MOUNTPOINT, envvar="MOUNT_PATH")
@click.option("--timeout", type=DURATION, default="5s", show_default=True)
@json_option
def health(mountpoint: Path, timeout: float, as_json: bool) -> None:
    """Read through the mount on MOUNTPOINT; exit 0 when it answers in time.

    It says nothing of the network: a healthy mount may be offline.
    """
    from hardtack.mount import running

    told = running.health(mountpoint, timeout)
    if as_json:
        print_json(told)
