"""`hardtack deploy requirements`: every host and port that a deployment uses."""

from __future__ import annotations

from pathlib import Path

import click

from hardtack.cli.output import json_option, plain, print_json, print_table

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--values", "values_files", type=FILE, multiple=True, metavar="FILE",
    help="Values of the chart; later files go before earlier ones. Default: the chart's own.",
)  # fmt: skip
@click.option("--lock", "lock_file", type=FILE, help="images.lock: the registries of its images.")
@click.option(
    "--when", type=click.Choice(["build", "first boot", "run time", "upgrade"]),
    help="Only what is used then.",
)  # fmt: skip
@click.option(
    "--cluster", is_flag=True, help="k3s has several nodes. Default: where the values say so."
)
@click.option("--balena", is_flag=True, help="The box is managed by Balena.")
@click.option("--proxy", default="", metavar="URL", help="The site's proxy. Default: the values'.")
@json_option
def requirements(
    values_files: tuple[Path, ...], lock_file: Path | None, when: str | None, cluster: bool,
    balena: bool, proxy: str, as_json: bool,
) -> None:  # fmt: skip
    """Every host, port and purpose, when it is used, and what goes on without it.

    Made from values and lock; asks nobody.
    """
    import dataclasses

    from hardtack.deploy import requirements as made
    from hardtack.deploy.valuefiles import read_values, values_in_force
    from hardtack.deploy.valuenames import refuse_unknown

    refuse_unknown(read_values(values_files))
    settings = made.settings_of(values_in_force(values_files), _registries(lock_file))
    settings = dataclasses.replace(
        settings,
        cluster=cluster or settings.cluster,
        proxy=proxy or settings.proxy,
        balena=balena or settings.balena,
    )
    found = [r for r in made.requirements(settings) if when is None or made.When(when) in r.when]
    never = made.not_at_run_time(settings)
    if as_json:
        print_json(
            {
                "requirements": [plain(r) | {"transport": r.transport} for r in found],
                "not_at_run_time": [{"who": who, "why": why} for who, why in never],
            }
        )
        return
    print_table(
        ("direction", "host", "port", "protocol", "when", "purpose", "without it"),
        (
            (
                r.direction, r.host, r.port, r.protocol, ", ".join(r.when),
                r.purpose + (f" (only if {r.only_if})" if r.only_if else ""), r.without,
            )
            for r in found
        ),
    )  # fmt: skip
    if when in (None, "run time"):
        click.echo("\nNot at run time:")
        for who, why in never:
            click.echo(f"  {who}: {why}")


def _registries(lock_file: Path | None) -> list[str]:
    if lock_file is None:
        return []
    from hardtack.images.lockfile import read_lock

    return sorted({image.reference.registry for image in read_lock(lock_file).images})
