"""Kustomizations: what they put in place of images, and what they name themselves."""

import subprocess
from pathlib import Path

import pytest

from hardtack.manifests.build import policy_in_force
from hardtack.manifests.reference import Reference
from tests.manifests.test_scan import brief, scanned
from tests.support.helm import kubectl

DIGEST = "sha256:" + "0a" * 32
DEPLOYMENT = (
    "kind: Deployment\nspec:\n  template:\n    spec:\n      initContainers: [{image: 'a/i:1'}]\n"
    "      containers: [{image: 'a/b:1'}]\n"
)


def test_components_and_digests_and_what_lies_further_in(tmp_path: Path) -> None:
    """An overlay's digest over the base's tag, and a component's name for both, of files that the
    base takes in from elsewhere."""
    result = scanned(tmp_path, {
        "shared/d.yaml": DEPLOYMENT,
        "base/kustomization.yaml": "resources: [../shared/d.yaml]\n"
                                   "images: [{name: a/b, newTag: '2'}]\n",
        "mirror/kustomization.yaml": "kind: Component\n"
                                     "images: [{name: a/i, newName: reg.example.com/i}]\n",
        "overlay/kustomization.yaml": "resources: [../base]\ncomponents: [../mirror]\n"
                                      f"images: [{{name: a/b, digest: '{DIGEST}'}}]\n",
    })  # fmt: skip
    assert [brief(i)[::2] for i in result.images] == [
        (5, "reg.example.com/i:1"), (6, f"a/b@{DIGEST}")
    ]  # fmt: skip
    assert all(i.path.endswith("kustomize images") for i in result.images)


def test_each_overlay_has_its_own(tmp_path: Path) -> None:
    overlay = "resources: [../base]\nimages: [{name: a/b, newTag: '%s'}]\n"
    result = scanned(tmp_path, {
        "base/kustomization.yaml": "resources: [d.yaml]\n", "base/d.yaml": DEPLOYMENT,
        "cpu/kustomization.yaml": overlay % "cpu", "gpu/kustomization.yaml": overlay % "gpu",
    })  # fmt: skip
    assert [brief(i)[2] for i in result.images] == ["a/i:1", "a/b:cpu", "a/b:gpu"]


def test_kustomizations_that_take_each_other_in_come_to_an_end(tmp_path: Path) -> None:
    result = scanned(tmp_path, {
        "a/kustomization.yaml": "resources: [../b, d.yaml]\n", "a/d.yaml": DEPLOYMENT,
        "b/kustomization.yaml": "resources: [../a]\ncomponents: [../b]\n",
    })  # fmt: skip
    assert [brief(i)[2] for i in result.images] == ["a/i:1", "a/b:1"]


def test_patches_in_strings_and_files(tmp_path: Path) -> None:
    result = scanned(tmp_path, {
        "kustomization.yaml": "resources: [d.yaml]\npatches:\n- path: p.yaml\n- patch: |-\n"
            "    kind: Deployment\n    spec:\n      template:\n        spec:\n"
            "          containers: [{name: x, image: 'a/side:1'}]\n- patch: |\n    - op: add\n"
            "      path: /spec/template/spec/containers/-\n      value: {image: 'a/more:1'}\n",
        "d.yaml": DEPLOYMENT,
        "p.yaml": "- op: replace\n  path: /spec/template/spec/containers/0/image\n"
                  "  value: a/b:2\n- op: remove\n  path: /spec/image\n",
    })  # fmt: skip
    assert [(i.place.file.name, *brief(i)[::2]) for i in result.images] == [
        ("d.yaml", 5, "a/i:1"), ("d.yaml", 6, "a/b:1"),
        ("kustomization.yaml", 9, "a/side:1"), ("kustomization.yaml", 13, "a/more:1"),
        ("p.yaml", 3, "a/b:2"),
    ]  # fmt: skip
    assert not result.problems
    assert [i.policy and i.policy.value for i in result.images[2:]] == [None, None, None]


def test_a_patch_says_nothing_of_a_pull_policy_that_it_leaves(tmp_path: Path) -> None:
    patch = DEPLOYMENT.replace("{image: 'a/b:1'}", "{image: 'a/b:2', imagePullPolicy: Never}")
    result = scanned(tmp_path, {
        "kustomization.yaml": "resources: [d.yaml]\npatchesStrategicMerge: [p.yaml]\n",
        "d.yaml": DEPLOYMENT, "p.yaml": patch,
    })  # fmt: skip
    assert [i.policy and i.policy.value for i in result.images] == [
        "IfNotPresent", "IfNotPresent", None, "Never"
    ]  # fmt: skip


def test_settings_that_it_makes(tmp_path: Path) -> None:
    result = scanned(tmp_path, {
        "kustomization.yaml": "configMapGenerator:\n- name: c\n  literals:\n  - LOG=debug\n"
                              "  - WORKER_IMAGE=a/worker:1\n  envs: [box.env, gone.env]\n",
        "box.env": "# what it starts\nHELPER_IMAGE=a/helper:1\n",
    })  # fmt: skip
    assert [(i.place.file.name, *brief(i)) for i in result.images] == [
        ("kustomization.yaml", 5, "configMapGenerator[0] › WORKER_IMAGE", "a/worker:1"),
        ("box.env", 2, "HELPER_IMAGE", "a/helper:1"),
    ]  # fmt: skip


NAMED = ("a/b:1", "a/b", f"a/b@{DIGEST}", f"a/b:1@{DIGEST}", "docker.io/a/b:1", "a/bc:1",
         "localhost:5000/a/b", "localhost:5000/a/b:1", "nginx")  # fmt: skip


@pytest.mark.parametrize(
    "entry",
    [
        "name: a/b, newTag: '2'", "name: docker.io/a/b, newTag: '3'", "name: a/b, newTag: latest",
        f"name: a/b, digest: '{DIGEST}'", f"name: a/b, newTag: '2', digest: '{DIGEST}'",
        "name: a/b, newName: 'reg.example:5000/x/y'",
        "name: localhost:5000/a/b, newName: a/c, newTag: '2'", "name: nginx, newTag: '2'",
        "name: docker.io/library/nginx, newTag: '2'", "name: library/nginx, newTag: '2'",
    ],
)  # fmt: skip
def test_kustomize_itself_leaves_the_same(tmp_path: Path, entry: str) -> None:
    containers = "".join(f"  - {{name: c{n}, image: '{name}'}}\n" for n, name in enumerate(NAMED))
    result = scanned(tmp_path, {
        "kustomization.yaml": f"resources: [p.yaml]\nimages:\n- {{{entry}}}\n",
        "p.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n"
                  + containers,
    })  # fmt: skip
    done = subprocess.run([kubectl(), "kustomize", tmp_path], capture_output=True, text=True,
                          check=True, timeout=60)  # fmt: skip
    left = [line.partition("image: ")[2] for line in done.stdout.split("\n") if "image: " in line]
    assert [i.reference and i.reference.name for i in result.images] == [
        Reference.parse(each).name for each in left
    ]
    for image in result.images:
        assert image.policy == policy_in_force("", image.reference)


def test_a_suffix_of_tags_can_t_be_told(tmp_path: Path) -> None:
    """Kustomize 5.6 puts it there twice."""
    files = {"kustomization.yaml": "resources: [d.yaml]\nimages: [{name: a/b, tagSuffix: -arm}]\n"}
    first, second = scanned(tmp_path, files | {"d.yaml": DEPLOYMENT}).images
    assert brief(first)[2] == "a/i:1"
    assert second.reference is None and "tagSuffix" in second.reason
