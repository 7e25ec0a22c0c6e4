"""Which images k3s itself needs: a release's list, or the names in its airgap tarball."""

from __future__ import annotations

import json
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from hardtack.core.errors import BadReference, BundleError, ConfigError, NotFound
from hardtack.core.progress import Progress
from hardtack.images.extract import extract, unpacked
from hardtack.images.layout import IMAGE_NAME, REF_NAME
from hardtack.images.platforms import Platform
from hardtack.images.registry import Registry
from hardtack.manifests.reference import Reference

REPOSITORY = "docker.io/rancher/k3s"
LIST = "k3s-images.txt"
_SUFFIXES = (".zst", ".gz", "")
# Where builds of k3s keep what they bring along, and where k3s looks for it.
_DIRECTORIES = ("", "bin/aux/", "opt/k3s/", "var/lib/rancher/k3s/agent/images/")
_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"
_MAX_INDEX = 16 << 20


def image_of(version: str, repository: str = REPOSITORY) -> Reference:
    """The image of k3s `version` (`v1.28.8+k3s1`): a `+` can't be in a tag and is `-` there.
    Raises ConfigError."""
    match = re.fullmatch(r"v?(1\.\d+\.\d+(?:-rc\d+)?)[+-](k3s\d+)", version.strip())
    if match is None:
        raise ConfigError(
            f"{version!r} is not a version of k3s.", remedy="Write it like v1.31.5+k3s1."
        )
    return Reference.parse(f"{repository}:v{match[1]}-{match[2]}")


def needed_by(
    image: Reference, platform: Platform, registry: Registry, progress: Progress | None = None
) -> tuple[Reference, ...]:
    """The images that the k3s in `image` needs, from the list or the airgap tarball in it.

    Raises NotFound when it holds neither (the releases of k3s keep both beside the image), and
    what `extract` raises.
    """
    # A release's tarball has the architecture in its name, and builds may keep that.
    stems = ("k3s-airgap-images", f"k3s-airgap-images-{platform.architecture}")
    tarballs = [f"{stem}.tar{suffix}" for stem in stems for suffix in _SUFFIXES]
    paths = [directory + name for directory in _DIRECTORIES for name in (LIST, *tarballs)]
    with tempfile.TemporaryDirectory(prefix="hardtack-k3s-") as directory:
        found = extract(
            image, paths, Path(directory), platform, registry, partly=True, progress=progress
        )
        by_name = {path.name: path for path in found}
        for name in (LIST, *tarballs):
            if name in by_name:
                return listed_in(by_name[name])
    raise NotFound(
        f"{image} holds neither {LIST} nor an airgap tarball: which images this k3s needs "
        "can't be told from it.",
        remedy=f"Take {LIST} from the release {(image.tag or '').replace('-k3s', '+k3s')} of k3s, "
        f"and give it with --k3s-images {LIST}.",
    )


def listed_in(path: Path) -> tuple[Reference, ...]:
    """The images that a release's `k3s-images.txt`, or its airgap tarball, names.
    Raises BadReference, BundleError."""
    with path.open("rb") as file:
        start = file.read(512)
    if b"\0" in start or start.startswith((_ZSTD, _GZIP)):
        return in_tarball(path)
    return parse_list(path.read_text(errors="replace"), str(path))


def parse_list(text: str, name: str = "k3s-images.txt") -> tuple[Reference, ...]:
    """The images of the list `name`: one a line, `#` comments. Raises BadReference."""
    found: dict[Reference, None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.split("#")[0].strip()
        try:
            if entry:
                found[Reference.parse(entry)] = None
        except BadReference as error:
            raise BadReference(
                f"{name}:{number}: {error.message}",
                remedy="A list names one image a line, as k3s's k3s-images.txt does.",
            ) from None
    return tuple(found)


def in_tarball(path: Path) -> tuple[Reference, ...]:
    """The images in an airgap tarball, as `docker save` or containerd writes them.
    Raises BundleError."""
    try:
        with path.open("rb") as file:
            names = dict.fromkeys(_names(file))
    except (OSError, tarfile.TarError, zlib.error, EOFError, ValueError, KeyError, TypeError,
            AttributeError) as error:  # fmt: skip
        raise BundleError(
            f"{path.name} can't be read as an archive of images: {error!r}.",
            remedy=f"Give k3s's list with --k3s-images {LIST}.",
        ) from error
    if not names:
        raise BundleError(f"{path.name} names no image.")
    return tuple(Reference.parse(name) for name in names)


def _names(file: IO[bytes]) -> list[str]:
    packed = file.read(4) == _ZSTD
    file.seek(0)
    documents: dict[str, Any] = {}
    with tarfile.open(
        fileobj=unpacked(file) if packed else file, mode="r|" if packed else "r|*"
    ) as tar:
        for member in tar:
            if member.name in ("manifest.json", "index.json") and member.size <= _MAX_INDEX:
                source = tar.extractfile(member)
                documents[member.name] = json.loads(source.read()) if source is not None else None
    if "manifest.json" in documents:
        return [tag for entry in documents["manifest.json"] for tag in entry["RepoTags"] or ()]
    return list(_annotated(documents.get("index.json", {"manifests": []})["manifests"]))


def _annotated(entries: Iterable[dict[str, Any]]) -> Iterable[str]:
    for entry in entries:
        given = entry.get("annotations") or {}
        name = given.get(IMAGE_NAME) or given.get(REF_NAME, "")
        if "/" in name and "@" not in name:
            yield name
