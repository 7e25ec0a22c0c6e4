"""`hardtack images scan`, `lock`: every image that a deployment names, and its digests."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hardtack.cli.images_options import LOCK, PLATFORMS, REGISTRY, VALUES, registry_of
from hardtack.cli.options import Existing, using
from hardtack.cli.output import json_option, print_json, print_table
from hardtack.cli.progress import shown
from hardtack.core.errors import LockError
from hardtack.core.files import make_directory
from hardtack.core.units import format_count, format_size
from hardtack.images import airgap
from hardtack.images import lock as locking
from hardtack.images.lockfile import Lock, read_lock, write_lock
from hardtack.images.platforms import Platform
from hardtack.manifests.model import FoundImage, Kind, Scan
from hardtack.manifests.place import Problem, Severity
from hardtack.manifests.reference import Reference
from hardtack.manifests.scan import scan as scan_paths

PATHS = click.argument("paths", nargs=-1, required=True, type=Existing())
EVERY_TAG = "*"
HELM = click.option(
    "--helm",
    type=click.Choice(["auto", "raw", "rendered"]),
    default="auto",
    show_default=True,
    help="Helm charts as their templates stand, or as `helm template` renders them.",
)


@click.command()
@PATHS
@HELM
@VALUES
@json_option
def scan(paths: tuple[Path, ...], helm: Any, values_files: tuple[Path, ...], as_json: bool) -> None:
    """Every image that PATHS name, where, how it is reached, and the pull policy in force.

    Exit 1 when a file can't be read, as it may name more, or an image's name is malformed. One
    that only a template or a variable chooses is listed with a ? and the reason.
    """
    found = scan_paths(paths, helm=helm, values=values_files)
    if as_json:
        print_json({"images": list(map(_row, found.images)), "problems": _problems(found)})
    elif found.images or _unread(found):
        print_table(
            ("image", "at", "reached by", "policy", "why"),
            (
                (
                    i.reference.name if i.reference else f"? {i.raw}",
                    i.place,
                    i.path,
                    (i.policy.value or "?") if i.policy else "",
                    _why(i),
                )
                for i in found.images
            ),
        )
    else:
        click.echo(f"No image found in {format_count(found.files, 'file')}.")
    _tell_problems(found)
    if _unread(found) or any(image.malformed for image in found.images):
        sys.exit(1)


def _why(image: FoundImage) -> str:
    """Why the image can't be told, else why its pull policy is what it is."""
    if image.reference is None or image.policy is None:
        return image.reason
    return image.policy.why


def _row(image: FoundImage) -> dict[str, Any]:
    policy = image.policy
    return {
        "image": image.reference.name if image.reference else None,
        "raw": image.raw,
        "file": str(image.place.file),
        "line": image.place.line,
        "path": image.path,
        "kind": image.kind,
        "policy": policy.value if policy else None,
        "policy_explicit": policy.explicit if policy else None,
        "why": _why(image),
        "platforms": image.platforms,
        "hidden": image.hidden,
    }


def _problems(found: Scan) -> list[dict[str, Any]]:
    return [
        {
            "file": str(p.place.file),
            "line": p.place.line,
            "severity": p.severity,
            "message": p.message,
        }
        for p in found.problems
    ]


def _tell_problems(found: Scan) -> None:
    """What could not be read, on stderr."""
    for problem in found.problems:
        click.echo(f"hardtack: {problem}", err=True)


def _unread(found: Scan) -> list[Problem]:
    """What could not be read at all, and may name images."""
    return [problem for problem in found.problems if problem.severity is Severity.ERROR]


def _unknown(found: Scan) -> list[FoundImage]:
    """Images that a box needs and a lock can't hold, because their name can't be told."""
    return [i for i in found.images if i.reference is None and i.kind is not Kind.DOCKERFILE]


def _tell_unknown(images: Sequence[FoundImage]) -> None:
    for image in images:
        click.echo(
            f"hardtack: {image.place}: not locked, the image can't be told: {image.untold}",
            err=True,
        )


