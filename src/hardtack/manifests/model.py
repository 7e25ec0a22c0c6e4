"""What a scan of deployment files finds: images, where they stand, and what could not be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hardtack.manifests.reference import Reference

if TYPE_CHECKING:
    from hardtack.manifests.yamlpos import Document


@dataclass(frozen=True)
class Place:
    """A position in a file on disk; `line` and `column` count from 1."""

    file: Path
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class PullPolicy:
    """The pull policy in force: as written (`explicit`), or Kubernetes' default, and `why`.

    `value` is None where it can't be told.
    """

    value: Literal["Always", "IfNotPresent", "Never"] | None
    explicit: bool
    why: str


class Kind(StrEnum):
    """How an image is named."""

    CONTAINER = "container"
    INIT = "init"
    EPHEMERAL = "ephemeral"
    VOLUME = "volume"
    CRD = "crd"
    COMPOSE = "compose"
    DOCKERFILE = "dockerfile"
    COMMAND = "command"
    LIST = "list"
    K3S = "k3s"


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class FoundImage:
    """One place that names an image.

    `raw` is the text as written; `reference` is None where the image can't be told, and `reason`
    says why. `path` is the way to it (`Deployment/edge-endpoint › initContainers[0]`). `policy` is
    None where there is no such thing (Dockerfiles, lists). `hidden` means that it stands in a
    string of a ConfigMap or Secret.
    """

    raw: str
    reference: Reference | None
    place: Place
    path: str
    kind: Kind
    policy: PullPolicy | None = None
    platforms: tuple[str, ...] = ()
    hidden: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Problem:
    """Something that a scan could not read, or had to leave out."""

    place: Place
    message: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        return f"{self.place}: {self.severity}: {self.message}"


@dataclass(frozen=True)
class Scan:
    """All that a scan found, in the order of files and lines.

    `documents` holds each parsed YAML document with its positions, for rules that look at more
    than images; those inside ConfigMaps and Secrets too (`Document.hidden`).
    """

    images: tuple[FoundImage, ...] = ()
    problems: tuple[Problem, ...] = ()
    documents: tuple[Document, ...] = field(default=())
