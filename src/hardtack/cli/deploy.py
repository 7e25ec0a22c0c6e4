"""`hardtack deploy`: what a deployment is made of, and what it needs."""

from __future__ import annotations

import click

from hardtack.cli.deploy_requirements import requirements


@click.group()
def deploy() -> None:
    """What a deployment is made of, and what it needs."""


deploy.add_command(requirements)
