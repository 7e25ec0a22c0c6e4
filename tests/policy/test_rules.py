"""Every rule against its own examples, those of the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardtack.policy.docs import render
from hardtack.policy.rule import Rule
from hardtack.policy.rules import RULES
from hardtack.policy.rules.lock import locked
from tests.support.deployments import brief, checked, pod, rules_of

PAGE = Path(__file__).parents[2] / "docs" / "policy.md"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_wrong_example_breaks_the_rule_and_no_other(rule: Rule, tmp_path: Path) -> None:
    found = checked(tmp_path, rule.wrong.files)
    assert set(rules_of(found)) == {rule.id, *rule.also}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_right_example_breaks_none(rule: Rule, tmp_path: Path) -> None:
    assert checked(tmp_path, rule.right.files).findings == ()


def test_rules_are_named_once_and_explained() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.title and rule.explanation.endswith("."), rule.id


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == render(), "run ./run docs"


def script(*lines: str) -> str:
    return pod('command: ["sh", "-c"]', "args:", "  - |",
               *(f"    {line}" for line in lines))  # fmt: skip


@pytest.mark.parametrize(
    ("command", "rules"),
    [
        ("pip install requests", ["runtime-download"]),
        ("apt-get update", ["runtime-download"]),
        ("curl -fsS https://example.com/model.onnx -o /tmp/m", ["runtime-download"]),
        ('wget "$URL"', ["runtime-download"]),
        ("curl -fsS http://localhost:8000/health/live", []),
        ("curl -k https://kubernetes.default.svc/api", []),
        ("# curl https://example.com", []),
        ("echo pip is installed", []),
        ("curl https://example.com/a || true", ["hidden-failure", "runtime-download"]),
        ("curl https://example.com/a || { echo no; exit 1; }", ["runtime-download"]),
        ("curl https://example.com/a || exit 1", ["runtime-download"]),
        ("test -e /a || true", []),
        ("test -e /a && touch /b || echo no && echo yes", []),
    ],
)
def test_commands_of_containers(tmp_path: Path, command: str, rules: list[str]) -> None:
    report = checked(tmp_path, {"pod.yaml": script("set -eu", command)})
    assert sorted(rules_of(report)) == rules
    # Lines 8 to 12 are image, policy, command, args and the block's start; `set -eu` follows.
    assert {finding.place.line for finding in report.findings} <= {14}


def test_the_lines_of_a_configmap_are_those_on_disk(tmp_path: Path) -> None:
    inner = pod(image="alpine:latest", policy="")
    text = "kind: ConfigMap\nmetadata:\n  name: it\ndata:\n  pod.yaml: |\n" + "".join(
        f"    {line}\n" for line in inner.splitlines()
    )
    report = checked(tmp_path, {"map.yaml": text})
    line = text.splitlines().index("          image: alpine:latest") + 1
    assert {finding.place.line for finding in report.findings} == {line}
    assert {"hidden-image", "pull-always-by-default", "floating-tag"} == set(rules_of(report))


def test_a_chart_is_judged_by_its_values(tmp_path: Path) -> None:
    report = checked(
        tmp_path,
        {
            "Chart.yaml": "apiVersion: v2\nname: it\nversion: 0.1.0\n",
            "values.yaml": "image: alpine:3.20.3\npolicy: Always\n",
            "templates/pod.yaml": pod(image="{{ .Values.image }}", policy="{{ .Values.policy }}"),
        },
    )
    assert rules_of(report) == ["pull-always"]
    assert report.findings[0].place.line == 8
    assert report.findings[0].edit is None, "the value stands elsewhere: no safe fix here"


def test_a_pod_spec_out_of_a_named_template_is_judged_where_it_is_written(tmp_path: Path) -> None:
    helper = (
        '{{ define "spec" }}\ncontainers:\n- name: a\n  image: a/b:1.2.3\n'
        "  imagePullPolicy: IfNotPresent\n  command: [sh, -c, 'apk add curl; run']\n{{ end }}\n"
    )
    files = {"Chart.yaml": "name: c\n", "templates/_h.tpl": helper, "templates/p.yaml":
             'kind: Deployment\nspec:\n  template:\n    spec:\n'
             '      {{- include "spec" . | nindent 6 }}\n'}  # fmt: skip
    (found,) = checked(tmp_path, files).findings
    assert (found.rule, found.place.file.name, found.place.line) == (
        "runtime-download",
        "_h.tpl",
        6,
    )
    helper = helper.replace("  command", "  # hardtack: allow runtime-download a reason\n  command")
    assert not checked(tmp_path, files | {"templates/_h.tpl": helper}).findings


def test_one_image_in_two_versions_across_files(tmp_path: Path) -> None:
    files = {f"{n}.yaml": pod(image="busybox:1.36.1") for n in (1, 3)}
    report = checked(tmp_path, files | {"2.yaml": pod(image="busybox:1.35.0")})
    assert [(f.rule, f.place.file.name) for f in report.findings] == [("one-version", "2.yaml")]


@pytest.mark.parametrize(
    ("command", "rules"),
    [
        ("crane pull alpine:3.20.3 /a.tar || true", ["hidden-failure"]),
        ("crane pull alpine:3.20.3 /a.tar || :", ["hidden-failure"]),
        ("(crane pull alpine:3.20.3 /a.tar) || echo failed", ["hidden-failure"]),
        ("crane pull alpine:3.20.3 /a.tar || exit 1", []),
        ("a && b || echo no && wget https://e.example/k || true",
         ["and-or-chain", "hidden-failure"]),
        ("set -eu; crane pull alpine:3.20.3 /a.tar && ls", []),
    ],
)  # fmt: skip
def test_preloader_stages(tmp_path: Path, command: str, rules: list[str]) -> None:
    report = checked(
        tmp_path,
        {
            "Dockerfile": f"FROM debian:12.7\nRUN true; \\\n    {command}\n",
            "pod.yaml": pod(),
        },
    )
    ours = [f for f in report.findings if f.place.file.name == "Dockerfile"]
    assert sorted(finding.rule for finding in ours if "preload" not in finding.rule) == rules
    assert {finding.place.line for finding in ours if finding.rule in rules} <= {3}


def test_an_image_that_can_not_be_told_is_told_in_whole_sentences(tmp_path: Path) -> None:
    text = "kind: Pod\nspec:\n  containers: [{name: a, image: ''}, {name: b, image: 'Foo Bar'}]\n"
    messages = [finding.message for finding in checked(tmp_path, {"pod.yaml": text}).findings]
    unknown = "the default depends on the tag, which can't be told"
    expected = f"expected IfNotPresent or Never ({unknown})"
    assert "no image is written here" in messages
    assert f"an image has no imagePullPolicy: {expected}" in messages
    assert f"Foo Bar has no imagePullPolicy: {expected}" in messages
    assert next(m for m in messages if "not an image reference" in m).startswith("'Foo Bar' is")


def test_images_of_settings_are_checked_too(tmp_path: Path) -> None:
    """They run on the box: to be locked, preloaded and pinned as any other; no pull policy."""
    text = pod("env: [{name: SERVER_IMAGE, value: 'quay.io/a/server:latest'}]")
    preload = "FROM a/x:1.1\nRUN crane pull alpine:3.20.3 /a.tar\n"
    files = {"pod.yaml": text, "Dockerfile": preload, "images.lock": locked("alpine:3.20.3")}
    assert brief(checked(tmp_path, files)) == [
        ("floating-tag", 10), ("not-in-lock", 10), ("preload-missing", 10)
    ]  # fmt: skip


def test_what_a_command_starts_is_no_preload_list(tmp_path: Path) -> None:
    files = {"pod.yaml": pod(), "build.sh": "docker run --rm a/binfmt:1.2\n",
             "Dockerfile": "FROM a/x:1.1\nRUN crane pull alpine:3.20.3 /a.tar\n"}  # fmt: skip
    assert brief(checked(tmp_path, files)) == []
