"""Reading bundles: what is in one, and whether every byte is right."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from hardtack.core.errors import BundleError
from hardtack.images.layout import BLOCK, IMAGE_NAME, REF_NAME, Member
from hardtack.images.platforms import Platform

_CHUNK = 1 << 20
_SMALL = frozenset({"oci-layout", "index.json", "manifest.json"})
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_DIRECTORIES = frozenset({"blobs", "blobs/sha256"})
_MAX_SMALL = 16 << 20
_ZSTD_LEVEL = 3  # layers are compressed already: more effort gains nothing
_REMEDY = "Remove it and pull it again."


class Named(NamedTuple):
    """One entry of a bundle's index: a name, and the manifest that it means."""

    name: str
    media_type: str
    digest: str
    size: int
    platform: Platform | None = None


class Contents(NamedTuple):
    """What a bundle says it holds. `blobs`: by digest, with offsets in the plain tar."""

    path: Path
    names: tuple[Named, ...]
    blobs: dict[str, Member]


def bundles_in(directory: Path) -> list[Path]:
    """The files in `directory` that are bundles by their names, sorted."""
    return sorted(
        p for p in directory.glob("*") if p.name.endswith((".tar", ".tar.zst")) and p.is_file()
    )


def contents(path: Path) -> Contents:
    """The table of contents of the bundle at `path`; blobs are skipped, not read, in a plain tar.

    Raises BundleError for a truncated file, names or links that lead outside, a missing index.
    """
    return _scan(path, check=False)


def verify(path: Path) -> Contents:
    """As `contents`, with every blob's digest checked, and every manifest's blobs there."""
    found = _scan(path, check=True)
    for named in found.names:
        missing = [
            d for d in blobs_of(read_blob(path, found, named.digest), path) if d not in found.blobs
        ]
        if missing:
            raise BundleError(f"{path}: {named.name} lacks the blob {missing[0]}.", remedy=_REMEDY)
    return found


def read_blob(path: Path, table: Contents, digest: str) -> bytes:
    """A small blob (a manifest, a configuration) out of a bundle. Raises BundleError."""
    member = table.blobs.get(digest)
    if member is None or member.size > _MAX_SMALL:
        raise BundleError(f"{path} has no manifest {digest}.", remedy=_REMEDY)
    with open_tar(path) as file:
        skip_to(file, member.offset)
        return file.read(member.size)


def blobs_of(manifest: bytes, path: Path) -> list[str]:
    """Digests of the configuration and the layers that `manifest` needs. Raises BundleError."""
    try:
        document = json.loads(manifest)
        layers = [
            x
            for x in document["layers"]
            if "foreign" not in x.get("mediaType", "")
            and "nondistributable" not in x.get("mediaType", "")
        ]
        return [str(document["config"]["digest"]), *(str(layer["digest"]) for layer in layers)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path} holds a manifest that can't be read: {error!r}.", remedy=_REMEDY
        ) from error


def compress(source: Path, target: Path) -> None:
    """Write `source` to `target` with zstd; the same bytes each time."""
    import zstandard

    with source.open("rb") as plain, target.open("wb") as packed:
        zstandard.ZstdCompressor(level=_ZSTD_LEVEL).copy_stream(
            plain, packed, size=source.stat().st_size, read_size=_CHUNK, write_size=_CHUNK
        )


@contextmanager
def open_tar(path: Path) -> Iterator[IO[bytes]]:
    """The tar in the bundle at `path`, decompressed if need be. Raises BundleError."""
    try:
        with path.open("rb") as file:
            if path.name.endswith(".zst"):
                with _unpacked(file, path) as reader:
                    yield reader
            else:
                yield file
    except FileNotFoundError:
        raise BundleError(
            f"{path} doesn't exist.", remedy="Pull it with `hardtack images pull`."
        ) from None
    except (OSError, EOFError) as error:
        raise BundleError(f"{path} can't be read: {error}.", remedy=_REMEDY) from error


