"""`hardtack hold`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from hardtack.cli.options import DURATION
from hardtack.core.errors import FileError, MountUnhealthy


@click.command()
@click.argument("socket", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--grace", type=DURATION, default="10m", show_default=True,
    help="Unmount what no keeper has taken over for so long.",
)  # fmt: skip
@click.option(
    "--check", is_flag=True, help="Ask the one that listens at SOCKET; exit 0 if it does."
)
@click.pass_context
def hold(ctx: click.Context, /, socket: Path, grace: float, *, check: bool) -> None:
    """Keep mounts while the processes that serve them are replaced; listens at SOCKET.

    Readers of open files wait meanwhile, and go on. Mounts say --hold SOCKET.
    """
    from hardtack.mount import hold as holding

    if check:
        try:
            holding.ask(str(socket), {"do": "take"})
        except OSError as problem:
            raise MountUnhealthy(
                f"No hold answers at {socket}: {problem.strerror or problem}.",
                remedy="Start it: hardtack hold SOCKET",
            ) from None
        return
    try:
        socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as problem:
        raise FileError(
            f"The directory of the socket {socket} can't be made: {problem.strerror}.",
            remedy="Name another place.",
        ) from None
    if socket.exists() and not socket.is_socket():
        raise FileError(
            f"{socket} is there, and is no socket.",
            remedy="Name another place: what listens there would take its place.",
        )
    root = ctx.find_root().params
    how = [str(socket), str(grace), root["log_level"], root["log_format"]]
    command = [sys.executable, "-P", "-m", "hardtack.mount.hold", *how]
    os.execv(command[0], command)
