"""`hardtack config`, `completion`."""

from __future__ import annotations

import os
import re
from typing import Any

import click
from click.core import ParameterSource

from hardtack.cli.config import Settings
from hardtack.cli.options import CACHE, MOUNT, SETTING_GROUPS, SOURCE, parameters, using
from hardtack.cli.output import json_option, print_json, print_table


@click.group()
def config() -> None:
    """Where each setting comes from."""


@config.command()
@using(SOURCE, CACHE, MOUNT)
@json_option
@click.pass_context
def show(ctx: click.Context, /, as_json: bool, **values: Any) -> None:
    """Every setting: its value, and whether a flag, the environment or a file gave it."""
    settings: Settings = ctx.obj
    ctx_file = str(settings.path) if settings.path else "no hardtack.toml"
    rows = []
    for group, decorators in SETTING_GROUPS.items():
        for parameter in parameters(decorators):
            name = str(parameter.name)
            value = values[name]
            if name in ("proxy", "endpoint_url") and value:
                value = _without_password(value)
            if name in ("file_mode", "dir_mode"):
                value = f"{value:o}"  # as it is written
            rows.append((group, name, value, _origin(ctx, parameter, ctx_file)))
    if as_json:
        print_json(
            [dict(zip(("table", "name", "value", "from"), row, strict=True)) for row in rows]
        )
    else:
        shown = ((t, n, "" if v is None else v, o) for t, n, v, o in rows)
        print_table(("table", "setting", "value", "from"), shown)


def _without_password(url: str) -> str:
    """`url`, without the user and password that it may hold, be they well written or not."""
    return re.sub(r"^(\w+://)?.*@", r"\1…@", url)


def _origin(ctx: click.Context, parameter: click.Option, file: str) -> str:
    source = ctx.get_parameter_source(str(parameter.name))
    if source is ParameterSource.COMMANDLINE:
        return f"flag {parameter.opts[0]}"
    if source is ParameterSource.ENVIRONMENT:
        names = parameter.envvar if isinstance(parameter.envvar, list) else []
        return f"environment {next((n for n in names if os.environ.get(n)), '')}".rstrip()
    return file if source is ParameterSource.DEFAULT_MAP else "default"


SCRIPTS = {
    "bash": 'eval "$(_HARDTACK_COMPLETE=bash_source hardtack)"',
    "zsh": 'eval "$(_HARDTACK_COMPLETE=zsh_source hardtack)"',
    "fish": "_HARDTACK_COMPLETE=fish_source hardtack | source",
}


@click.command()
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def completion(shell: str) -> None:
    """Print the line that turns completion on; put it into the shell's start-up file."""
    click.echo(SCRIPTS[shell])
