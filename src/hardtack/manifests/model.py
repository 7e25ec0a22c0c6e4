"""What a scan of deployment files finds: images, where they stand, and what could not be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from hardtack.manifests.place import Place, Problem
from hardtack.manifests.reference import Reference
from hardtack.manifests.yamlpos import Document


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
    COMMAND = "command"  # which fetches it
    STARTED = "started"  # by a command
    SETTING = "setting"  # a variable or an option of a program, which may start it
    LIST = "list"
    K3S = "k3s"
    CHART = "chart"


@dataclass(frozen=True)
class FoundImage:
    """One place that names an image.

    `raw` is the text as written; `reference` is None where the image can't be told, and `reason`
    says why. `path` is the way to it (`Deployment/edge-endpoint › initContainers[0]`). `policy` is
    None where there is no such thing (Dockerfiles, lists). `hidden` means that it stands in a
    string of a ConfigMap or Secret, `malformed` that `raw` is no image reference at all. `via` is
    the place that takes it in, where a named template of Helm's writes it elsewhere.
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
    malformed: bool = False
    via: Place | None = None

    @property
    def untold(self) -> str:
        """Why the image can't be told, with what is written there, once."""
        if not self.raw or self.raw in self.reason:
            return self.reason
        return f"{self.raw}: {self.reason}"


@dataclass(frozen=True)
class Scan:
    """All that a scan found, in the order of files and lines.

    `documents` holds each parsed YAML document with its positions, for rules that look at more
    than images; those inside ConfigMaps and Secrets too (`Document.hidden`). `files` is how many
    were read.
    """

    images: tuple[FoundImage, ...] = ()
    problems: tuple[Problem, ...] = ()
    documents: tuple[Document, ...] = field(default=())
    files: int = 0
