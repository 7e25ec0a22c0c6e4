"""Images that settings name, for a program to start by itself: variables, options, free-form maps.

A name alone proves nothing (`IMAGE_DIR`, `SHOW_IMAGE`), nor does a value (`redis:6379`): what is
taken for an image depends on how much of one the other is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from hardtack.core.errors import BadReference
from hardtack.manifests.marks import ANY_HOLE
from hardtack.manifests.numbers import printed
from hardtack.manifests.reference import Reference
from hardtack.manifests.shell import BRACED
from hardtack.manifests.yamlpos import Mapping as Node
from hardtack.manifests.yamlpos import Node as YamlNode
from hardtack.manifests.yamlpos import Scalar

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# What a switch begins with: SHOW_IMAGE, useMinimalImage.
_SWITCHES = {"allow", "disable", "enable", "enabled", "has", "is", "keep", "no", "pull", "push",
             "save", "send", "show", "skip", "use", "with"}  # fmt: skip
_NAME = {"name", "ref", "reference", "uri", "full", "repository", "repo"}
_BEHIND = {"default", "override", "list", "to", "pull", "preload", "prefetch"}
_TAGS = ("image_tag", "tag", "image_version", "version", "image_digest", "digest")
_FILE = re.compile(
    r"\.(?:png|jpe?g|gif|webp|svg|bmp|tiff?|ico|avif|iso|img|qcow2|vmdk|raw|bin|tar|t?gz|zst|zip|sif)"
    r"(?::|@|$)", re.IGNORECASE,
)  # fmt: skip
_REGISTRIES = re.compile(
    r"(?:docker\.io|quay\.io|(?:[a-z-]+\.)?gcr\.io|ghcr\.io|registry\.k8s\.io|nvcr\.io|lscr\.io|"
    r"mcr\.microsoft\.com|public\.ecr\.aws|[0-9]+\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?|"
    r"[a-z0-9]+\.azurecr\.io|[a-z0-9-]+-docker\.pkg\.dev|registry\.gitlab\.com|icr\.io)/"
)
_LATER = re.compile(f"{ANY_HOLE}|{{{{…}}}}|{BRACED}|\\$\\([^)]*\\)|\\$\\w+")
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z][\w.-]*)\s*=\s*(.*?)\s*")
NO_TAG = "cannot tell: no tag is given, and what starts it may add one"


class Named(NamedTuple):
    """An image that an entry names: `step` leads to it below the entry; `why` says what can't be
    told; `parts` is the map that writes it in parts."""

    step: str
    text: Scalar
    why: str
    parts: Node | None = None


def words(name: str) -> list[str]:
    """`inferenceImage`, `INFERENCE_IMAGE` and `inference-image` are `inference`, `image`."""
    return [word.lower() for word in _WORDS.findall(name)]


def names_one(name: str) -> bool:
    """Whether a setting of this name holds an image, whatever its value: `WORKER_IMAGE`."""
    parts = _without_tail(words(name))
    return parts[-1:] in (["image"], ["img"]) and parts[0] not in _SWITCHES


def _without_tail(parts: list[str]) -> list[str]:
    """The words of a name without what may stand behind the image: `image`, of `IMAGE_NAME`."""
    while len(parts) > 1 and parts[-1] in _NAME:
        parts.pop()
    return parts


def images(name: str, value: str) -> list[tuple[str, str]]:
    """(image, why it can't be told or nothing) for each image that the setting names. What a
    template or a variable puts into the value later stands for any text."""
    value = value.strip()
    several = [each for each in re.split(r"[\s,;]+", value) if each]
    if len(several) > 1 or words(name)[-1:] == ["images"]:
        pinned = [each for each in several if _is_pinned(name, each)]
        return [(each, "") for each in pinned] if len(pinned) == len(several) else []
    if _is_pinned(name, value) or (names_one(name) and _LATER.fullmatch(value)):
        return [(value, "")]
    if names_one(name) and _could_be(value):
        return [(value, NO_TAG)]
    return []


def entry(key: str, value: YamlNode, others: Mapping[str, str]) -> Iterator[Named]:
    """The images of one entry of a map whose other settings, by their words, are `others`."""
    is_list = words(key)[-1:] == ["images"]
    if isinstance(value, Scalar):
        if value.tag != "null":
            for text, why in images(key, joined_of(key, value.text, others)):
                yield Named("", replace(value, text=text), why)
    elif isinstance(value, Node) and (whole := joined(value, loosely=names_one(key))):
        yield Named("", whole, "", value)
    elif is_list:
        for step, child in _below(value):
            whole = joined(child, loosely=True) if isinstance(child, Node) else None
            if whole and isinstance(child, Node):
                if "/" in whole.text or "name" not in child:  # a name may be the entry's own
                    yield Named(step, whole, "", child)
            elif isinstance(child, Scalar) and images("images", child.text):
                yield Named(step, child, "")


def _below(value: YamlNode) -> Iterator[tuple[str, YamlNode]]:
    if isinstance(value, Node):
        yield from ((f" › {key.text}", child) for key, child in value.items())
    else:
        yield from ((f"[{number}]", child) for number, child in enumerate(value))


def lines(text: str) -> Iterator[tuple[int, str, str]]:
    """(line from 0, name, value) of the settings in a file of them: `NAME=value`, `name = "…"`."""
    for number, line in enumerate(text.split("\n")):
        if found := _LINE.fullmatch(line):
            yield number, found[1], found[2].strip().strip("\"'")


def _as_set(value: Scalar) -> str:
    """The value's text; a number as Helm prints it, unless it's so long that this is no tag."""
    number = value.plain() if value.tag in ("int", "float") else None
    text = printed(number) if isinstance(number, (int, float)) else value.text
    return value.text if "e" in text and number is not None else text


def joined(image: Node, *, loosely: bool) -> Scalar | None:
    """`{registry, repository, tag, digest}` as one text, where the map writes an image; `loosely`
    where its key says that it does: other words for the parts are then known too."""
    part = {
        key.text: _as_set(value)
        for key, value in image.items()
        if isinstance(value, Scalar) and value.tag != "null"
    }
    names = ("repository", "repo", "image", "name") if loosely else ("repository",)
    named = next((name for name in names if part.get(name)), "")
    version = part.get("tag") or (part.get("version", "") if loosely else "")
    digest = part.get("digest", "")
    if "repository" in part and "image" in part:
        version = version or part.get("version", "")
    has_tag = bool({"tag", "digest"} & image.by_key.keys()) or bool(version)
    if not named or "://" in part[named] or not (has_tag or (loosely and named == "repository")):
        return None
    if named in ("image", "name") and not (version or digest):
        return None
    pieces = [part.get("registry"), part[named]]
    if named == "repository" and "/" not in part.get("image", "/"):  # as NVIDIA's operator has it
        pieces.append(part["image"])
    if version.startswith("sha256:"):
        version, digest = "", version
    text = "/".join(piece for piece in pieces if piece)
    text += f":{version}" if version else ""
    text += f"@{digest}" if digest else ""
    at = image.get(named) or image
    return Scalar(at.line, at.column, text)


def _is_pinned(name: str, value: str) -> bool:
    """An image with tag or digest, as far as name and value together say."""
    reference = _parsed(value)
    if reference is None or not (reference.tag or reference.digest):
        return False
    if _REGISTRIES.match(value):
        return True
    if "/" in value or reference.digest:
        return _is_called_image(name) or _is_elsewhere(name, value, reference)
    return names_one(name) or words(name)[-1:] == ["images"]


def _is_called_image(name: str) -> bool:
    """As `names_one`, and of several; a switch that has an image for its value is none."""
    parts = _without_tail(words(name))
    while parts[-1:] and (parts[-1] in _BEHIND or parts[-1].isdigit()):
        parts.pop()
    return parts[-1:] in (["image"], ["images"], ["img"]) or parts[:2] == ["related", "image"]


def _is_elsewhere(name: str, value: str, reference: Reference) -> bool:
    """Whether the value alone is almost an image: `IMAGE_OF_WORKERS` at a registry of one's own.
    A name such as `IMAGE_TOPIC` stands before `camera/front:0` as well."""
    host, _, path = value.partition("/")
    has_host = bool(path) and ("." in host or ":" in host or host == "localhost")
    is_about_images = bool({"image", "images", "img"} & set(words(name)))
    return is_about_images and (has_host or bool(reference.digest))


def _could_be(value: str) -> bool:
    """A repository without a tag: `quay.io/a/b`, `a/b`; a plain word may be anything."""
    reference = _parsed(value)
    return reference is not None and "/" in value and not (reference.tag or reference.digest)


def _parsed(value: str) -> Reference | None:
    value = _LATER.sub("x", value)
    if _FILE.search(value) or value.startswith(("sha256:", "oci:")):
        return None
    try:
        return Reference.parse(value)
    except BadReference:
        return None


def joined_of(name: str, value: str, others: Mapping[str, str]) -> str:
    """The value with the tag that another setting beside it gives: `X_IMAGE` and `X_IMAGE_TAG`,
    `X_TAG`, `X_VERSION`."""
    if not names_one(name):
        return value
    parts = _without_tail(words(name))
    stem = "_".join(parts[:-1])
    for tag in _TAGS:
        given = others.get(f"{stem}_{tag}".strip("_"))
        if given and _parsed(value):
            return f"{value}{'@' if given.startswith('sha256:') else ':'}{given}"
    return value


def by_words(node: Node) -> dict[str, str]:
    """The settings of a map by their names' words, for `joined_of`."""
    return {
        "_".join(words(key.text)): value.text
        for key, value in node.items()
        if isinstance(value, Scalar) and value.tag != "null"
    }
