"""`hardtack demo`."""

from __future__ import annotations

import click

from hardtack.cli.output import json_option, print_json, print_table
from hardtack.core.units import format_duration, format_size
from hardtack.demo import story


@click.command()
@click.option("--keep", is_flag=True, help="Leave the mount and its server running.")
@json_option
def demo(keep: bool, as_json: bool) -> None:
    """The whole story on one machine: no account, no network.

    Real model weights in a bucket on loopback, mounted; text read in a picture; the network cut; a
    reboot; the same answers.
    """

    def report(step: story.Step) -> None:
        click.echo(f"  {step.what} … {format_duration(step.seconds)}", err=True)

    outcome = story.tell(keep, report)
    if as_json:
        print_json(story.as_json(outcome))
        return
    print_table(
        ("step", "network", "time", "result"),
        (
            (s.what, "up" if s.online else "cut", format_duration(s.seconds), s.result)
            for s in outcome.steps
        ),
    )
    click.echo()
    click.echo(
        f"{format_size(outcome.wire_bytes)} came over the wire for "
        f"{format_size(outcome.weights_bytes)} of weights; "
        f"{format_size(outcome.read_bytes)} were read."
    )
    click.echo("With the network cut: mounted, listed, read, answered, and outlived a crash.")
    if outcome.kept:
        point, directory = outcome.kept["mountpoint"], outcome.kept["directory"]
        click.echo(
            f"\nLook at it, offline as it is:   ls -lR {point}   |   hardtack status {point}"
        )
        click.echo(f"End it:       hardtack unmount {point}; rm -r {directory}")
