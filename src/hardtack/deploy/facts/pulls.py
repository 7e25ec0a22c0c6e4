"""The kubelet's own notes of the images that it pulled, and with whose credentials (Kubernetes 1.33
and later)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardtack.core.errors import BadReference
from hardtack.deploy.facts.unreadable import unreadable
from hardtack.manifests.reference import Reference

_ROOT = "/var/lib/kubelet"
_PREFIX, _SUFFIX = "sha256-", ".tmp"  # the latter of one that is being written
_GROUP = "kubelet.config.k8s.io/"
_PULLED, _PULLING = "ImagePulledRecord", "ImagePullIntent"


@dataclass(frozen=True)
class Credentials:
    """Who may have an image: `everybody` on this node; who has one of the secrets, by namespace and
    name; pods of certain `accounts`."""

    everybody: bool = False
    secrets: tuple[tuple[str, str], ...] = ()
    accounts: bool = False


@dataclass(frozen=True)
class Pulls:
    """`pulled`: file → (image's id, repository → credentials); `pulling`: file → the image of a
    pull that began and whose end was never noted. None where the note can't be understood."""

    directory: Path
    pulled: Mapping[str, tuple[str, Mapping[str, Credentials]] | None] = field(default_factory=dict)
    pulling: Mapping[str, str | None] = field(default_factory=dict)

    def of(self, image: str) -> Mapping[str, Credentials] | None:
        """Repository → credentials of the image with this id; None where the kubelet has no note
        of it that it understands."""
        noted = self.pulled.get(_name(image))
        return noted[1] if noted and noted[0] == image else None

    def file(self, image: str) -> Path:
        """Where the kubelet notes the image with this id."""
        return self.directory / "pulled" / _name(image)

    def damaged(self, image: str, spellings: Iterable[str]) -> Path | None:
        """The note that the kubelet would read of the image with this id, and which it can't: then
        it pulls, whatever it is told. It goes by how a pod spells the image where it has none of
        the id."""
        if _name(image) in self.pulled and self.pulled[_name(image)] is None:
            return self.file(image)
        if self.of(image) is not None:
            return None
        names = map(_name, sorted(spellings))
        return next(
            (self._pulling(n) for n in names if n in self.pulling and self.pulling[n] is None), None
        )

    def began(self, spellings: Iterable[str]) -> Path | None:
        """The note of a pull that never ended of the image that is spelled so; None where there is
        none."""
        wanted = frozenset(spellings)
        return next(
            (self._pulling(n) for n, image in self.pulling.items() if image in wanted), None
        )

    def _pulling(self, name: str) -> Path:
        return self.directory / "pulling" / name


def read(root: Path, kubelet: Mapping[str, str]) -> Pulls:
    """The notes below the kubelet's directory. Raises ConfigError for what may not be read."""
    top = root / kubelet.get("root-dir", _ROOT).lstrip("/") / "image_manager"
    pulled = {name: _credentials(note) for name, note in _notes(top / "pulled", _PULLED)}
    pulling = {name: _spelled(note) for name, note in _notes(top / "pulling", _PULLING)}
    return Pulls(top, pulled, pulling)


def _name(noted: str) -> str:
    """The file of what is noted: an image's id, or how it is spelled."""
    return f"{_PREFIX}{hashlib.sha256(noted.encode()).hexdigest()}"


def _notes(directory: Path, kind: str) -> Iterator[tuple[str, Any]]:
    """(file, what it says: None where that can't be told, as the kubelet sees it too)."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable(directory, error, "Mend it, then look again.") from None
    for name in names:
        if name.startswith(_PREFIX) and not name.endswith(_SUFFIX):
            try:
                yield name, _note((directory / name).read_bytes(), kind)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise unreadable(directory / name, error, "Mend it, then look again.") from None


def _note(text: bytes, kind: str) -> Any:
    try:
        note = json.loads(text)
    except (ValueError, RecursionError):  # a power cut left half of it, nothing, or zeros
        return None
    known = isinstance(note, dict) and str(note.get("apiVersion")).startswith(_GROUP)
    return note if known and note.get("kind") == kind else None


def _credentials(note: Any) -> tuple[str, dict[str, Credentials]] | None:
    """None for a note that can't be understood."""
    try:
        return str(note.get("imageRef", "")), {
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


def _spelled(note: Any) -> str | None:
    return None if note is None else str(note.get("image", ""))
