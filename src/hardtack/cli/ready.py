"""`hardtack ready`: would this box come up with the cable pulled?"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from hardtack.cli.caches import caches_of
from hardtack.cli.extras import needs_extra
from hardtack.cli.images_options import (
    LOCK,
    PLATFORM,
    REGISTRY,
    SOCKET,
    TO,
    platform_of,
    registry_of,
)
from hardtack.cli.options import (
    CACHE,
    DURATION,
    PAUSE,
    RATE,
    SOURCE,
    Existing,
    option,
    source_url,
    using,
)
from hardtack.cli.output import json_option, plain, print_json, print_table
from hardtack.cli.progress import shown
from hardtack.core.units import format_duration, format_size
from hardtack.deploy.ready.checks import Check, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from hardtack.cache.cache import Cache
    from hardtack.core.errors import HardtackError
    from hardtack.deploy.ready.check import Box
    from hardtack.deploy.ready.report import Report, Row
    from hardtack.mount.control import RemoteCache

FILE = click.Path(dir_okay=False, path_type=Path)
LEFT_OUT = [each.value for each in (*Part, *Check)]
_HOUR = 3600.0
_NAMED = 3
"""Rows that a remedy of many names."""
DEPLOYED = [
    option(
        "--deployment", type=click.Path(path_type=Path), multiple=True, metavar="PATH",
        default=[Path("/var/lib/rancher/k3s/server/manifests")], show_default=True,
        help="Manifests, charts: who names images, and their pull policy. Again for each.",
    ),
    option(
        "--values", "values_files", type=FILE, multiple=True, metavar="FILE",
        help="Values set over those of the charts in --deployment. Again for more.",
    ),
    option(
        "--models", default="models", show_default=True, metavar="DIR",
        help="The directory of SOURCE that holds <detector id>/primary/<version>.",
    ),
    option(
        "--also", multiple=True, metavar="GLOB",
        help="Further files of SOURCE that must be there. Again for each.",
    ),
    option("--detectors", type=FILE, help="The endpoint's file of detectors."),
    option("--edge-config", type=FILE, help="The edge configuration that the endpoint is given."),
    option(
        "--state", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
        default="/var/lib/hardtack/endpoint", show_default=True, help="The endpoint's own files.",
    ),
    option("--tls-cert", type=FILE, help="The endpoint's certificate. Default: its own."),
    option("--tls-key", type=FILE, help="The key of --tls-cert."),
    option(
        "--root", type=Existing(files=False), metavar="DIR", default="/",
        show_default=True, help="Where the box's file system is; in a container, /host-root.",
    ),
]  # fmt: skip


@click.command()
@click.argument("source", required=False)
@LOCK
@using(DEPLOYED)
@TO
@SOCKET
@PLATFORM
@click.option("--horizon", type=DURATION, default="30d", show_default=True,
              help="Nothing may expire before, unless it is renewed with no network.")  # fmt: skip
@click.option("--without", multiple=True, type=click.Choice(LEFT_OUT), metavar="PART|CHECK",
              help="Leave a part out of the proof, or one check: docs/ready-checks.md. Again for "
              "each.")  # fmt: skip
@click.option("--rate", type=RATE, metavar="BYTES",
              help="What comes in a second. Default: as --fetch measured it last.")  # fmt: skip
@click.option("--fetch", is_flag=True, help="Get what is missing first, as far as it can be had.")
@click.option("--watch", is_flag=True,
              help="Go on until ended; the verdict is in ready.json below --state.")  # fmt: skip
@click.option("--every", type=PAUSE, default="5m", show_default=True,
              help="Time between two looks of --watch.")  # fmt: skip
@click.option("--textfile", type=FILE, help="With --watch: the verdict as metrics, into this file.")
@click.option("--note-time", is_flag=True,
              help="With --watch: note the time too, as `hardtack box clock` does.")  # fmt: skip
@using(SOURCE, CACHE, REGISTRY)
@json_option
def ready(source: str | None, as_json: bool, **values: Any) -> None:
    """Would this box come up with the cable pulled? Asks nobody but the box.

    SOURCE is that of the weights; default: S3_BUCKET. Exit 0 only when all is there, 1 when not.
    """
    _refuse_mistakes(values)
    _needs(values)
    from hardtack.deploy.ready.check import check

    kept = _fetch(source, values) if values["fetch"] else {}
    if values["watch"]:
        _watch(source, values, as_json)
    report = check(_box(source, values))
    if kept:
        from hardtack.deploy.ready.fetch import tried

        report = tried(report, kept)
    _tell(report, as_json)
    sys.exit(0 if report.ready else 1)


def _refuse_mistakes(values: dict[str, Any]) -> None:
    """A value that can only be meant otherwise. Raises click.BadParameter."""
    if values["horizon"] < _HOUR:
        said = (
            f"{format_duration(values['horizon'])} is over before anyone sees what it says; write "
            "days like 30d."
        )
        raise click.BadParameter(said, param_hint="'--horizon'")


def _needs(values: dict[str, Any]) -> None:
    """The packages that looking at these parts takes. Raises ConfigError."""
    from hardtack.images.containerd import find_socket

    needs_extra("images", "yaml")
    if "images" not in values["without"]:
        talks = bool(values["socket"] or find_socket())
        needs_extra("images", "zstandard", *(["grpc"] if talks else []))
    if "certificates" not in values["without"]:
        needs_extra("endpoint", "cryptography")


def _fetch(source: str | None, values: dict[str, Any]) -> Mapping[Part, HardtackError]:
    """Get what is missing; what can't be had is told, and returned."""
    from hardtack.deploy.ready.fetch import fetch
    from hardtack.deploy.ready.verdict import note_rate

    cache = _cache(source, values, "hardtack ready --fetch")
    with shown("fetch") as progress:
        done = fetch(_box(source, values), cache, partial(registry_of, values), progress)
    if done.rate is not None:
        try:
            note_rate(values["state"], done.rate, time.time())
        except OSError as error:  # it is for later reports: this one is made all the same
            said = f"{error.filename}: {error.strerror}"
            click.echo(f"hardtack: the rate can't be noted: {said}.", err=True)
    for problem in done.problems.values():
        click.echo(f"hardtack: {problem}", err=True)
    return done.problems