@click.command()
@click.argument("paths", nargs=-1, type=Existing())
@LOCK
@PLATFORMS
@HELM
@VALUES
@click.option(
    "--update",
    "moving",
    is_flag=False,
    flag_value=EVERY_TAG,
    multiple=True,
    metavar="[IMAGE]",
    help="Move this tag, or all without IMAGE, to what the registry now says. Put it last.",
)
@click.option("--check", is_flag=True, help="Compare with PATHS, offline; exit 1 when out of step.")
@click.option(
    "--allow-unknown",
    is_flag=True,
    help="End with 0 although an image can't be told; it is still named on stderr.",
)
@click.option(
    "--k3s",
    "k3s_version",
    metavar="VERSION",
    help="Lock what this k3s needs too (v1.28.8+k3s1), as the list in its image says.",
)
@click.option(
    "--k3s-image",
    default=airgap.REPOSITORY,
    show_default=True,
    metavar="REPOSITORY",
    help="Where --k3s finds the image of k3s.",
)
@click.option(
    "--k3s-images",
    type=Existing(directories=False),
    help="k3s's k3s-images.txt or airgap tarball: lock what it lists too.",
)
@using(REGISTRY)
@json_option
def lock(paths: tuple[Path, ...], as_json: bool, **values: Any) -> None:
    """Write images.lock: each image that PATHS name, by digest, for each platform.

    What is locked stays as it is; only --update moves it. Exit 1 when a file can't be read or an
    image can't be told: the lock has all the others.
    """
    file: Path = values["lock_file"]
    given = values["values_files"]
    found = scan_paths(paths, helm=values["helm"], values=given) if paths else Scan()
    wanted = dict(locking.wanted(found, file.absolute().parent))
    if values["k3s_images"] is not None:
        locking.add(wanted, airgap.listed_in(values["k3s_images"]), "k3s")
    _tell_problems(found)
    unknown = _unknown(found)
    _tell_unknown(unknown)
    if values["allow_unknown"]:
        unknown = []
    platforms = [Platform.parse(p) for p in values["platforms"]]
    existing = read_lock(file) if values["check"] or file.exists() else None
    if values["k3s_version"] is not None:
        image = airgap.image_of(values["k3s_version"], values["k3s_image"])
        needed = _k3s(image, existing, values, platforms)
        locking.add(wanted, needed, f"k3s {image.tag}")
    if values["check"] and existing is not None:
        _check(locking.check(existing, wanted, platforms), found, unknown, as_json)
        if not as_json:
            click.echo(f"In step: {format_count(len(existing.images), 'image')}.")
        return
    if not wanted:
        raise _nothing(paths, _unread(found), unknown)
    if not platforms:
        platforms = [Platform.parse(p) for p in (existing.platforms if existing else ())]
    make_directory(file.absolute().parent)
    with registry_of(values) as registry:
        locked = locking.lock(
            wanted,
            platforms or [Platform.here()],
            registry,
            existing,
            _moving(values["moving"], wanted),
        )
    write_lock(file, locked)
    _tell_lock(file, locked, as_json)
    if _unread(found) or unknown:
        click.echo(f"hardtack: {file} may lack images: see above.", err=True)
        sys.exit(1)


def _nothing(
    paths: Sequence[Path], unread: Sequence[Problem], unknown: Sequence[FoundImage]
) -> LockError:
    """Why there is nothing to lock."""
    if unread:
        files = format_count(len({problem.place.file for problem in unread}), "file")
        return LockError(
            f"Nothing to lock: {files} can't be read, and no image was found.",
            remedy="Mend what is named above.",
        )
    if unknown:
        return LockError(
            "Nothing to lock: no image that can be told was found.",
            remedy="Write out what is named above.",
        )
    remedy = "Give PATHs that name images." if paths else "Give the PATHs to scan."
    return LockError("Nothing to lock: no image was found.", remedy=remedy)


def _k3s(
    image: Reference, existing: Lock | None, values: dict[str, Any], platforms: Sequence[Platform]
) -> Sequence[Reference]:
    """What the k3s in `image` needs: as the lock says already, else as the image says."""
    who = f"k3s {image.tag}"
    locked = [i.reference for i in existing.images if who in i.found] if existing else []
    if values["check"] and not locked:
        raise LockError(
            f"{values['lock_file']} has no image of {who}.",
            remedy=f"Lock them with --k3s {values['k3s_version']}.",
        )
    if locked and not values["moving"]:
        return locked
    with registry_of(values) as registry, shown("k3s") as progress:
        where = platforms[0] if platforms else Platform.here()
        return airgap.needed_by(image, where, registry, progress)


def _moving(texts: Sequence[str], wanted: locking.Wanted) -> locking.Update | list[Reference]:
    """Which tags --update moves. Raises LockError for an image that nothing names."""
    if EVERY_TAG in texts:
        return locking.Update.ALL
    moving = [Reference.parse(text) for text in texts]
    for reference in moving:
        if reference not in wanted:
            raise LockError(
                f"--update {reference}: no manifest names this image.",
                remedy="Name it as a manifest does; --update for all images goes behind the PATHs.",
            )
    return moving


def _check(
    differences: Sequence[locking.Difference],
    found: Scan,
    unknown: Sequence[FoundImage],
    as_json: bool,
) -> None:
    """Tell what keeps the lock from being that of the PATHs, and end with 1 when something does."""
    files = _unread(found)
    if as_json:
        rows: list[tuple[str | None, str, str]] = [
            (d.image.name, d.step, d.detail) for d in differences
        ]
        rows += [(None, "not read", str(problem)) for problem in files]
        rows += [(None, "can't be told", f"{i.place}: {i.untold}") for i in unknown]
        names = ("image", "difference", "detail")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        for difference in differences:
            click.echo(str(difference))
        if files or unknown:
            click.echo("hardtack: The check is incomplete: see above.", err=True)
    if differences or files or unknown:
        sys.exit(1)


def _tell_lock(file: Path, locked: Lock, as_json: bool) -> None:
    rows = [
        (image.reference.name, platform, there.digest, there.size)
        for image in locked.images
        for platform, there in image.platforms.items()
    ]
    if as_json:
        print_json(
            [dict(zip(("image", "platform", "digest", "size"), r, strict=True)) for r in rows]
        )
        return
    print_table(
        ("image", "platform", "digest", "size"),
        ((name, platform, digest[:19], format_size(size)) for name, platform, digest, size in rows),
    )
    click.echo(f"{format_count(len(locked.images), 'image')} in {os.fspath(file)}.", err=True)
