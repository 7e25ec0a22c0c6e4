"""`hardtack demo`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hardtack.cli.extras import needs_demo
from hardtack.cli.output import json_option, print_json, print_table
from hardtack.core.units import format_duration, format_size

if TYPE_CHECKING:
    from hardtack.demo import story


@click.command()
@click.option("--keep", is_flag=True, help="Leave the mount and the endpoint running, offline.")
@json_option
def demo(keep: bool, as_json: bool) -> None:
    """The whole story on one machine: no account, no network.

    Real model weights in a bucket on loopback, mounted; nine detectors that answer the Groundlight
    SDK's image queries from them; the network cut; a reboot; the same answers.
    """

    needs_demo()
    from hardtack.demo import leftovers, story

    for directory in leftovers.clear():
        click.echo(f"  cleared what a demo that was killed had left: {directory}", err=True)

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
    print_table(
        ("detector", "what it is asked", "its answer, with no network", "confidence", "from_edge"),
        (
            (a.detector, a.question, a.said, f"{a.confidence:.2f}", str(a.from_edge).lower())
            for a in outcome.answers
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
        _tell_kept(outcome.kept)


def _tell_kept(kept: dict[str, str]) -> None:
    point, url = kept["mountpoint"], kept["endpoint"]
    click.echo(f"\nLook at it, offline as it is:   ls -lR {point}   |   hardtack status {point}")
    click.echo(f"Ask it:       curl {url}/device-api/v1/detectors")
    click.echo(
        f"End it:       kill {kept['endpoint_pid']}; "
        f"hardtack unmount {point}; rm -r {kept['directory']}"
    )
