"""Files out of an image in a registry, without a container runtime."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import posixpath
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from hardtack.core.errors import CorruptReply, NotFound
from hardtack.core.files import make_directory
from hardtack.core.progress import Progress, Quiet
from hardtack.images.manifest import Descriptor, Index, Manifest
from hardtack.images.partial import full
from hardtack.images.platforms import Platform
from hardtack.images.registry import Registry
from hardtack.manifests.reference import Reference

_STEP = 1 << 20
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_ZSTD = b"\x28\xb5\x2f\xfd"


def extract(
    image: Reference,
    paths: Sequence[str],
    to: Path,
    platform: Platform,
    registry: Registry,
    *,
    partly: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Write the regular files `paths` (absolute in the image) of `image` into the directory `to`,
    each under its last name; the files written.

    Layers are read from the top down and no further than needed; what a layer above has deleted
    isn't found below. Raises NotFound naming what isn't there (unless `partly`), and what
    `Registry` raises.
    """
    make_directory(to)
    name = image.full_repository
    top = registry.manifest(name, image.digest or image.tag or "latest")
    if isinstance(top, Index):
        top = registry.manifest(name, top.choose(platform, str(image)).digest)
    if not isinstance(top, Manifest):
        raise NotFound(f"{image} has no image for {platform}.")
    left = {_clean(p) for p in paths}
    written: list[Path] = []
    for layer in reversed(top.layers):
        if left and not layer.foreign:
            with _layer(registry, name, layer, to, progress or Quiet()) as tar:
                found, hidden = _take(tar, left, to)
            written += found
            left -= {p for p in left if p in hidden or any(p.startswith(f"{h}/") for h in hidden)}
            left -= {_clean(p) for p in paths if (to / posixpath.basename(p)) in found}
    absent = [p for p in paths if to / posixpath.basename(p) not in written]
    if absent and not partly:
        raise NotFound(f"{image} has no file {', '.join(absent)}.")
    return tuple(written)


def _take(tar: tarfile.TarFile, wanted: set[str], to: Path) -> tuple[list[Path], set[str]]:
    """Files of one layer that are wanted, and the names that it hides in the layers below."""
    found, hidden = [], set()
    for member in tar:
        name = _clean(member.name)
        directory, base = posixpath.split(name)
        if base == _OPAQUE:
            hidden.add(directory)
        elif base.startswith(_WHITEOUT):
            hidden.add(posixpath.join(directory, base.removeprefix(_WHITEOUT)))
        elif name in wanted:
            if not member.isreg():
                raise NotFound(
                    f"/{name} is not a regular file in the image, but a link or a directory"
                    + (f" (to {member.linkname})." if member.linkname else "."),
                    remedy="Name the file that it points at.",
                )
            source = tar.extractfile(member)
            if source is not None:
                found.append(_write(source, to / base))
    return found, hidden


def _write(source: IO[bytes], target: Path) -> Path:
    fd, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            while data := source.read(_STEP):
                file.write(data)
            os.fchmod(fd, 0o644)
        os.rename(temporary, target)
    except OSError as error:
        raise full(target, error) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    return target


@contextlib.contextmanager
def _layer(
    registry: Registry, name: str, layer: Descriptor, to: Path, progress: Progress
) -> Iterator[tarfile.TarFile]:
    """The layer's tar, checked before anything of it is used: kept in an unnamed file meanwhile."""
    progress.task(layer.digest, layer.size)
    running = hashlib.sha256()
    with tempfile.TemporaryFile(dir=to) as file:
        try:
            for chunk in registry.blob(name, layer.digest, 0, layer.size):
                running.update(chunk)
                file.write(chunk)
                progress.advance(layer.digest, len(chunk))
        except OSError as error:
            raise full(to / layer.hex, error) from error
        if f"sha256:{running.hexdigest()}" != layer.digest:
            raise CorruptReply(f"{name}: the registry's copy of {layer.digest} has other bytes.")
        file.seek(0)
        magic = file.read(4)
        file.seek(0)
        try:
            packed = unpacked(file) if magic == _ZSTD else file
            with tarfile.open(fileobj=packed, mode="r|" if magic == _ZSTD else "r|*") as tar:
                yield tar
        except (tarfile.TarError, zlib.error, EOFError) as error:
            raise CorruptReply(
                f"{name}: the layer {layer.digest} can't be read: {error}."
            ) from error
    progress.done(layer.digest)


def unpacked(file: IO[bytes]) -> IO[bytes]:
    """The stream in a zstd file; EOFError where it is damaged, as from the standard library's."""
    import zstandard  # late: few images need it

    class Reader(io.RawIOBase):
        def __init__(self) -> None:
            self._source = zstandard.ZstdDecompressor().stream_reader(file)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            try:
                return self._source.readinto(buffer)
            except zstandard.ZstdError as error:
                raise EOFError(str(error)) from error

    return io.BufferedReader(Reader())


def _clean(path: str) -> str:
    return posixpath.normpath("/" + path).lstrip("/")
