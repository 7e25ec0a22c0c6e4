"""References are read by the distribution grammar and compared as containerd does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtack.core.errors import BadReference
from hardtack.manifests.reference import Reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "name", "familiar"),
    [
        ("alpine", "docker.io/library/alpine:latest", "alpine"),
        ("index.docker.io/foo/bar:1", "docker.io/foo/bar:1", "foo/bar:1"),
        ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x"),
        (f"quay.io/a/b:1@{DIGEST}", f"quay.io/a/b:1@{DIGEST}", f"quay.io/a/b:1@{DIGEST}"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}", f"alpine@{DIGEST}"),
    ],
)
def test_normalised(text: str, name: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert (reference.name, reference.familiar) == (name, familiar)


def test_names_of_one_image_are_equal() -> None:
    names = ("alpine:3.20", "docker.io/library/alpine:3.20", "library/alpine:3.20")
    assert len({Reference.parse(name) for name in names}) == 1


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ("docker.io/library/alpine:latest",
         {f"{place}{tag}" for tag in ("", ":latest") for place in (
             "alpine", "library/alpine", "docker.io/alpine", "docker.io/library/alpine",
             "index.docker.io/alpine", "index.docker.io/library/alpine")}),
        ("app/camera:v1",
         {"app/camera:v1", "docker.io/app/camera:v1", "index.docker.io/app/camera:v1"}),
        (f"quay.io/a/b:latest@{DIGEST}", {f"quay.io/a/b:latest@{DIGEST}"}),
    ],
)  # fmt: skip
def test_every_way_to_spell_an_image(text: str, others: set[str]) -> None:
    assert Reference.parse(text).spellings == others


@pytest.mark.parametrize(
    "text",
    ["", "Alpine", "a//b", "a:", "a@", "a@sha256:12", "a b", "-a", "x/" + "a" * 256, "a" * 64,
     "a@sha256:" + "A" * 64, "http://a/b", "a\n"],
)  # fmt: skip
def test_malformed_names_are_refused_by_name(text: str) -> None:
    with pytest.raises(BadReference) as caught:
        Reference.parse(text)
    assert repr(text[:300]) in caught.value.message


@given(st.text(alphabet="abA0./:@-_[]sh256\n ", max_size=60) | st.text(max_size=40))
def test_any_text_is_a_reference_or_a_bad_one(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except BadReference:
        return
    assert Reference.parse(reference.name) == reference
    assert Reference.parse(reference.familiar) == reference
    assert text in reference.spellings
    assert {Reference.parse(spelling) for spelling in reference.spellings} == {reference}
