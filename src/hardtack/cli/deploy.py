"""`hardtack deploy`: what a deployment is made of, and what it needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from hardtack.cli.deploy_requirements import requirements
from hardtack.cli.options import Existing
from hardtack.cli.output import json_option, print_json, print_table

_FILE = Existing(directories=False)
_DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.group()
def deploy() -> None:
    """What a deployment is made of, and what it needs."""


deploy.add_command(requirements)


@deploy.command()
@click.option(
    "--values", "values", type=_FILE, multiple=True, help="Values of the chart. Again for more."
)
@click.option("--namespace", "-n", default="edge", show_default=True)
@click.option(
    "--kubernetes", default="1.28", show_default=True, metavar="VERSION",
    help="Render for this version; what is for an old one runs on newer ones.",
)  # fmt: skip
@click.option("--chart", type=_DIRECTORY, help="Another chart than hardtack's own.")
@click.option(
    "-o", "--output", type=_DIRECTORY,
    help="Write a file for each template here, in place of all to standard output.",
)  # fmt: skip
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when --output isn't so.")
def render(
    values: tuple[Path, ...], namespace: str, kubernetes: str, chart: Path | None,
    output: Path | None, check: bool,
) -> None:  # fmt: skip
    """The chart as plain manifests, for a box without Helm. Needs Helm here."""
    from hardtack.deploy import render as rendering
    from hardtack.manifests import helm_render

    if check and output is None:
        raise click.UsageError("--check needs --output DIR, the directory to compare with.")
    files = rendering.render(
        helm_render.program(os.environ), chart or rendering.chart(), values,
        namespace=namespace, kubernetes=kubernetes,
    )  # fmt: skip
    if output is None:
        click.echo(rendering.one_text(files), nl=False)
    elif check:
        if stale := rendering.differing(output, files):
            names = ", ".join(stale)
            click.echo(f"{output}: not as rendered: {names}; leave out --check", err=True)
            sys.exit(1)
    else:
        changed = rendering.write(output, files)
        click.echo(f"{output}: {len(files)} files, {len(changed)} changed", err=True)


@deploy.command("import-values")
@click.argument("file", type=_FILE)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
              help="Write the values here, and the table to standard output.")  # fmt: skip
@json_option
def import_values(file: Path, output: Path | None, as_json: bool) -> None:
    """Values of a groundlight/edge-endpoint installation, as values of this chart.

    Says what was kept, renamed, changed and dropped, and why.
    """
    import yaml

    from hardtack.core.files import write_atomically
    from hardtack.deploy import edge_values
    from hardtack.deploy.valuefiles import read_values

    values, rows = edge_values.convert(read_values([file]))
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    if output is not None:
        write_atomically(output, text.encode(), mode=0o600)  # there may be a token in it
    if as_json:
        print_json({"values": values, "rows": rows})
        return
    if output is None:
        click.echo(text, nl=False)
    table = [(r.value, r.outcome.value, r.now if r.now != r.value else "", r.why) for r in rows]
    print_table(("value", "is", "now", "why"), table, err=output is None)
