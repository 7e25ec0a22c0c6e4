"""Marks: what a flattened template's text has where plain YAML can't say what stands there.

This file alone knows how they look. A *hole* in a scalar is a text that can't be told or is one of
several (`holes`); a *graft* joins a map or a sequence that is written elsewhere (`grafts`); an
*untold entry* of a map stands for those that can't be told. (`origins` has marks of its own, gone
before a text comes here.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

ANY_HOLE = "\ue000[0-9]*\ue001"  # as regular expressions
ANY_GRAFT_ENTRY = '"\ue014[0-9]+\ue015": ~'
_HOLE = re.compile("\ue000([0-9]+)\ue001")
_GRAFT = re.compile("\ue014([0-9]+)\ue015")
_GRAFT_TAG = re.compile("!graft-([0-9]+)")
_UNTOLD = "\ue016"
# `@sha256:` at a line's end, behind which a template puts no digest, would make the line a key.
_NO_DIGEST = "@sha256:-"


def hole(number: int) -> str:
    return f"\ue000{number}\ue001"


def holes_in(text: str) -> list[int]:
    """The numbers of the text's holes."""
    return [int(number) for number in _HOLE.findall(text)]


def filled(text: str, filling: Callable[[int], str | None]) -> str:
    """The text with `filling(number)` in place of each hole; None leaves the hole."""

    def text_of(found: re.Match[str]) -> str:
        given = filling(int(found[1]))
        return found[0] if given is None else given

    return _HOLE.sub(text_of, text)


def is_told(text: str) -> bool:
    """Whether no hole is in the text."""
    return "\ue000" not in text


def shown(text: str, as_: str = "{{…}}") -> str:
    """The text for a person, each hole as `as_`."""
    return re.sub(ANY_HOLE, as_, text)


def without_open_digests(text: str) -> str:
    """YAML whose `@sha256:` at lines' ends, with no digest behind, are no keys."""
    return re.sub(r"(?m)@sha256:$", _NO_DIGEST, text)


def lacks_digest(image: str) -> bool:
    """Whether the image ends where its template puts a digest for those whose values give one."""
    return image.endswith(("@", "@sha256:", _NO_DIGEST))


def graft_entry(number: int) -> str:
    """An entry of a map that stands for those of the graft of this number, counted from 0."""
    return f'"\ue014{number}\ue015": ~'


def graft_item(number: int) -> str:
    """An item of a sequence that stands for those of the graft."""
    return f"- \ue014{number}\ue015"


def graft_tag(number: int) -> str:
    """What stands before a value, of several lines or of none, that the graft's entries or items
    join."""
    return f"!graft-{number}"


def graft_of(text_or_tag: str) -> int | None:
    """The number of the graft that a key, an item or a tag stands for."""
    if text_or_tag[:1] not in ("\ue014", "!"):  # most of them
        return None
    found = _GRAFT.fullmatch(text_or_tag) or _GRAFT_TAG.fullmatch(text_or_tag)
    return int(found[1]) if found else None


def untold_entry(action: str) -> str:
    """An entry that stands for those of a mapping which can't be told, as the action puts them
    in."""
    return f"{json.dumps(f'{_UNTOLD}{{{{ {action} }}}}', ensure_ascii=False)}: ~"


def untold_among(keys: Iterable[str]) -> str:
    """The action, in its braces, of an untold entry; empty where there is none among the keys."""
    return next((key[1:] for key in keys if key.startswith(_UNTOLD)), "")


def without_untold(text: str) -> str:
    """The text without untold entries, its lines as they were."""
    return re.sub(f'(?m)^ *"{_UNTOLD}.*$', "", text)


def without_grafts(text: str) -> str:
    """The text without marks of grafts, its lines as they were."""
    text = re.sub(f'(?m)^ *(?:"{_GRAFT.pattern}": ~|- {_GRAFT.pattern})', "", text)
    return re.sub(r" ?!graft-[0-9]+", "", text)
