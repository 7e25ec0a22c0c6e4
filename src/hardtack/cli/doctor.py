"""`hardtack doctor`: what is wrong with this machine, and the remedy."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from hardtack.cli.box import ROOT
from hardtack.cli.caches import caches_of
from hardtack.cli.deploy_requirements import FILE
from hardtack.cli.extras import needs_extra
from hardtack.cli.images_options import SOCKET
from hardtack.cli.options import (
    PAUSE,
    SOURCE,
    option,
    source_options,
    source_url,
    using,
)
from hardtack.cli.output import json_option, print_json, print_table
from hardtack.core.units import format_count

PLACES = [
    option("--cache", "cache_directory", env=("CACHE_PATH",), metavar="DIR",
           type=click.Path(file_okay=False, path_type=Path), help="The cache directory."),
]  # fmt: skip


@click.command()
@click.argument("source", required=False)
@click.option("--values", "values_files", type=FILE, multiple=True, metavar="FILE",
              help="The chart's values: whom the deployment talks to. Again for each.")  # fmt: skip
@click.option("--lock", "lock_file", type=FILE, help="images.lock: the registries of its images.")
@click.option("--offline", is_flag=True, help="Try no host.")
@click.option("--build", is_flag=True, help="Try what the machine that builds needs, too.")
@click.option("--timeout", type=PAUSE, default="5s", show_default=True,
              help="For each host; all are tried at once.")  # fmt: skip
@SOCKET
@ROOT
@using(PLACES, SOURCE)
@json_option
def doctor(
    source: str | None, values_files: tuple[Path, ...], lock_file: Path | None, as_json: bool,
    **values: Any,
) -> None:  # fmt: skip
    """What is wrong with this machine for what hardtack does on it, each with its remedy.

    SOURCE is that of the weights; default: S3_BUCKET. Tried are the hosts that SOURCE, --values and
    --lock name, and no others. Exit 1 when there is a problem.
    """
    needs_extra("images", "yaml")
    from hardtack.deploy.doctor.finding import State
    from hardtack.deploy.doctor.reach import Way
    from hardtack.deploy.doctor.run import Patient, examine
    from hardtack.deploy.valuefiles import read_values, values_in_force
    from hardtack.deploy.valuenames import refuse_unknown
    from hardtack.images.containerd import find_socket
    from hardtack.source.open import is_store

    # The resolver's own bound, else half a minute and more for each name.
    os.environ.setdefault("RES_OPTIONS", f"timeout:{max(1, round(values['timeout']))} attempts:1")
    named = source or os.environ.get("S3_BUCKET")
    url = source_url(named, values["prefix"]) if named else None
    refuse_unknown(read_values(values_files))
    chart = values_in_force(values_files) if values_files else {}
    requirements = None
    bucket = url if url and is_store(url) else None
    named_one = bool(values_files or lock_file or values["build"] or bucket)
    if not values["offline"] and named_one:
        requirements = _requirements(bucket, chart, lock_file, values)
    findings = examine(
        Patient(
            root=values["root"],
            directories=_caches(url, chart, values),
            socket=values["socket"] or find_socket(),
            source=(url, source_options(values)) if url else None,
            requirements=requirements,
            way=Way(values["timeout"], values["proxy"] or "", values["ca_bundle"] or ""),
            build=values["build"],
        )
    )
    problems = sum(finding.state is State.PROBLEM for finding in findings)
    if as_json:
        print_json({"problems": problems, "findings": findings})
    else:
        print_table(("check", "state", "found"), ((f.check, f.state, f.found) for f in findings))
        for finding in findings:
            if finding.remedy:
                click.echo(f"  {finding.check}: {finding.remedy}", err=True)
        if not (values["offline"] or named_one or url):
            click.echo(
                "No host was tried: nothing names one. Give SOURCE, --values or --lock.", err=True
            )
        click.echo(f"{format_count(problems, 'problem')}." if problems else "No problem.")
    sys.exit(1 if problems else 0)


def _caches(url: str | None, chart: Mapping[str, Any], values: dict[str, Any]) -> tuple[Path, ...]:
    """The directories of the weights: as named, as the chart's values say, or of the mounts."""
    if values["cache_directory"] is None and chart:
        from hardtack.deploy.valuefiles import text

        mount = text(chart, "s3Mount.mountPath")
        place = text(chart, "s3Mount.cachePath") or (f"{mount}-cache" if mount else "")
        return (values["root"] / place.lstrip("/"),) if place else ()
    return caches_of(values["cache_directory"], url, values["root"])


def _requirements(
    url: str | None, chart: Mapping[str, Any], lock_file: Path | None, values: dict[str, Any]
) -> Any:
    """Whom this deployment talks to: as its values and lock say, and the source that was named."""
    from hardtack.deploy import requirements as made
    from hardtack.images.lockfile import read_lock
    from hardtack.source.open import dialect_of

    locked = read_lock(lock_file).images if lock_file else ()
    settings = made.settings_of(chart, sorted({image.reference.registry for image in locked}))
    settings = dataclasses.replace(settings, proxy=values["proxy"] or settings.proxy)
    if url and not url.startswith("s3://"):
        reached = dialect_of(url, dataclasses.replace(source_options(values), unsigned=True))
        settings = dataclasses.replace(
            settings, bucket=reached.bucket, endpoint_url=reached.host().url
        )
    elif url:
        bucket = url.removeprefix("s3://").partition("/")[0]
        region = values["region"] or settings.bucket_region
        settings = dataclasses.replace(
            settings, bucket=bucket, bucket_region=region, region=region,
            endpoint_url=values["endpoint_url"] or settings.endpoint_url,
        )  # fmt: skip
    return made.requirements(settings)
