"""Are the files that each detector's model needs on this box, verified, and kept? Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hardtack.cache.selection import matches
from hardtack.core.errors import CacheError, ModelError
from hardtack.core.units import format_size
from hardtack.deploy.ready.checks import Check
from hardtack.deploy.ready.report import Row, State
from hardtack.inference import package

if TYPE_CHECKING:
    from hardtack.cache.results import Surveyed

_HERE, _PUBLISHED = Check.WEIGHTS_HERE, Check.WEIGHTS_PUBLISHED
_FETCH = "Fetch it: hardtack ready --fetch, or hardtack prefetch SOURCE."
_VERIFY = "Read and check it: hardtack verify SOURCE."
_PIN = "Keep it: hardtack pin SOURCE NAME."
_VERSION = re.compile(r"(primary|oodd)/(0|[1-9][0-9]*)/(.+)")


class Listing:
    """The files of the source by path, and the text of small ones that are here."""

    def __init__(self, files: Iterable[Surveyed], read: Callable[[str], str]) -> None:
        self.files: Mapping[str, Surveyed] = {file.path: file for file in files}
        self.read = read


def detector(listing: Listing, models: str, identity: str) -> Row:
    """The row of the detector `identity`, whose models lie in the directory `models` of the source.

    Counted are the files of the version that its server would load.
    """
    try:
        files = needed(listing, models, identity)
    except ModelError as error:
        return Row(_PUBLISHED, identity, State.WRONG, error.message, remedy=error.remedy)
    return _row(identity, files)


def needed(listing: Listing, models: str, identity: str) -> list[Surveyed]:
    """The files that the server of `identity` would load: of each role (primary, oodd) those of the
    highest version that the source holds whole. Raises ModelError where it holds none."""
    top = posixpath.join(models, identity)
    roles: dict[str, dict[int, list[str]]] = {}
    for path in listing.files:
        if path.startswith(top + "/") and (m := _VERSION.fullmatch(path[len(top) + 1 :])):
            roles.setdefault(m[1], {}).setdefault(int(m[2]), []).append(path)
    if "primary" not in roles:
        raise ModelError(
            f"the source has no version of a model below {top}/primary",
            remedy="Publish its model.",
        )
    found: list[str] = []
    for role, versions in sorted(roles.items()):
        found += _newest(listing, f"{top}/{role}", versions)
    return [listing.files[path] for path in found]


def globbed(listing: Listing, text: str) -> list[Surveyed]:
    """The further files that the glob `text` names."""
    return [file for path, file in listing.files.items() if matches(path, [text])]


def pattern(listing: Listing, text: str) -> Row:
    """The row of the further files that the glob `text` names."""
    found = globbed(listing, text)
    if not found:
        detail = "no file of the source has such a name"
        return Row(_PUBLISHED, text, State.MISSING, detail, remedy="Correct it, or publish it.")
    return _row(text, found)


def _newest(listing: Listing, role: str, versions: Mapping[int, Sequence[str]]) -> list[str]:
    """The files of the highest version whose package the source holds whole."""
    reasons = []
    for version in sorted(versions, reverse=True):
        directory = f"{role}/{version}"
        try:
            return _files(listing, directory, versions[version])
        except ModelError as error:
            reasons.append(error.message)
    raise ModelError(
        f"{role} has no whole version of a model: {'; '.join(reasons)}",
        remedy="Publish it again, whole.",
    )


def _files(listing: Listing, directory: str, there: Sequence[str]) -> list[str]:
    """The files that the package in `directory` needs. Raises ModelError where one isn't listed.

    All of them where there is no model.toml (another's runtime loads it), or where it isn't here
    yet and so can't say.
    """
    description = f"{directory}/{package.FILE}"
    if description not in there:
        return list(there)
    try:
        text = listing.read(description)
    except CacheError:
        return list(there)
    needed = [description]
    for weights in package.parse(text, Path(directory)).weights:
        path = posixpath.normpath(f"{directory}/{weights.file}")
        file = listing.files.get(path)
        if file is None or file.size != weights.size:
            found = "is not listed" if file is None else f"has {file.size} bytes"
            raise ModelError(f"{path} {found}, model.toml says {weights.size} bytes")
        needed.append(path)
    return needed


def _row(name: str, files: Sequence[Surveyed]) -> Row:
    """How the files stand together: the worst first."""
    total = sum(file.size for file in files)
    for file in files:
        if file.broken:
            detail = f"{file.path} is a link to {file.broken}, which the source doesn't have"
            return Row(_PUBLISHED, name, State.WRONG, detail, remedy="Publish its target.")
    missing = [file for file in files if file.present < file.size]
    if missing:
        count = sum(file.size - file.present for file in missing)
        detail = f"{missing[0].path} {_state(missing[0])}{_others(missing)}"
        return Row(_HERE, name, State.MISSING, detail, count, _FETCH)
    for check, amiss, says, remedy in (
        (Check.WEIGHTS_VERIFIED, [f for f in files if not f.verified],
         "is not verified as a whole", _VERIFY),
        (Check.WEIGHTS_PINNED, [f for f in files if not f.pinned],
         "is in no release: it may be evicted", _PIN),
    ):  # fmt: skip
        if amiss:
            detail = f"{amiss[0].path} {says}{_others(amiss)}"
            return Row(check, name, State.WRONG, detail, remedy=remedy)
    return Row(_HERE, name, State.READY, f"{len(files)} files, {format_size(total)}")


def _state(file: Surveyed) -> str:
    return f"is there to {100 * file.present // file.size} %" if file.present else "is absent"


def _others(files: Sequence[Surveyed]) -> str:
    return f", and {len(files) - 1} more" if len(files) > 1 else ""
