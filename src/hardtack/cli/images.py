"""`hardtack images`: from what a deployment names to a box that has it, with proof."""

from __future__ import annotations

import click

from hardtack.cli.lazy import LazyGroup

COMMANDS = {
    "scan": ("hardtack.cli.images_scan", "scan", "Every image that files name, and how."),
    "lock": ("hardtack.cli.images_scan", "lock", "Write images.lock: each image by digest."),
    "pull": ("hardtack.cli.images_pull", "pull", "Pull what images.lock names into bundles."),
    "install": ("hardtack.cli.images_box", "install", "Put bundles where k3s loads them."),
    "audit": ("hardtack.cli.images_box", "audit", "Is each locked image on this box, whole?"),
    "prune": ("hardtack.cli.images_box", "prune", "Remove bundles that aren't locked any more."),
    "extract": ("hardtack.cli.images_box", "extract", "Take files out of an image."),
    "dockerfile": (
        "hardtack.cli.images_dockerfile",
        "dockerfile",
        "Write the preloader stage into Dockerfiles.",
    ),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def images() -> None:
    """Container images: scan, lock, pull, install, audit."""
