"""Each way in which a manifest, compose file or Dockerfile may name an image."""

import json
from pathlib import Path

import pytest

from hardtack.manifests.model import Kind
from tests.manifests.test_scan import brief, scanned

SPEC = {"containers": [{"image": "a/b:1"}]}
TEMPLATE = {"template": {"spec": SPEC}}


@pytest.mark.parametrize(
    ("kind", "body"),
    [("Pod", {"spec": SPEC}), ("PodTemplate", TEMPLATE)]
    + [(kind, {"spec": TEMPLATE}) for kind in (
        "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "ReplicationController")]
    + [("CronJob", {"spec": {"jobTemplate": {"spec": TEMPLATE}}})],
)  # fmt: skip
def test_kinds_in_json_and_lists(tmp_path: Path, kind: str, body: dict[str, object]) -> None:
    resource = {"kind": kind, "metadata": {"name": "n"}} | body
    result = scanned(tmp_path, {
        "one.json": json.dumps(resource, indent=1),
        "two.yaml": json.dumps({"kind": "List", "items": [{"kind": f"{kind}List",
                                                           "items": [resource]}]}),
    })  # fmt: skip
    assert [(i.path, i.kind) for i in result.images] == [
        (f"{kind}/n › containers[0]", Kind.CONTAINER),
        (f"List › {kind}List › {kind}/n › containers[0]", Kind.CONTAINER),
    ]
    lines = (tmp_path / "one.json").read_text().split("\n")
    assert "a/b:1" in lines[result.images[0].place.line - 1]


def test_sidecars_ephemeral_containers_and_volumes(tmp_path: Path) -> None:
    images = scanned(tmp_path, {"p.yaml": (
        "kind: Pod\nspec:\n  nodeSelector: {kubernetes.io/arch: arm64}\n  initContainers:\n"
        "  - image: a/mount:1\n    restartPolicy: Always\n  ephemeralContainers:\n"
        "  - image: a/debug\n  volumes:\n  - image: {reference: a/w:1, pullPolicy: Never}\n"
    )}).images  # fmt: skip
    assert [(i.kind, i.place.line, i.policy.value if i.policy else "") for i in images] == [
        (Kind.INIT, 5, "IfNotPresent"), (Kind.EPHEMERAL, 8, "Always"), (Kind.VOLUME, 10, "Never"),
    ]  # fmt: skip
    assert {i.platforms for i in images} == {("linux/arm64",)}


def test_an_alias_is_reported_where_it_is_used(tmp_path: Path) -> None:
    text = (
        "kind: Pod\nmetadata: {annotations: {i: &i a/b:1}}\nspec:\n  containers:\n"
        "  - name: x\n    image: *i\n"
    )
    assert [brief(i)[0] for i in scanned(tmp_path, {"p.yaml": text}).images] == [6]


def test_duplicate_keys_tabs_and_alias_bombs_are_named_with_their_lines(tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(n)}: &{chr(n)} [*{chr(n - 1)}, *{chr(n - 1)}]\n" for n in range(ord("b"), ord("z"))
    )
    result = scanned(tmp_path, {
        "bomb.yaml": bomb, "tab.yaml": "a:\n\tb: 1\n",
        "twice.yaml": "kind: Pod\nspec:\n  containers:\n  - image: a/b:1\n    image: a/b:2\n",
    })  # fmt: skip
    said = [(p.place.file.name, p.place.line, p.message) for p in result.problems]
    assert [(name, line) for name, line, _ in said] == [
        ("bomb.yaml", 1), ("tab.yaml", 2), ("twice.yaml", 5),
    ]  # fmt: skip
    assert ["bomb" in said[0][2], "tab" in said[1][2], "twice" in said[2][2]] == [True] * 3
    assert [brief(i)[2] for i in result.images] == ["a/b:1", "a/b:2"]


def test_broken_yaml_in_a_configmap_is_noted(tmp_path: Path) -> None:
    text = "kind: ConfigMap\nmetadata: {name: c}\ndata:\n  t: |\n    image: a/b:1\n    x: {\n"
    other = text.replace("image: a/b:1", "kind: of text").replace("name: c", "name: d")
    (problem,) = scanned(tmp_path, {"c.yaml": text, "d.yaml": other}).problems
    assert (problem.place.line, problem.severity) == (7, "note")
    assert problem.message.startswith("in ConfigMap/c › data.t: malformed YAML")


def test_compose_reads_the_env_file_beside_it(tmp_path: Path) -> None:
    result = scanned(tmp_path, {
        "compose.yaml": "services:\n  w: {image: 'a/b:${TAG}'}\n  x: {image: 'a/c:${NONE}'}\n",
        ".env": "# the tag\nTAG='7'\n",
    })  # fmt: skip
    assert [brief(i)[2] for i in result.images] == ["a/b:7", "?"]
    assert "${NONE}" in result.images[1].reason


@pytest.mark.parametrize("null", ["null", "~", ""])
def test_null_is_no_image(tmp_path: Path, null: str) -> None:
    service = f"services:\n  w:\n    build: .\n    image: {null}\n  x:\n    image: {null}\n"
    pod = f"kind: Pod\nspec:\n  containers:\n  - name: a\n    image: {null}\n"
    images = scanned(tmp_path, {"compose.yaml": service, "pod.yaml": pod}).images
    assert [brief(image)[::2] for image in images] == [(6, "?"), (5, "?")]
    assert {image.reason for image in images} == {"no image is written here"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FROM a/b:1\nENV V 3.1\nRUN docker pull a/c:$V\n", [(1, "a/b:1"), (3, "a/c:3.1")]),
        ("FROM a/b:1 AS one\nARG V=1\nENV W=2\nFROM one\nRUN docker pull a/c:$V$W\n",
         [(1, "a/b:1"), (5, "a/c:12")]),
        ('FROM scratch\nRUN ["crane", "pull", "a/c:1", "x.tar"]\n', [(2, "a/c:1")]),
        ('FROM scratch\nCMD ["sh", "-ec", "true && docker pull a/c:2"]\n', [(2, "a/c:2")]),
        ("FROM scratch\nONBUILD RUN docker pull a/c:3\n", [(2, "a/c:3")]),
        ("FROM scratch\nENV V=1\nFROM scratch\nRUN docker pull a/c:$V\n", [(4, "?")]),
    ],
)  # fmt: skip
def test_dockerfiles(tmp_path: Path, text: str, found: list[tuple[int, str]]) -> None:
    images = scanned(tmp_path, {"Dockerfile": text}).images
    assert [brief(image)[::2] for image in images] == found


