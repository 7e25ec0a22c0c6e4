"""`hardtack mount`, `unmount`, `status`, `health`, `hold`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hardtack.cache import leftout
from hardtack.cache.results import Status
from hardtack.cli.caches import cache_directory
from hardtack.cli.options import (
    CACHE,
    DURATION,
    MOUNT,
    SOURCE,
    Parsed,
    cache_options,
    source_options,
    source_url,
    using,
)
from hardtack.cli.output import json_option, print_facts, print_json
from hardtack.core.errors import FileError, HardtackError, MountpointError, MountUnhealthy
from hardtack.core.units import format_count, format_duration, format_size

KEEPS = "--replace keeps the mount's source and options; unmount and mount anew"
MOUNTPOINT = Parsed("directory", Path)
"""Never looked at when it is read: click.Path would stat it, and wait for a mount that hangs."""


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
def health(mountpoint: Path, timeout: float) -> None:
    """Read through the mount on MOUNTPOINT; exit 0 when it answers in time.

    It says nothing of the network: a healthy mount may be offline.
    """
    from hardtack.mount import running

    running.health(mountpoint, timeout)


@click.command()
@click.argument("socket", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--grace", type=DURATION, default="10m", show_default=True,
    help="Unmount what no keeper has taken over for so long.",
)  # fmt: skip
@click.option(
    "--check", is_flag=True, help="Ask the one that listens at SOCKET; exit 0 if it does."
)
@click.pass_context
def hold(ctx: click.Context, /, socket: Path, grace: float, *, check: bool) -> None:
    """Keep mounts while the processes that serve them are replaced; listens at SOCKET.

    Readers of open files wait meanwhile, and go on. Mounts say --hold SOCKET.
    """
    from hardtack.mount import hold as holding

    if check:
        try:
            holding.ask(str(socket), {"do": "take"})
        except OSError as problem:
            raise MountUnhealthy(
                f"No hold answers at {socket}: {problem.strerror or problem}.",
                remedy="Start it: hardtack hold SOCKET",
            ) from None
        return
    try:
        socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as problem:
        raise FileError(
            f"The directory of the socket {socket} can't be made: {problem.strerror}.",
            remedy="Name another place.",
        ) from None
    if socket.exists() and not socket.is_socket():
        raise FileError(
            f"{socket} is there, and is no socket.",
            remedy="Name another place: what listens there would take its place.",
        )
    root = ctx.find_root().params
    how = [str(socket), str(grace), root["log_level"], root["log_format"]]
    command = [sys.executable, "-P", "-m", "hardtack.mount.hold", *how]
    os.execv(command[0], command)


@click.command()
@click.argument("where", required=False, metavar="[MOUNTPOINT|SOURCE]")
@json_option
def status(where: str | None, as_json: bool) -> None:
    """What the mount on MOUNTPOINT holds and does, or those of SOURCE; of all mounts without one.

    Of a source that isn't mounted, `hardtack cache size SOURCE` tells what its cache holds.
    """
    from hardtack.mount import running

    if where is None:
        points = running.mountpoints()
    else:
        points = _mounts_of(where) if "://" in where else [Path(where)]
    found: dict[str, Status] = {}
    failed: dict[str, HardtackError] = {}
    for point in points:
        try:
            found[str(point)] = running.remote(point).status()
        except HardtackError as error:
            failed[str(point)] = error
    if as_json:
        print_json(found)
    elif found or not failed:
        _print(found)
    for point_name, failure in failed.items():
        about = "" if point_name in failure.message else f"{point_name}: "
        click.echo(f"hardtack: {about}{failure}", err=True)
    if failed:
        sys.exit(next(iter(failed.values())).exit_code)


def _mounts_of(url: str) -> list[Path]:
    """Where a source is mounted. Raises MountpointError where it is nowhere."""
    from hardtack.mount import running

    wanted = source_url(url, "")
    sources = running.sources()
    found = [point for point, source in sources.items() if source.rstrip("/") == wanted]
    if not found:
        mounted = ", ".join(f"{source} at {point}" for point, source in sources.items())
        raise MountpointError(
            f"No hardtack mount shows {wanted}; there is {mounted or 'none'}.",
            remedy=f"Mount it: hardtack mount {wanted} MOUNTPOINT. "
            f"What its cache holds: hardtack cache size {wanted}",
        )
    return found


def _print(found: dict[str, Status]) -> None:
    if not found:
        click.echo("No hardtack mount answers.")
    for point, state in found.items():
        click.echo(point)
        print_facts(_facts(state))


_ROOM = "a larger --cache-size or a smaller --keep-free keeps more"


def _facts(state: Status) -> list[tuple[str, str]]:
    now = time.time()
    if state.unreachable_since is not None:
        reach = f"no, for {format_duration(now - state.unreachable_since)}: {state.last_error}"
    elif state.reachable_since is not None:
        reach = f"yes, for {format_duration(now - state.reachable_since)}"
    else:
        reach = "not asked since the mount; listings come from the catalogue meanwhile"
    reads = state.hits + state.misses
    facts = [
        ("  source", state.source),
        ("  reachable", reach),
        (
            "  generation",
            f"{state.generation}, {format_count(state.objects, 'file')}, "
            f"{format_size(state.bytes)}",
        ),
        ("  complete", f"{format_count(state.complete, 'file')}; {state.partial} partial"),
        ("  on this box", format_size(state.present_bytes)),
        ("  fetched", format_size(state.fetched_bytes_total)),
        ("  reads", f"{reads}, {100 * state.hits // reads} % from the cache" if reads else "0"),
    ]
    if state.last_error and state.unreachable_since is None:
        facts.insert(2, ("  listing", f"stays as it was: {state.last_error}"))
    facts += [("  not shown", said) for said in leftout.in_words(state.left_out)]
    if state.evicted_bytes_total:
        facts.append(
            ("  evicted", f"{format_size(state.evicted_bytes_total)}, to make room; {_ROOM}")
        )
    if state.passed_bytes_total:
        passed = f"{format_size(state.passed_bytes_total)} fetched and not kept"
        facts.append(
            ("  not kept", f"{passed}: {state.refusal}" if state.refusal else f"{passed}; {_ROOM}")
        )
    facts += [
        ("  fetching", f"{path} {100 * present // max(1, size)} %")
        for path, present, size in state.fetching
    ]
    if state.eta is not None:
        facts.append(("  left", format_duration(state.eta)))
    return facts
