"""`hardtack cache list`, `size`, `evict`."""

from __future__ import annotations

import time
from typing import Any

import click

from hardtack.cli.opened import opened
from hardtack.cli.options import CACHE, SOURCE, using
from hardtack.cli.output import json_option, print_facts, print_json, print_table
from hardtack.core.units import format_count, format_size

source_argument = click.argument("source")


@click.group()
def cache() -> None:
    """List, measure and evict cached objects."""


@cache.command("list")
@source_argument
@using(SOURCE, CACHE)
@json_option
def list_(source: str, as_json: bool, **values: Any) -> None:
    """Every cached object of SOURCE: how much of it is there, whether pinned, when last used."""
    with opened(source, values, "hardtack cache list", listed=True) as opened_cache:
        found = opened_cache.contents()
    if as_json:
        print_json(found)
        return
    print_table(
        ("size", "present", "kept by a release", "last used", "path"),
        (
            (
                format_size(c.size), f"{100 * c.present // max(1, c.size) if c.size else 100} %",
                "yes" if c.pinned else "",
                time.strftime("%Y-%m-%d %H:%M", time.localtime(c.used)), c.path or c.key,
            )
            for c in found
        ),
    )  # fmt: skip


@cache.command()
@source_argument
@using(SOURCE, CACHE)
@json_option
def size(source: str, as_json: bool, **values: Any) -> None:
    """How much the cache of SOURCE holds, may hold, and what the disk has left."""
    with opened(source, values, "hardtack cache size", listed=True) as opened_cache:
        usage = opened_cache.usage()
    if as_json:
        print_json(usage)
        return
    limit = "none" if usage.limit is None else format_size(usage.limit)
    print_facts(
        [
            ("files", usage.files),
            ("held", format_size(usage.present)),
            ("limit", limit),
            ("free on the disk", f"{format_size(usage.free)} of {format_size(usage.total)}"),
        ]
    )


@cache.command()
@source_argument
@click.argument("patterns", nargs=-1, required=True, metavar="GLOB...")
@using(SOURCE, CACHE)
@json_option
def evict(source: str, patterns: tuple[str, ...], as_json: bool, **values: Any) -> None:
    """Remove the cached bytes of SOURCE's files that match any GLOB.

    Open files and those of a release stay.
    """
    with opened(source, values, "hardtack cache evict", listed=True) as opened_cache:
        done = opened_cache.evict(patterns)
    if as_json:
        print_json(done)
    else:
        kept = f"; {done.kept} kept, open or pinned" if done.kept else ""
        click.echo(f"{format_count(done.files, 'file')}, {format_size(done.bytes)} removed{kept}.")
