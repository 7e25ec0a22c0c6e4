"""Groups whose commands are imported when they are called, so that each command starts fast."""

from __future__ import annotations

import contextlib
import gc
import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from hardtack.cli.examples import show

Table = Mapping[str, tuple[str, str, str]]
"""Name → module, object in it, and the line that `--help` of the group shows."""


class LazyGroup(click.Group):
    """A group of the commands in `table`; their help lines are known before they are imported.

    `sections`: heading → names, where `--help` is to list them in parts.
    """

    def __init__(
        self,
        *arguments: Any,
        table: Table,
        sections: Mapping[str, Sequence[str]] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(*arguments, **settings)
        self._table = table
        self._sections = sections or {"Commands": list(table)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._table:
            return None
        module, name, _ = self._table[cmd_name]
        with uncollected():
            command: click.Command = getattr(importlib.import_module(module), name)
        if not command.epilog:
            show(command, " ".join([*ctx.command_path.split()[1:], cmd_name]))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self._table))
        for heading, names in self._sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), self._table[name][2]) for name in names])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from hardtack.core.typos import meant  # late, as commands are

            hint = meant(args[0], self._table)
            raise click.UsageError(f"{error.message} {hint}".rstrip(), ctx) from None


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without looking for garbage: what imports make stays, and there is much of it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
