"""Holes of a text: values that a template may leave open, and the texts that come of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from hardtack.manifests import marks

_MOST_TEXTS = 200
_DEEPEST = 20  # options with holes in them


@dataclass(frozen=True)
class Choice:
    """A hole that may be each of `options`; holes of one `frame` have their n-th together."""

    frame: int
    options: tuple[str, ...]


Hole = Choice | str  # a string says why it can't be told


def opened(holes: list[Hole], hole: Hole) -> str:
    """The mark of one more hole."""
    holes.append(hole)
    return marks.hole(len(holes) - 1)


def expand(text: str, holes: Sequence[Hole]) -> list[tuple[str, str]]:
    """(text, why it can't be told) for each text that `text` with its holes may be."""
    if marks.is_told(text):
        return [(text, "")]
    pending, done = [(text, 0)], dict[str, str]()
    while pending and len(done) < _MOST_TEXTS:
        here, depth = pending.pop(0)
        found = {n: holes[n] for n in marks.holes_in(here) if n < len(holes)}
        choices = {n: hole for n, hole in found.items() if isinstance(hole, Choice)}
        if choices and depth <= _DEEPEST:
            pending += [(each, depth + 1) for each in _chosen(here, choices)]
        else:
            why = next((hole for hole in found.values() if isinstance(hole, str)), "")
            unclear = f"cannot tell: {why or 'it is made by a template'}"
            done[marks.shown(_unquoted(here))] = "" if marks.is_told(here) else unclear
    return list(done.items())


def _chosen(text: str, choices: dict[int, Choice]) -> list[str]:
    """The text with each way to choose."""
    frames: dict[int, int] = {}
    for choice in choices.values():
        frames[choice.frame] = max(frames.get(choice.frame, 0), len(choice.options))
    ways = itertools.product(*(range(count) for count in frames.values()))
    return [
        _filled(text, choices, dict(zip(frames, way, strict=True)))
        for way in itertools.islice(ways, _MOST_TEXTS)
    ]


def _filled(text: str, choices: dict[int, Choice], at: dict[int, int]) -> str:
    def option(number: int) -> str | None:
        if number not in choices:
            return None
        frame, options = choices[number].frame, choices[number].options
        return options[min(at[frame], len(options) - 1)]

    return marks.filled(text, option)


def _unquoted(text: str) -> str:
    """Without the quotes that an action put in: YAML would have read them."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
