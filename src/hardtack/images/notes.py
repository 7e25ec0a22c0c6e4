"""What pulls have made in a directory, and which of it a power cut may have spoilt.

A pull doesn't wait until its bundle is on the disk, which would cost a quarter of its time. It
notes under which boot it wrote the bundle: while the machine has not been restarted, the kernel
answers for the bytes; afterwards they are read and checked once.
The format: docs/formats/bundle.md.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hardtack.core.errors import BundleError
from hardtack.core.files import write_atomically

log = logging.getLogger(__name__)

NAME = "bundles.json"
FORMAT = 2
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Note(NamedTuple):
    """One bundle that a pull made. `boot`: the boot in which it was written and not yet checked
    from disk; empty when that isn't known; None when it was checked. `size`: the finished file's,
    in bytes; None where it isn't known."""

    platform: str
    boot: str | None
    size: int | None = None

    @property
    def settled(self) -> bool:
        """Whether the file can be taken as it was written."""
        return self.boot is None or (self.boot != "" and self.boot == boot())


def boot() -> str:
    """What names this boot of the machine; empty where the kernel doesn't say."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def read(work: Path) -> dict[str, Note]:
    """Notes by file name; none, with a warning, when they are damaged. Raises BundleError for notes
    of a newer format."""
    path = work / NAME
    try:
        document = json.loads(path.read_bytes())
        if document["version"] > FORMAT:
            raise BundleError(
                f"{path} has format {document['version']}; this version knows up to {FORMAT}.",
                remedy="Update hardtack, or pull into another directory.",
            )
        return {str(name): _note(value) for name, value in document["bundles"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: %s; bundles are checked anew and superseded ones stay", path, error)
        return {}


def write(work: Path, notes: Mapping[str, Note]) -> None:
    """Replace the notes."""
    bundles = {name: note._asdict() for name, note in notes.items()}
    document = {"version": FORMAT, "bundles": bundles}
    write_atomically(work / NAME, json.dumps(document, sort_keys=True).encode())


def _note(value: object) -> Note:
    if isinstance(value, str):  # format 1: only the platform
        return Note(value, "")
    if not isinstance(value, dict):
        raise ValueError(f"a note {value!r}")
    stated = value["boot"]
    size = value.get("size")
    return Note(
        str(value["platform"]),
        None if stated is None else str(stated),
        None if size is None else int(size),
    )
