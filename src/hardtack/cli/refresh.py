"""`hardtack refresh`."""

from __future__ import annotations

from typing import Any

import click

from hardtack.cli.opened import opened
from hardtack.cli.options import CACHE, SOURCE, using
from hardtack.cli.output import json_option, print_json


@click.command()
@click.argument("source")
@using(SOURCE, CACHE)
@json_option
def refresh(source: str, as_json: bool, **values: Any) -> None:
    """List SOURCE now, instead of at the end of --refresh-interval.

    A running mount does it, and shows what is new at once if it follows the latest.
    """
    with opened(source, values, "hardtack refresh") as cache:
        result = cache.refresh()
    if as_json:
        print_json(result)
        return
    if result.frozen:
        click.echo(
            f"generation {result.generation} is frozen: {source} wasn't listed. "
            "Mount it with --follow latest to see what is new."
        )
        return
    click.echo(f"generation {result.generation}: {result.added} new, {result.removed} gone")
    for skipped in result.skipped:
        click.echo(f"hardtack: {skipped.key!r} is left out: {skipped.reason}", err=True)
