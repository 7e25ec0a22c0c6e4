"""`hardtack version`."""

from __future__ import annotations

import platform

import click

from hardtack import __version__
from hardtack.cli.output import json_option, print_json


@click.command()
@json_option
def version(as_json: bool) -> None:
    """The version of hardtack, of Python and of the kernel."""
    facts = {
        "hardtack": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
    }
    if as_json:
        print_json(facts)
    else:
        click.echo(" ".join(f"{name} {value}" for name, value in facts.items()))