def test_commands_of_containers_word_by_word(tmp_path: Path) -> None:
    text = (
        "kind: Pod\nspec:\n  containers:\n  - image: a/crane:1\n"
        "    command: [crane, pull, a/b:1, /b.tar]\n  - image: a/skopeo:1\n"
        "    command: [skopeo]\n    args:\n    - copy\n    - docker://a/c:1\n    - dir:/c\n"
        "  - image: a/sh:1\n    command: [sh, -c]\n    args: [crane pull a/d:1 x.tar]\n"
    )
    images = scanned(tmp_path, {"p.yaml": text}).images
    assert [(i.kind, *brief(i)[::2]) for i in images] == [
        (Kind.CONTAINER, 4, "a/crane:1"), (Kind.COMMAND, 5, "a/b:1"),
        (Kind.CONTAINER, 6, "a/skopeo:1"), (Kind.COMMAND, 10, "a/c:1"),
        (Kind.CONTAINER, 12, "a/sh:1"), (Kind.COMMAND, 14, "a/d:1"),
    ]  # fmt: skip


def test_fields_of_resources_that_end_in_image(tmp_path: Path) -> None:
    text = (
        "kind: Engine\nspec:\n  initImage: a/init:1\n  osImage: Debian 12\n  diskImage: a.img\n"
        "  worker: {baseImage: 'a/base@sha256:" + "ab" * 32 + "'}\n"
    )
    images = scanned(tmp_path, {"e.yaml": text}).images
    assert [(i.kind, i.place.line, i.path) for i in images] == [
        (Kind.CRD, 3, "Engine › spec › initImage"),
        (Kind.CRD, 6, "Engine › spec › worker › baseImage"),
    ]
