"""Grafts: maps and sequences that a template's actions put in, as YAML that knows where it stands,
and how they join the tree that the template's own text makes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hardtack.manifests import marks
from hardtack.manifests.origins import Origins
from hardtack.manifests.yamlpos import Mapping, Node, Scalar, parse
from hardtack.manifests.yamlpos import Sequence as Items


def grown(text: str, origins: Origins, line: int) -> Node | None:
    """The map or sequence that the text is, each node where named templates have it, else at the
    `line` of the action that puts the text in. None for any other text."""
    documents, _ = parse(text, Path(), lines=lambda n: n)
    if len(documents) != 1:
        return None
    root = documents[0].root
    if isinstance(root, Scalar):
        return None
    return _placed(root, origins, line)


def _placed(node: Node, origins: Origins, line: int) -> Node:
    """The node, whose lines count from 0 in the text, at its place on disk."""
    if isinstance(node, Scalar):
        return _placed_scalar(node, origins, line)
    place = origins.of(node.line, node.column)
    at, column, file = (place.line, place.column, place.file) if place else (line, 1, None)
    if isinstance(node, Items):
        return Items(at, column, tuple(_placed(child, origins, line) for child in node), file)
    entries = [
        (_placed_scalar(key, origins, line), _placed(value, origins, line))
        for key, value in node.items()
    ]
    by_key = {key.text: value for key, value in entries}
    return Mapping(at, column, tuple(entries), by_key, file)


def _placed_scalar(node: Scalar, origins: Origins, line: int) -> Scalar:
    place = origins.of(node.line, node.column)
    at, column, file = (place.line, place.column, place.file) if place else (line, 1, None)
    style = node.style if place else node.style.strip("|>") and '"'  # a block's lines are one's
    return Scalar(at, column, node.text, style, node.tag, at + node.end_line - node.line, file)


def joined(root: Node, grafts: Sequence[Node]) -> Node:
    """The tree with the grafts in place of their marks."""
    return _Joining(grafts).node(root) if grafts else root


class _Joining:
    """Each node is joined once, whatever number of aliases name it."""

    def __init__(self, grafts: Sequence[Node]) -> None:
        self._grafts = grafts
        self._done: dict[int, Node] = {}

    def node(self, node: Node) -> Node:
        done = self._done.get(id(node))
        if done is None:
            done = self._done[id(node)] = self._joined(node)
        return done

    def _joined(self, node: Node) -> Node:
        graft = self._graft(node.tag)
        if isinstance(node, Scalar):
            return graft or self._graft(node.text) or node
        if graft and not tuple(node):
            return graft
        own = self._map(node) if isinstance(node, Mapping) else self._items(node)
        return _both(own, graft)

    def _graft(self, mark: str) -> Node | None:
        number = marks.graft_of(mark)
        return None if number is None or number >= len(self._grafts) else self._grafts[number]

    def _items(self, node: Items) -> Items:
        """The items, those of grafts that are sequences one by one."""
        items: list[Node] = []
        for child in node:
            item = self.node(child)
            is_graft = self._graft(child.tag) or (isinstance(child, Scalar) and item is not child)
            items += item if is_graft and isinstance(item, Items) else (item,)
        return Items(node.line, node.column, tuple(items))

    def _map(self, node: Mapping) -> Mapping:
        entries: list[tuple[Scalar, Node]] = []
        by_key: dict[str, Node] = {}
        for key, value in node.items():
            graft = self._graft(key.text)
            if isinstance(graft, Mapping):
                entries += graft.entries
                by_key |= {k: each for k, each in graft.by_key.items() if k not in by_key}
            else:
                entries.append((key, self.node(value)))
                by_key[key.text] = entries[-1][1]
        return Mapping(node.line, node.column, tuple(entries), by_key)


def _both(own: Mapping | Items, graft: Node | None) -> Node:
    """What stands below a key, with what is put in there before it."""
    if isinstance(own, Mapping) and isinstance(graft, Mapping):
        more = tuple((key, value) for key, value in graft.items() if key.text not in own)
        return Mapping(own.line, own.column, (*more, *own.entries), graft.by_key | own.by_key)
    if isinstance(own, Items) and isinstance(graft, Items):
        return Items(own.line, own.column, (*graft.children, *own.children))
    return own


def untold_in(node: Node) -> str:
    """What puts entries into a mapping that can't be told; empty where all are there."""
    return marks.untold_among(node.by_key) if isinstance(node, Mapping) else ""
