"""Marks in a text, for what stands elsewhere or can't be told, that a parser turns into nodes."""

from __future__ import annotations

import json
import re

_JSON_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/)?')
UNTOLD = "\ue016"
GRAFT_TAG = re.compile("!graft-([0-9]+)")
GRAFT = re.compile("\ue014([0-9]+)\ue015")


def graft_mark(number: int) -> str:
    """What stands in a text for the graft of this number, counted from 0: as the value of `<<` its
    entries join those of the mapping, as an item of a sequence its items join the others."""
    return f"\ue014{number}\ue015"


def graft_tag(number: int) -> str:
    """What stands before a value, of several lines or of none, that the graft's entries or items
    join."""
    return f"!graft-{number}"


def without_grafts(text: str) -> str:
    """The text with the marks taken out, its lines as they were."""
    text = re.sub(f"(?m)^ *(?:<<: |- ){GRAFT.pattern}", "", text)
    return without_untold(re.sub(r" ?!graft-[0-9]+", "", text))


def untold_entry(what: str) -> str:
    """An entry that stands for those of a mapping which can't be told, as `what` puts them in."""
    return f"{json.dumps(UNTOLD + what, ensure_ascii=False)}: ~"


def without_untold(text: str) -> str:
    return re.sub(f'(?m)^ *"{UNTOLD}.*$', "", text)


def without_comments(text: str) -> str:
    """JSON with `//` and `/* */` blanked out, its lines and columns as they were."""

    def blank(found: re.Match[str]) -> str:
        return found[0] if found[0][0] == '"' else re.sub(r"[^\n]", " ", found[0])

    return _JSON_COMMENT.sub(blank, text)
