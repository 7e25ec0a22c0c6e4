"""`hardtack ls`, `prefetch`, `pin`, `unpin`, `releases`, `verify`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from hardtack.cache.cache import Cache
from hardtack.cache.results import Damage
from hardtack.cli.opened import opened
from hardtack.cli.options import CACHE, SOURCE, source_options, source_url, using
from hardtack.cli.output import json_option, print_json, print_line, print_table
from hardtack.cli.progress import shown
from hardtack.core.units import format_count, format_size
from hardtack.mount.control import RemoteCache
from hardtack.source.open import open_source

source_argument = click.argument("source")


def known(cache: Cache | RemoteCache) -> Cache | RemoteCache:
    """`cache` with a listing; the first one is fetched."""
    if not cache.has_listing():
        cache.refresh()
    return cache


@click.command()
@source_argument
@click.option("--offline", is_flag=True, help="What the box knows, without asking the source.")
@using(SOURCE, CACHE)
@json_option
def ls(source: str, offline: bool, as_json: bool, **values: Any) -> None:
    """List the objects of SOURCE: size, time, ETag, key."""
    if offline:
        with opened(source, values, "hardtack ls", listed=True) as cache:
            rows = [(c.size, "", c.etag, c.path) for c in cache.contents()]
    else:
        remote = open_source(source_url(source, values["prefix"]), source_options(values))
        try:
            rows = [
                (o.size, _date(o.mtime_ns), o.etag, o.key) for page in remote.pages() for o in page
            ]
        finally:
            remote.close()
    if as_json:
        names = ("size", "modified", "etag", "key")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        for size, date, etag, key in rows:
            print_line(f"{size:>14}  {date:20}  {etag:36}  {key}")


def _date(mtime_ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(mtime_ns / 1e9))


@click.command()
@source_argument
@click.argument("patterns", nargs=-1, metavar="[GLOB]...")
@click.option("--release", help="The files of this release instead of the present ones.")
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write plain files here too: by reflink where the file system can, else as hard links of "
    "the cache's files (read-only: who writes into one changes the cache), else as copies.",
)
@using(SOURCE, CACHE)
@json_option
def prefetch(
    source: str,
    patterns: tuple[str, ...],
    release: str | None,
    to: Path | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Fetch the files of SOURCE that match any GLOB (all without one) into the cache.

    Goes on where an earlier run was interrupted. SOURCE is listed if it never was; `hardtack
    refresh` lists what was published since.
    """
    with opened(source, values, "hardtack prefetch") as cache, shown("prefetch") as progress:
        known(cache)
        if to is None:
            done = cache.prefetch(patterns, release=release, progress=progress)
        else:
            done = cache.export(patterns, to.absolute(), release=release, progress=progress)
    failures = len(done.failed)
    if as_json:
        print_json(done)
    else:
        click.echo(
            f"{format_count(done.files, 'file')}, {format_size(done.bytes)}: all there; "
            f"{format_size(done.fetched_bytes)} came over the network."
            if not done.failed
            else f"{done.files} of {format_count(done.files + failures, 'file')}; "
            f"{failures} failed."
        )
    for path, message in done.failed:
        about = "" if message.startswith(path) else f"{path}: "
        print_line(f"hardtack: {about}{message}", err=True)
    if done.failed:
        sys.exit(done.exit_code)


@click.command()
@source_argument
@click.argument("name")
@using(SOURCE, CACHE)
@json_option
def pin(source: str, name: str, as_json: bool, **values: Any) -> None:
    """Keep the present generation of SOURCE as the release NAME.

    Its files are never evicted; `mount --follow 'release NAME'` shows it for ever. `hardtack
    refresh` before it, if something was published a moment ago.
    """
    with opened(source, values, "hardtack pin") as cache:
        release = known(cache).pin(name)
    if as_json:
        print_json(release)
    else:
        click.echo(
            f"{name}: {format_count(release.files, 'file')}, {format_size(release.bytes)}, "
            f"{format_size(release.present_bytes)} of them on this box."
        )
        if release.present_bytes < release.bytes:
            click.echo(f"Fetch the rest: hardtack prefetch SOURCE --release {name}", err=True)


@click.command()
@source_argument
@click.argument("name")
@using(SOURCE, CACHE)
@json_option
def unpin(source: str, name: str, as_json: bool, **values: Any) -> None:
    """Forget the release NAME of SOURCE; its files become evictable."""
    with opened(source, values, "hardtack unpin", listed=True) as cache:
        cache.unpin(name)
    if as_json:
        print_json({"unpinned": name})
    else:
        click.echo(f"{name} is no longer kept.")


@click.command()
@source_argument
@using(SOURCE, CACHE)
@json_option
def releases(source: str, as_json: bool, **values: Any) -> None:
    """The releases of SOURCE that this box keeps, and how much of each is there."""
    with opened(source, values, "hardtack releases", listed=True) as cache:
        found = cache.releases()
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("No release is kept: hardtack pin SOURCE NAME keeps one.", err=True)
    print_table(
        ("release", "generation", "created", "files", "bytes", "on this box"),
        (
            (
                r.name, r.generation, _date(int(r.created * 1e9)), r.files,
                format_size(r.bytes), f"{100 * r.present_bytes // max(1, r.bytes)} %",
            )
            for r in found
        ),
    )  # fmt: skip


def _told(bad: Damage) -> str:
    if bad.replaced:
        return (
            "damaged, and replaced at the source since: the old bytes were taken out of the cache"
        )
    if bad.kept:
        return (
            "damaged, and replaced at the source since, so nobody can mend it; it stays for release"
            f" {bad.kept}. Put the old object back at the source and run `hardtack verify"
            " --repair`, or `hardtack unpin` the release"
        )
    mends = "`hardtack prefetch` or `hardtack verify --repair` mends it"
    if bad.missing:
        chunks = format_count(bad.missing, "chunk")
        if bad.repaired:
            return f"{chunks} had been damaged and missing: repaired"
        were = "was" if bad.missing == 1 else "were"
        return f"incomplete: {chunks} {were} damaged and missing; {mends}"
    if bad.chunk < 0:
        return "its cached content can't be read; the log says why"
    return f"chunk {bad.chunk}: " + ("repaired" if bad.repaired else f"damaged, dropped; {mends}")


@click.command()
@source_argument
@click.option("--repair", is_flag=True, help="Fetch anew what is or was damaged.")
@using(SOURCE, CACHE)
@json_option
def verify(source: str, repair: bool, as_json: bool, **values: Any) -> None:
    """Read every cached byte of SOURCE and check it. Exit 1 when damage remains."""
    with opened(source, values, "hardtack verify", listed=True) as cache:
        with shown("verify") as progress:
            result = cache.verify(repair=repair, progress=progress)
    if as_json:
        print_json(result)
    else:
        click.echo(
            f"{format_count(result.files, 'file')}, {format_size(result.bytes)} read and checked."
        )
        for bad in result.bad:
            print_line(f"{bad.path}: {_told(bad)}")
    if any(not (bad.repaired or bad.replaced) for bad in result.bad):
        sys.exit(1)
