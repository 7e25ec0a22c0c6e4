"""The files of a generation that a person names by patterns."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hardtack.cache.api import Entry, Kind

if TYPE_CHECKING:
    from hardtack.cache.catalogue import Catalogue


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern names `path` or a directory above it; no pattern names everything.

    `*` crosses slashes.
    """
    return not patterns or any(_one(path, pattern.strip("/")) for pattern in patterns)


def _one(path: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, pattern + "/*")


class Selection:
    """What `patterns` name in generation `view`; walked anew each time, so it costs no memory."""

    def __init__(self, catalogue: Catalogue, view: int, patterns: Sequence[str]) -> None:
        self.view, self.patterns = view, tuple(patterns)
        self._catalogue = catalogue

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """(path, entry) of the files and links."""
        for path, entry in self._catalogue.walk(self.view):
            if entry.kind is not Kind.DIRECTORY and matches(path, self.patterns):
                yield path, entry

    def unmatched(self) -> list[str]:
        """The patterns that name nothing."""
        left = list(self.patterns)
        for path, _ in self.entries():
            left = [pattern for pattern in left if not matches(path, [pattern])]
            if not left:
                break
        return left
