"""The kubelet's own notes of the images that it pulled, and with whose credentials (Kubernetes 1.33
and later)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardtack.core.errors import BadReference
from hardtack.deploy.facts.unreadable import unreadable
from hardtack.manifests.reference import Reference

_ROOT = "/var/lib/kubelet"
_SUFFIX = ".tmp"  # of one that is being written


@dataclass(frozen=True)
class Credentials:
    """Who may have an image: `everybody` on this node; who has one of the secrets, by namespace and
    name; pods of certain `accounts`."""

    everybody: bool = False
    secrets: tuple[tuple[str, str], ...] = ()
    accounts: bool = False


@dataclass(frozen=True)
class Pulls:
    """`pulled`: file → repository → credentials, None where the note can't be understood;
    `pulling`: image → file, where a pull began and its end was never noted."""

    directory: Path
    pulled: Mapping[str, Mapping[str, Credentials] | None] = field(default_factory=dict)
    pulling: Mapping[str, str] = field(default_factory=dict)

    def of(self, image: str) -> Mapping[str, Credentials] | None:
        """Repository → credentials of the image with this id; None where the kubelet didn't pull
        it. Of a note that can't be understood nobody's."""
        return {} if self.unreadable(image) else self.pulled.get(self.file(image).name)

    def unreadable(self, image: str) -> bool:
        """Whether there is a note of the image with this id that can't be understood: then the
        kubelet pulls it again, whatever it is told."""
        name = self.file(image).name
        return name in self.pulled and self.pulled[name] is None

    def file(self, image: str) -> Path:
        """Where the kubelet notes the image with this id."""
        return self.directory / "pulled" / f"sha256-{hashlib.sha256(image.encode()).hexdigest()}"

    def began(self, image: str) -> Path | None:
        """The note of a pull that never ended of the image that is called so; None where there is
        none."""
        name = self.pulling.get(image)
        return self.directory / "pulling" / name if name else None


def read(root: Path, kubelet: Mapping[str, str]) -> Pulls:
    """The notes below the kubelet's directory. Raises ConfigError for what may not be read."""
    top = root / kubelet.get("root-dir", _ROOT).lstrip("/") / "image_manager"
    pulled = {name: _credentials(note) for name, note in _notes(top / "pulled")}
    pulling = {_called(note): name for name, note in _notes(top / "pulling")}
    return Pulls(top, pulled, pulling)


def _notes(directory: Path) -> Iterator[tuple[str, Any]]:
    """(file, what it says: None where that can't be told, as the kubelet sees it too)."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable(directory, error, "Mend it, then look again.") from None
    for name in names:
        if name.startswith("sha256-") and not name.endswith(_SUFFIX):
            try:
                yield name, json.loads((directory / name).read_bytes())
            except FileNotFoundError:
                continue
            except ValueError:
                yield name, None
            except OSError as error:
                raise unreadable(directory / name, error, "Mend it, then look again.") from None


def _credentials(note: Any) -> dict[str, Credentials] | None:
    """None for a note that can't be understood."""
    try:
        return {
            _repository(name): Credentials(
                bool(given.get("nodePodsAccessible")),
                tuple(
                    (str(secret["namespace"]), str(secret["name"]))
                    for secret in given.get("kubernetesSecrets") or ()
                ),
                bool(given.get("kubernetesServiceAccounts")),
            )
            for name, given in (note.get("credentialMapping") or {}).items()
        }
    except (AttributeError, TypeError, KeyError):
        return None


def _repository(name: str) -> str:
    try:
        return Reference.parse(name).full_repository
    except BadReference:
        return name


def _called(note: Any) -> str:
    try:
        return Reference.parse(str(note["image"])).name
    except (TypeError, KeyError, BadReference):
        return ""
