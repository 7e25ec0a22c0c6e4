"""YAML keeps its lines, and bad YAML is a problem with a line."""

from pathlib import Path

import pytest

from hardtack.manifests import yamlpos
from hardtack.manifests.place import Severity
from hardtack.manifests.yamlpos import Mapping, parse

F = Path("f.yaml")


def test_values_places_and_comments() -> None:
    (one, two), problems = parse("a: &x {b: 1}\nc:\n  <<: *x\n  d: yes # why\n---\n[1.5, ~]\n", F)
    node = one.root.get("c", "d")
    assert node is not None
    assert (node.line, node.column, one.comments) == (4, 6, {4: "why"})
    assert one.root.plain() == {"a": {"b": 1}, "c": {"b": 1, "d": True}}
    assert two.root.plain() == [1.5, None]
    assert not problems


def test_a_key_that_stands_twice_is_reported() -> None:
    documents, (problem,) = parse("k: 1\nk: 2\n", F)
    assert (problem.place.line, problem.severity) == (2, Severity.WARNING)
    assert isinstance(documents[0].root, Mapping)


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a:\n\t- b\n", 2, "a tab"),
        ("a: b: c\n", 1, "malformed YAML"),
        ("x: {\n", 2, "malformed YAML"),
        (BOMB, 1, "alias bomb"),
        ("&a [*a]", 1, "contains itself"),
        ("[" * 500 + "]" * 500, 1, "nested"),
        ("a: \x00", 1, "malformed YAML"),
    ],
)
def test_bad_yaml(text: str, line: int, words: str) -> None:
    _, problems = parse(text, F)
    assert [problem.place.line for problem in problems] == [line]
    assert words in problems[0].message


def test_a_file_of_data_is_refused_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(yamlpos, "MOST_IN_FILE", 100)
    row = "- {a: b}\n"  # three values, in a list
    assert parse(row * 33, F)[1] == []
    for text, whole in ((row * 34, 0), (f"{row}---\n" * 26, 25)):
        documents, (problem,) = parse(text, F)
        assert (problem.place.line, problem.severity) == (1, Severity.ERROR)
        assert "it has more than 100 values" in problem.message
        assert len(documents) == whole


def test_comments_on_any_line() -> None:
    text = "# a\n\nb: c#d # e # f\nc: x#\n#g"
    ((document,), _) = parse(text, F, lines=lambda n: n + 11)
    assert document.comments == {11: "a", 13: "e # f", 15: "g"}
