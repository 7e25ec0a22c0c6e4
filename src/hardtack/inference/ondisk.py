"""Model packages on a disk: a directory with `model.toml` and the weights that it names.

A detector's directory holds `{primary,oodd}/<version>/`; the highest whole version counts.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from hardtack.core.errors import ModelError
from hardtack.inference.package import FILE, Package, parse

_PIECE = 1 << 20


class NotHere(ModelError):
    """What time may mend: a file that is missing, has another size, or can't be read, as on a mount
    that isn't there yet, or isn't there any more."""


def read(directory: Path) -> Package:
    """The package in `directory`, whole or not. Raises NotHere, ModelError."""
    remedy = "A model package is a directory with a model.toml; see hardtack model new."
    try:
        text = (directory / FILE).read_text(encoding="utf-8")
    except OSError as error:
        raise NotHere(
            f"{directory / FILE} can't be read: {error.strerror}.", remedy=remedy
        ) from None
    except UnicodeDecodeError:
        raise ModelError(
            f"{directory / FILE} can't be read: it is not UTF-8.", remedy=remedy
        ) from None
    return parse(text, directory)


def missing(package: Package) -> list[str]:
    """The files that aren't there, or aren't as large as they are to be."""
    found = []
    for weights in package.files:
        path = package.directory / weights.file
        try:
            size = path.stat().st_size
        except OSError as error:
            found.append(f"{path}: {error.strerror}")
        else:
            if size != weights.size:
                found.append(f"{path} has {size} bytes, model.toml says {weights.size}")
    return found


def open_package(
    directory: Path, *, hashes: bool = True, heard: Callable[[int], None] | None = None
) -> Package:
    """The whole package in `directory`, its files read through where `hashes` are to be checked.

    `heard` is told of the bytes, as they come. Raises NotHere, ModelError that name what isn't as
    it should.
    """
    package = read(directory)
    kind: type[ModelError] = NotHere
    wrong = missing(package)
    for weights in package.files if hashes and not wrong else ():
        path = directory / weights.file
        try:
            digest = _sha256(path, heard) if weights.sha256 or heard else ""
        except OSError as error:
            wrong.append(f"{path}: {error.strerror}")
        else:
            if weights.sha256 and digest != weights.sha256:
                kind = ModelError
                wrong.append(f"{path} has SHA-256 {digest}, model.toml says {weights.sha256}")
    if wrong:
        raise kind(
            f"The model package {directory} is not whole: {'; '.join(wrong)}.",
            remedy="Copy its files again, or wait until they have arrived.",
        )
    return package


def newest(
    directory: Path, *, hashes: bool = True, heard: Callable[[int], None] | None = None
) -> Package:
    """The highest whole version under `directory`.

    Raises NotHere, or ModelError where one is here and wrong, with why each isn't whole.
    """
    reasons = []
    kind: type[ModelError] = NotHere
    for version in versions(directory):
        try:
            return open_package(directory / str(version), hashes=hashes, heard=heard)
        except NotHere as error:
            reasons.append(error.message)
        except ModelError as error:
            kind = ModelError
            reasons.append(error.message)
    raise kind(
        f"{directory} has no whole version of a model. {' '.join(reasons)}".rstrip(),
        remedy="Versions are directories named by numbers, each with a model.toml.",
    )


def versions(directory: Path) -> list[int]:
    """The versions under `directory`, highest first; only plain numbers count. Raises NotHere."""
    try:
        names = [entry.name for entry in directory.iterdir()]
    except OSError as error:
        raise NotHere(f"{directory} can't be listed: {error.strerror}.") from None
    return sorted((int(n) for n in names if re.fullmatch(r"0|[1-9][0-9]*", n)), reverse=True)


def locate(
    directory: Path, *, hashes: bool = True, heard: Callable[[int], None] | None = None
) -> tuple[Package, Package | None]:
    """The primary package and the out-of-distribution one, if any.

    `directory` is a package, a directory of versions, or a detector's with `primary` and `oodd`.
    Raises NotHere, ModelError.
    """
    oodd = directory / "oodd"
    try:
        package, detector = (directory / FILE).is_file(), (directory / "primary").is_dir()
        outliers = detector and oodd.is_dir()
    except OSError as error:  # a dead mount
        raise NotHere(f"{directory} can't be read: {error.strerror}.") from None
    if package:
        return open_package(directory, hashes=hashes, heard=heard), None
    if not detector:
        return newest(directory, hashes=hashes, heard=heard), None
    second = newest(oodd, hashes=hashes, heard=heard) if outliers else None
    return newest(directory / "primary", hashes=hashes, heard=heard), second


def name_of(directory: Path) -> str:
    """What a model in `directory` is called, by its path alone: it needn't be there."""
    path = Path(os.path.abspath(directory))
    for role in (path, path.parent):
        if role.name in ("primary", "oodd"):
            return role.parent.name
    return path.name


def _sha256(path: Path, heard: Callable[[int], None] | None) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
            if heard:
                heard(len(piece))
    return digest.hexdigest()
