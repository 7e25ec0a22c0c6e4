"""`hardtack box prepare`, `box clock`: makes a box come up alone."""

from __future__ import annotations

import ipaddress
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

from hardtack.cli.extras import needs_extra
from hardtack.cli.images_options import PLATFORM, TO, platform_of
from hardtack.cli.options import PAUSE, Existing, Parsed, option, using
from hardtack.cli.output import json_option, print_json
from hardtack.core.errors import BoxError, ConfigError
from hardtack.core.units import format_count
from hardtack.deploy.facts.read import KEPT
from hardtack.deploy.prepare import clock as clocks
from hardtack.deploy.prepare import run
from hardtack.deploy.prepare.step import Target
from hardtack.endpoint.backends.telling import FLAVORS

DIRECTORY = click.Path(path_type=Path, file_okay=False)
EXISTING = Existing(files=False)
STEP = click.Choice(run.NAMES)
ROOT = option(
    "--root", type=EXISTING, metavar="DIR", default="/", show_default=True,
    help="Where the box's file system is; in a container, /host-root.",
)  # fmt: skip


def _address(text: str) -> str:
    """An IPv4 address that a node can have. Raises ConfigError."""
    try:
        found = ipaddress.IPv4Address(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no IPv4 address; write it like 192.168.1.7.") from None
    if found.is_loopback or found.is_multicast or found.is_unspecified:
        raise ConfigError(f"No node can have the address {found}.")
    return str(found)


WANTED = [
    option(
        "--images", type=DIRECTORY, default="/usr/share/hardtack/images", show_default=True,
        help="Bundles to install, where this directory is there.",
    ),
    option(
        "--manifests", type=DIRECTORY, default="/usr/share/hardtack/manifests", show_default=True,
        help="Manifests for k3s to apply, where this directory is there.",
    ),
    option("--flavor", type=click.Choice(FLAVORS), env=("INFERENCE_FLAVOR",),
           help="Default: what the hardware says."),
    option("--node-address", type=Parsed("address", _address), metavar="IP",
           help="The node's address for good. Default: what it is."),
]  # fmt: skip


@click.group()
def box() -> None:
    """Make this box come up alone, and keep its time."""


@box.command()
@using(WANTED)
@TO
@PLATFORM
@ROOT
@click.option("--only", multiple=True, type=STEP, help="This step alone. Again for each.")
@click.option("--without", multiple=True, type=STEP, help="Leave a step out. Again for each.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; touch nothing.")
@click.option("--undo", is_flag=True, help="Take back what can be taken back.")
@click.option("--yes", "-y", is_flag=True, help="Don't ask. Only on a terminal anybody is asked.")
@json_option
def prepare(
    only: tuple[str, ...],
    without: tuple[str, ...],
    dry_run: bool,
    undo: bool,
    yes: bool,
    **values: Any,
) -> None:
    """Do what this box needs to come up with no network, before k3s starts.

    Each step looks first and does only what is due, so that it can be run at each start. The first
    that fails ends it. On a terminal it says what is due, and asks.
    """
    needs_extra("images", "yaml")
    target = Target(
        root=values["root"].absolute(),
        images=values["images"],
        manifests=values["manifests"],
        flavor=values["flavor"],
        node_address=values["node_address"],
        images_to=_to(values),
        platform=platform_of(values["platform"]),
        command=_command(only, without, values),
    )

    _tell_what_is_not_there(values)

    def tell(step: str, change: str) -> None:
        click.echo(f"{step}: {change}", err=values["as_json"])

    steps = run.chosen(only, without)
    perform = run.undo if undo else run.prepare
    if not (dry_run or yes) and sys.stdin.isatty() and sys.stderr.isatty():
        due = perform(target, steps, dry_run=True, tell=tell)
        _demand_seen(due)
        if any(step.changes for step in due) and not click.confirm(
            "Make these changes to this box?", err=True
        ):
            click.echo("Nothing was changed.", err=True)
            sys.exit(1)
    done = perform(target, steps, dry_run=dry_run, tell=tell)
    count = sum(len(one.changes) for one in done)
    if values["as_json"]:
        print_json({"dry_run": dry_run, "changes": count, "steps": done})
        _demand_seen(done)
        return
    for step in steps:
        if undo and isinstance(step.undo, str):
            click.echo(f"{step.name} {step.undo}.", err=True)
    _demand_seen(done)
    what = "to be done" if dry_run else "done"
    touched = sum(bool(one.changes) for one in done)
    click.echo(
        f"{format_count(count, 'change')} {what} in {format_count(touched, 'step')}."
        if count else "Nothing to do."
    )  # fmt: skip


def _tell_what_is_not_there(values: dict[str, Any]) -> None:
    """Of a directory that was named, and isn't there, nothing is installed: at a start that is no
    reason to leave the rest undone."""
    source = click.get_current_context().get_parameter_source
    for name in ("images", "manifests"):
        if source(name) is not click.core.ParameterSource.DEFAULT and not values[name].is_dir():
            said = f"there is no directory {values[name]}: no {name} are installed from it"
            click.echo(f"hardtack: --{name}: {said}.", err=True)


def _demand_seen(done: list[run.Done]) -> None:
    """Raises BoxError where a dry run couldn't look into every step."""
    unseen: dict[str, list[run.Done]] = {}
    for one in done:
        if one.unseen:
            unseen.setdefault(one.unseen.rstrip("."), []).append(one)
    if unseen:
        first = next(iter(unseen.values()))[0]
        raise BoxError(
            "What these steps would do can't be said: " + "; ".join(
                f"{', '.join(one.step for one in steps)} ({why})" for why, steps in unseen.items()
            ) + ".",
            remedy=first.remedy,
        )  # fmt: skip


def _to(values: dict[str, Any]) -> Path:
    """k3s's directory below --root, where none is named."""
    source = click.get_current_context().get_parameter_source("to")
    given: Path = values["to"]
    default = source is click.core.ParameterSource.DEFAULT
    return values["root"].absolute() / str(given).lstrip("/") if default else given


def _command(only: tuple[str, ...], without: tuple[str, ...], values: dict[str, Any]
             ) -> tuple[str, ...]:  # fmt: skip
    """This command, to be run at each start: with the options that were given, by full path."""
    program = Path(sys.argv[0])
    whole = program if program.name == "hardtack" else Path(shutil.which("hardtack") or "")
    words = [str(whole.absolute())] if whole.name == "hardtack" else _python()
    words += ["box", "prepare"]
    given = click.get_current_context().get_parameter_source
    for name in ("images", "manifests", "flavor", "node_address", "to", "platform"):
        source = given(name)
        if values[name] is not None and source is not click.core.ParameterSource.DEFAULT:
            words += [f"--{name.replace('_', '-')}", str(values[name])]
    for step in only:
        words += ["--only", step]
    for step in without:
        words += ["--without", step]
    return tuple(words)


def _python() -> list[str]:
    return [sys.executable, "-m", "hardtack"]


@box.command()
@click.option("--watch", is_flag=True, help="Go on until ended, every --every.")
@click.option("--every", type=PAUSE, default="10m", show_default=True)
@ROOT
def clock(watch: bool, every: float, root: Path) -> None:
    """Note the time, so that a box without a battery starts no earlier.

    `box prepare` sets a clock that is behind the noted time. A later time that is noted stays.
    """
    while True:
        path = root / KEPT
        if clocks.note(root, time.time()):
            click.echo(f"Noted in {path}.", err=True)
        else:
            click.echo(f"{path} holds a later time than the clock's; it stays.", err=True)
        if not watch:
            return
        time.sleep(every)
