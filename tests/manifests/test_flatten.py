"""A template flattened: holes, grafts and what can't be told, as plain values."""

from pathlib import Path

import pytest

from hardtack.manifests import marks
from hardtack.manifests.expressions import Evaluator, World
from hardtack.manifests.flatten import Flat, flatten
from hardtack.manifests.grafts import joined, untold_in
from hardtack.manifests.holes import Choice, expand
from hardtack.manifests.pieces import Alternatives, Inserted, Reader, Turns, Untold, Values, Words
from hardtack.manifests.template import parse as template
from hardtack.manifests.yamlpos import Mapping, Node, parse

ROOT = {"a": "b", "tags": ["1", "2"], "labels": {"name": "n", "more": "m"}, "more": [{"name": "x"}]}


def flat(text: str) -> Flat:
    return flatten(template(text), Evaluator({}), ROOT)


def tree(text: str) -> Node:
    """What the flattened template stands for."""
    written = flat(text)
    documents, problems = parse(written.text, Path("t"))
    assert not problems
    return joined(documents[0].root, written.grafts)


def test_the_pieces_of_a_template() -> None:
    text = "x: {{ .a }}{{ if .no }}c{{ end }}{{ .none }}\n{{ toYaml .labels }}\n{{ lookup 1 }}\n"
    pieces = list(Reader(Evaluator({}), []).pieces(template(text), Turns([World(ROOT, ROOT)])))
    told = [p for p in pieces if p != Words("")]
    words, a, condition, none, line, labels, _, lookup, _ = told
    assert words == Words("x: ")
    assert a == Values(("b",), 0)
    assert isinstance(condition, Alternatives)
    assert condition.branches == ((Words("c"),), ())
    assert isinstance(none, Values)
    assert isinstance(none.each[0], Untold)
    assert line == Words("\n")
    assert isinstance(labels, Inserted)
    assert labels.grown is not None
    assert labels.grown.plain() == ROOT["labels"]
    assert isinstance(lookup, Untold)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("of: k\n{{ toYaml .labels }}\n", {"of": "k", "name": "n", "more": "m"}),
        ("of:\n  more: own\n  {{- toYaml .labels | nindent 2 }}\n",
         {"of": {"name": "n", "more": "own"}}),
        ("of: {{- toYaml .labels | nindent 2 }}\n  own: o\n",
         {"of": {"name": "n", "more": "m", "own": "o"}}),
        ("env:\n- first\n{{ toYaml .more | indent 0 }}\n- last\n",
         {"env": ["first", {"name": "x"}, "last"]}),
        ("tags: {{ toYaml .tags }}\nof: {{ .a }}\n", {"tags": None, "of": "b"}),
    ],
)  # fmt: skip
def test_what_actions_put_in_joins_what_stands_there(text: str, plain: object) -> None:
    assert tree(text).plain() == plain


def test_holes_are_each_of_their_options() -> None:
    written = flat("{{ range .tags }}\nx: a:{{ . }}-{{ .none }}\n{{ end }}")
    text = written.text.strip().removeprefix("x: ")
    assert written.holes[0] == Choice(1, ("1", "2"))
    assert [each for each, _ in expand(text, written.holes)] == ["a:1-{{…}}", "a:2-{{…}}"]
    assert not marks.is_told(text)
    assert marks.shown(text, "?") == "a:?-?"


def test_entries_that_cannot_be_told() -> None:
    root = tree('resources:\n  {{- toYaml (lookup "v1") | nindent 2 }}\n')
    assert isinstance(root, Mapping)
    resources = root.get("resources")
    assert resources is not None
    assert untold_in(resources) == '{{ toYaml (lookup "v1") | nindent 2 }}'
    assert untold_in(root) == ""
