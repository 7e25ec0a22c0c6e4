"""Image references by the distribution grammar, normalised as containerd does."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from hardtack.core.errors import BadReference

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
_HUB = (DEFAULT_REGISTRY, "index.docker.io")
LONGEST_NAME = 255

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|__|_|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_HASH_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True, eq=False)
class Reference:
    """One image by name. Two references are equal when containerd would take them for one.

    `registry` is the normalised domain (`docker.io`, `localhost:5000`), `repository` the path in it
    (`library/alpine`), `tag` the tag as written (None when there is none), `digest` `sha256:…`.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """The reference that `text` writes. Raises BadReference."""
        rest, _, digest = text.partition("@")
        if "@" in text:
            _check_digest(text, digest)
        # A colon behind the last slash starts a tag; one before it starts a port.
        head, colon, tag = rest.rpartition(":")
        if colon and "/" not in tag:
            rest = head
            _expect(_TAG, tag, text, "tag", "up to 128 letters, digits, '_', '.' and '-'")
        else:
            tag = ""
        registry, repository = _split(rest)
        _expect(_REGISTRY, registry, text, "registry", "a host name with an optional port")
        if registry == DEFAULT_REGISTRY and "/" not in repository:
            if _IDENTIFIER.fullmatch(repository):
                raise _bad(text, "64 hexadecimal digits are an image's id, not its name")
            repository = f"library/{repository}"
        for component in repository.split("/"):
            wanted = "lower-case letters and digits, separated by '.', '_', '__' or '-'"
            _expect(_COMPONENT, component, text, "repository", wanted)
        if len(registry) + 1 + len(repository) > LONGEST_NAME:
            raise _bad(text, f"the name has more than {LONGEST_NAME} characters")
        return cls(registry, repository, tag or None, digest or None)

    @property
    def full_repository(self) -> str:
        """Registry and repository: `docker.io/library/alpine`."""
        return f"{self.registry}/{self.repository}"

    @property
    def name(self) -> str:
        """The normalised form in full: `docker.io/library/alpine:latest`."""
        return self.full_repository + self._suffix(self.tag or ("" if self.digest else DEFAULT_TAG))

    @property
    def familiar(self) -> str:
        """The shortest form that means the same: `alpine:3.20`."""
        short = self.full_repository
        if self.registry == DEFAULT_REGISTRY:
            short = self.repository.removeprefix("library/")
            if "/" in short and self.repository.startswith("library/"):
                short = self.repository
            if _looks_like_registry(short.partition("/")[0]) and "/" in short:
                short = self.full_repository
        return short + self._suffix(self.tag or "")

    @property
    def spellings(self) -> frozenset[str]:
        """Every text that means the image with this very tag and digest, `index.docker.io` and a
        `latest` that is left out among them."""
        places = {self.full_repository}
        if self.registry == DEFAULT_REGISTRY:
            short = self.repository.removeprefix("library/")
            paths = {self.repository, self.repository if "/" in short else short}
            places = {f"{host}/{path}" for host in _HUB for path in paths}
            places |= {path for path in paths if _split(path)[0] == DEFAULT_REGISTRY}
        tag = self.tag or ("" if self.digest else DEFAULT_TAG)
        tags = {tag, "" if tag == DEFAULT_TAG and not self.digest else tag}
        return frozenset(place + self._suffix(tag) for place in places for tag in tags)

    def with_digest(self, digest: str | None) -> Reference:
        """The same image and tag, pinned to `digest`. Raises BadReference."""
        if digest is not None:
            _check_digest(digest, digest)
        return replace(self, digest=digest)

    def with_tag(self, tag: str | None) -> Reference:
        """The same image under another tag. Raises BadReference."""
        if tag is not None:
            _expect(_TAG, tag, tag, "tag", "up to 128 letters, digits, '_', '.' and '-'")
        return replace(self, tag=tag)

    def _suffix(self, tag: str) -> str:
        return (f":{tag}" if tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.familiar

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


def _split(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and _looks_like_registry(first):
        return (DEFAULT_REGISTRY if first in _HUB else first), rest
    return DEFAULT_REGISTRY, name


def _looks_like_registry(first: str) -> bool:
    return first == "localhost" or "." in first or ":" in first or first.lower() != first


def _check_digest(text: str, digest: str) -> None:
    _expect(_DIGEST, digest, text, "digest", "an algorithm, ':' and hexadecimal digits")
    algorithm, _, digits = digest.partition(":")
    length = _HASH_LENGTH.get(algorithm, len(digits))
    if len(digits) != length:
        raise _bad(text, f"a {algorithm} digest has {length} digits, this one {len(digits)}")
    if algorithm in _HASH_LENGTH and digits.lower() != digits:
        raise _bad(text, f"a {algorithm} digest is written in lower case")


def _expect(pattern: re.Pattern[str], part: str, text: str, what: str, wanted: str) -> None:
    if not pattern.fullmatch(part):
        raise _bad(text, f"its {what} is {part[:80]!r}, expected {wanted}")


def _bad(text: str, why: str) -> BadReference:
    return BadReference(
        f"{text[:300]!r} is not an image reference: {why}.",
        remedy="Write it as registry/repository:tag or registry/repository@sha256:….",
    )