def _watch(source: str | None, values: dict[str, Any], as_json: bool) -> NoReturn:
    """Look again and again. A change is told on stdout, everything else is in the files."""
    from hardtack.deploy.prepare.clock import note
    from hardtack.deploy.ready.check import check
    from hardtack.deploy.ready.verdict import publish, verdict

    before: list[str] | None = None
    while True:
        report = check(_box(source, values))
        with _going_on_though_full():
            publish(report, values["state"], values["textfile"])
        if values["note_time"]:
            with _going_on_though_full():
                note(values["root"], time.time())
        amiss = verdict(report)["missing"]
        if amiss != before:
            _tell(report, as_json)
            sys.stdout.flush()
        before = amiss
        time.sleep(values["every"])


@contextmanager
def _going_on_though_full() -> Iterator[None]:
    """What a disk doesn't take for now is told: who watches sees it here, and later there again."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            raise
        click.echo(f"hardtack: {error.filename}: {error.strerror}.", err=True)


def _box(source: str | None, values: dict[str, Any]) -> Box:
    from hardtack.deploy.ready.certificates import Tls
    from hardtack.deploy.ready.check import Box, Images, Weights
    from hardtack.deploy.ready.detectors import Files
    from hardtack.deploy.ready.verdict import noted_rate
    from hardtack.images.containerd import find_socket

    state: Path = values["state"]
    given: Path | None = values["tls_cert"]
    own = state / "tls"
    named = source or os.environ.get("S3_BUCKET")
    url = source_url(named, values["prefix"]) if named else None
    return Box(
        images=Images(
            values["lock_file"], _below(values, "deployment"), _below(values, "to")[0],
            values["socket"] or find_socket(), platform_of(values["platform"]),
            values["values_files"],
        ),
        weights=Weights(
            _cache(source, values, "hardtack ready"),
            values["models"].strip("/"), tuple(values["also"]),
        ),
        endpoint=Files(state, values["detectors"], values["edge_config"]),
        tls=Tls(
            given or own / "certificate.pem", values["tls_key"] or own / "key.pem",
            given is not None,
        ),
        horizon=values["horizon"],
        directories=(state, *caches_of(values["cache_directory"], url, values["root"])),
        root=values["root"],
        without=frozenset(values["without"]),
        rate=values["rate"] or noted_rate(state),
    )  # fmt: skip


def _cache(
    source: str | None, values: dict[str, Any], purpose: str
) -> Callable[[], AbstractContextManager[Cache | RemoteCache]] | None:
    """What opens the cache of SOURCE; None where there is no SOURCE."""
    named = source or os.environ.get("S3_BUCKET")
    if not named:
        return None
    from hardtack.cli.opened import opened  # late: it brings all of the cache

    return partial(opened, named, values, purpose)


def _below(values: dict[str, Any], name: str) -> tuple[Path, ...]:
    """The paths that were given; k3s's own below --root where none was."""
    given = values[name] if isinstance(values[name], tuple) else (values[name],)
    if click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT:
        return given
    return tuple(values["root"] / str(path).lstrip("/") for path in given)


def _document(report: Report) -> dict[str, Any]:
    rows = [
        plain(row) | {"part": row.part.value, "seconds": report.seconds(row)} for row in report.rows
    ]
    return {
        "ready": report.ready, "at": report.at, "missing": report.missing, "rate": report.rate,
        "rows": rows,
    }  # fmt: skip


def _tell(report: Report, as_json: bool) -> None:
    if as_json:
        print_json(_document(report))
    else:
        _print(report)


def _print(report: Report) -> None:
    print_table(
        ("part", "what", "state", "missing", "time", "detail"),
        (
            (
                row.part, row.name, row.state, format_size(row.missing) if row.missing else "",
                _time(report, row), row.detail,
            )
            for row in report.rows
        ),
    )  # fmt: skip
    for remedy, names in _remedies(report).items():
        click.echo(f"  {names}: {remedy}", err=True)
    amiss = sum(row.state != "ready" for row in report.rows)
    size = f", {format_size(report.missing)} to fetch" if report.missing else ""
    click.echo("READY" if report.ready else f"NOT READY: {amiss} of {len(report.rows)}{size}")


def _remedies(report: Report) -> dict[str, str]:
    """Each remedy with the names of its rows; of many, the first."""
    rows: dict[str, list[str]] = {}
    for row in report.rows:
        if row.remedy:
            rows.setdefault(row.remedy, []).append(f"{row.part} {row.name}")
    return {
        remedy: ", ".join(names[:_NAMED])
        + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        for remedy, names in rows.items()
    }


def _time(report: Report, row: Row) -> str:
    seconds = report.seconds(row)
    return format_duration(seconds) if seconds is not None else ""
