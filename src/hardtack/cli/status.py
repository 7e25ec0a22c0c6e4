"""`hardtack status`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from hardtack.cache import leftout
from hardtack.cache.results import Status
from hardtack.cli.options import source_url
from hardtack.cli.output import json_option, print_facts, print_json
from hardtack.core.errors import HardtackError, MountpointError
from hardtack.core.units import format_count, format_duration, format_size


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
