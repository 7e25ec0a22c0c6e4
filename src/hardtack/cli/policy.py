"""`hardtack policy`: does anything in a deployment reach for the network?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hardtack.cli.images_options import VALUES
from hardtack.cli.options import Existing
from hardtack.cli.output import json_option, print_json, print_lines, print_table
from hardtack.core.typos import meant
from hardtack.manifests.place import Severity
from hardtack.policy import check as checking
from hardtack.policy.config import Config, read_config
from hardtack.policy.docs import explain as explained
from hardtack.policy.fix import fix as fixed
from hardtack.policy.report import FORMATS
from hardtack.policy.rules import BY_ID, RULES

CONFIG = Path("policy.toml")
LOCK = Path("images.lock")
_FILE = Existing(directories=False)


@click.group()
def policy() -> None:
    """Does anything in a deployment reach for the network?"""


@policy.command()
@click.argument("paths", nargs=-1, required=True, type=Existing())
@click.option(
    "--config", "config_file", type=_FILE, help="Default: policy.toml, where there is one."
)
@click.option("--lock", "lock_file", type=_FILE, help="Default: images.lock, where there is one.")
@VALUES
@click.option(
    "--format", "form", type=click.Choice(list(FORMATS)), default="text", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--strict", is_flag=True, help="Exit 1 for warnings too.")
@click.option("--fix", is_flag=True, help="Make the safe fixes; report what is left.")
def check(
    paths: tuple[Path, ...],
    config_file: Path | None,
    lock_file: Path | None,
    values_files: tuple[Path, ...],
    form: str,
    *,
    as_json: bool,
    strict: bool,
    fix: bool,
) -> None:
    """Every line under PATHS that breaks a rule; exit 1 when one is an error."""
    config_file = config_file or (CONFIG if CONFIG.is_file() else None)
    lock_file = lock_file or (LOCK if LOCK.is_file() else None)
    config = read_config(config_file, frozenset(BY_ID)) if config_file else Config()
    report = checking.check(paths, config, lock=lock_file, values=values_files)
    if fix:
        for file, lines in fixed(report.findings).items():
            click.echo(f"{file}: {lines} line{'s' if lines != 1 else ''} fixed", err=True)
        report = checking.check(paths, config, lock=lock_file, values=values_files)
    told = FORMATS["json" if as_json else form](report)
    if form == "text" and not as_json:
        print_lines(told)
    else:
        click.echo(told, nl=False)
    sys.exit(1 if report.failed(Severity.WARNING if strict else Severity.ERROR) else 0)


@policy.command()
@json_option
def rules(as_json: bool) -> None:
    """List the rules."""
    if as_json:
        print_json(
            [
                {"rule": r.id, "severity": r.severity, "title": r.title, "fix": bool(r.fix)}
                for r in RULES
            ]
        )
        return
    print_table(
        ("rule", "severity", "fix", "what it finds"),
        [(rule.id, rule.severity, "yes" if rule.fix else "", rule.title) for rule in RULES],
    )


@policy.command()
@click.argument("rule")
def explain(rule: str) -> None:
    """What RULE means, how it looks wrong and right."""
    if rule not in BY_ID:
        hint = meant(rule, BY_ID) or "`hardtack policy rules` lists them."
        raise click.BadParameter(f"there is no rule {rule!r}. {hint}", param_hint="RULE")
    click.echo(explained(BY_ID[rule], level=1), nl=False)