@contextmanager
def _unpacked(file: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    import zstandard  # late: a plain bundle doesn't need it

    try:
        with zstandard.ZstdDecompressor().stream_reader(file) as reader:
            yield reader
    except zstandard.ZstdError as error:
        raise BundleError(f"{path} can't be read: {error}.", remedy=_REMEDY) from error


def _scan(path: Path, *, check: bool) -> Contents:
    blobs: dict[str, Member] = {}
    small: dict[str, bytes] = {}
    with open_tar(path) as file:
        for member in _members(file, path):
            if match := _BLOB.fullmatch(member.name):
                if check and _digest(file, member.size, path) != match[1]:
                    raise BundleError(
                        f"{path}: the blob sha256:{match[1]} has other bytes than its name says.",
                        remedy=_REMEDY,
                    )
                blobs[f"sha256:{match[1]}"] = member
            elif member.size > _MAX_SMALL:
                raise BundleError(f"{path}: {member.name} is too big.", remedy=_REMEDY)
            else:
                small[member.name] = _exactly(file, member.size, path)
    if "index.json" not in small or "oci-layout" not in small:
        raise BundleError(f"{path} is not a bundle: it has no OCI index.", remedy=_REMEDY)
    return Contents(path, tuple(_entries(small["index.json"], path)), blobs)


def _members(file: IO[bytes], path: Path) -> Iterator[Member]:
    """Members of the tar in order; the file stands at each one's first byte when it is yielded."""
    import tarfile  # late: a pull into an empty directory reads none

    position = 0
    while True:
        header = _exactly(file, BLOCK, path)
        position += BLOCK
        if header == bytes(BLOCK):
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise BundleError(
                f"{path} is damaged at byte {position}: {error}.", remedy=_REMEDY
            ) from error
        name = info.name
        if info.isdir() and name.rstrip("/") in _DIRECTORIES:
            continue
        if not info.isreg() or not (name in _SMALL or _BLOB.fullmatch(name)):
            raise BundleError(
                f"{path} has an entry that no bundle has: {name!r}.",
                remedy="It wasn't made by hardtack, or was changed: don't load it.",
            )
        yield Member(name, position, info.size)
        position += -(-info.size // BLOCK) * BLOCK
        _go_to(file, position, path)


def _go_to(file: IO[bytes], position: int, path: Path) -> None:
    skip_to(file, position)
    if file.tell() != position:
        raise BundleError(f"{path} is truncated.", remedy=_REMEDY)


def skip_to(file: IO[bytes], position: int) -> None:
    """Move forward; a compressed stream by reading."""
    if isinstance(file, io.BufferedReader):
        file.seek(position)
        return
    while (left := position - file.tell()) > 0 and file.read(min(left, _CHUNK)):
        pass


def _exactly(file: IO[bytes], size: int, path: Path) -> bytes:
    parts, left = [], size
    while left and (data := file.read(left)):
        parts.append(data)
        left -= len(data)
    if left:
        raise BundleError(f"{path} is truncated.", remedy=_REMEDY)
    return b"".join(parts)


def _digest(file: IO[bytes], size: int, path: Path) -> str:
    running, left = hashlib.sha256(), size
    while left:
        data = file.read(min(left, _CHUNK))
        if not data:
            raise BundleError(f"{path} is truncated.", remedy=_REMEDY)
        running.update(data)
        left -= len(data)
    return running.hexdigest()


def _entries(index: bytes, path: Path) -> Iterator[Named]:
    try:
        for entry in json.loads(index)["manifests"]:
            annotations: dict[str, Any] = entry.get("annotations") or {}
            name = annotations.get(IMAGE_NAME) or annotations[REF_NAME]
            stated = entry.get("platform")
            platform = (
                Platform.of(stated["os"], stated["architecture"], stated.get("variant", ""))
                if stated
                else None
            )
            yield Named(
                str(name),
                str(entry["mediaType"]),
                str(entry["digest"]),
                int(entry["size"]),
                platform,
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path}: its index.json can't be read: {error!r}.", remedy=_REMEDY
        ) from error
