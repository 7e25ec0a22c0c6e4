"""What is kept of a detector's versions over restarts. Format: docs/formats/versions.md."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

from hardtack.core.files import write_atomically

_log = logging.getLogger(__name__)

FORMAT = 1
_MOST = 20


@dataclass
class Record:
    """`last`: the identity of the version that served last and well; `refused`: identity →
    why it is not to be served."""

    last: str = ""
    refused: dict[str, str] = field(default_factory=dict)

    def refuse(self, identity: str, reason: str) -> None:
        self.refused[identity] = reason
        for old in list(self.refused)[:-_MOST]:
            del self.refused[old]


def read(path: Path) -> Record:
    """The record at `path`; an empty one where there is none, or none that can be read."""
    try:
        told = json.loads(path.read_bytes())
        if told["format"] != FORMAT:
            raise ValueError(f"its format is {told['format']}, not {FORMAT}")
        return Record(str(told["last"]), {str(k): str(v) for k, v in told["refused"].items()})
    except FileNotFoundError:
        return Record()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("%s is left aside: %s", path, error)
        return Record()


def write(path: Path, record: Record) -> None:
    """Keep it; a disk that is full costs the memory, not the service."""
    told = {"format": FORMAT, "last": record.last, "refused": record.refused}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(told, indent=1).encode())
    except OSError as error:
        _log.error("%s can't be written: %s", path, error)
