"""Images in places where few look: compose's builds, systemd's units, here-documents, pipelines."""

from pathlib import Path

import pytest

from hardtack.manifests.model import Kind
from hardtack.manifests.scan import scan
from tests.manifests.test_scan import brief, scanned


def test_compose_builds_commands_and_what_services_share(tmp_path: Path) -> None:
    text = (
        "x-base: &base\n  image: a/base:1\nservices:\n  web:\n    <<: *base\n"
        "    profiles: [debug]\n  built:\n    build:\n      dockerfile_inline: |\n"
        "        FROM alpine:3.20\n        COPY --from=a/c:1 / /\n"
        "      additional_contexts: {tools: 'docker-image://a/tools:1'}\n"
        "  runs:\n    image: docker:27\n    command: [docker, run, '--rm', 'a/x:${TAG:-2}']\n"
        "    environment:\n    - WORKER_IMAGE=a/worker:1\n  sh:\n    image: docker:27\n"
        "    entrypoint: sh -c 'docker pull a/y:1'\n"
        "  db:\n    extends: {file: o.yaml, service: x}\n"
    )
    result = scanned(tmp_path, {"compose.yaml": text})
    assert [brief(i)[::2] for i in result.images] == [
        (5, "a/base:1"), (10, "alpine:3.20"), (11, "a/c:1"), (12, "a/tools:1"), (14, "docker:27"),
        (15, "a/x:2"), (17, "a/worker:1"), (19, "docker:27"), (20, "a/y:1"), (22, "?"),
    ]  # fmt: skip


def test_units_of_systemd(tmp_path: Path) -> None:
    result = scanned(tmp_path, {
        "box.service": "[Service]\n# docker pull a/no:1\nExecStartPre=-/usr/bin/docker pull a/p:1\n"
                       "ExecStart=/usr/bin/docker run --rm --name box \\\n  -p 80:80 \\\n  a/c:1\n",
        "cam.container": "[Container]\nImage=quay.io/a/b:1\nPublishPort=80:80\n",
        "own.container": "[Container]\nImage=own.build\n",
    })  # fmt: skip
    assert [brief(i) for i in result.images] == [
        (3, "docker pull", "a/p:1"), (6, "docker run", "a/c:1"), (2, "Image", "quay.io/a/b:1")
    ]  # fmt: skip


def test_manifests_in_here_documents(tmp_path: Path) -> None:
    text = (
        "#!/bin/sh\nTAG=1\nkubectl apply -f - <<EOF\nkind: Pod\nspec:\n  containers:\n"
        "  - image: a/b:1\n  - image: a/c:$VERSION\nEOF\n"
    )
    images = scanned(tmp_path, {"install.sh": text}).images
    assert [brief(i)[::2] for i in images] == [(7, "a/b:1"), (8, "?")]
    assert all(i.hidden for i in images)


def test_a_dockerfiles_front_end_and_here_documents(tmp_path: Path) -> None:
    text = (
        "# syntax=docker/dockerfile:1.7\nFROM alpine:3.20\nCOPY <<EOF /x\nFROM a/no:1\n"
        "docker pull a/no:1\nEOF\nRUN <<A <<B\ncrane pull a/b:1 x\nA\ncrane pull a/c:1 x\nB\n"
    )
    images = scanned(tmp_path, {"Dockerfile": text}).images
    assert [brief(i) for i in images] == [
        (1, "syntax", "docker/dockerfile:1.7"), (2, "stage 0 › FROM", "alpine:3.20"),
        (8, "stage 0 › RUN › crane pull", "a/b:1"), (10, "stage 0 › RUN › crane pull", "a/c:1"),
    ]  # fmt: skip


def test_json_with_comments(tmp_path: Path) -> None:
    text = (
        '// http://a\n{\n  "kind": "Pod", /* one\n  two */ "url": "http://b/*",\n'
        '  "spec": {"containers": [\n    {"image": "a/b:1"}, // c\n  ]}\n}\n'
    )
    result = scanned(tmp_path, {"p.json": text})
    assert [brief(i)[::2] for i in result.images] == [(6, "a/b:1")]
    assert not result.problems


def test_steps_of_pipelines(tmp_path: Path) -> None:
    text = (
        "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec:\n  templates:\n"
        "  - container: {image: 'a/b:1', command: [crane, pull, 'a/x:1', y]}\n"
        "  - script:\n      image: a/c:1\n      source: |\n        docker pull a/y:1\n"
        "---\nkind: Task\nspec:\n  steps:\n  - image: a/d:1\n    script: |\n"
        "      #!/bin/sh\n      skopeo copy docker://a/z:1 dir:z\n"
    )
    result = scanned(tmp_path, {"w.yaml": text})
    assert [brief(i)[::2] for i in result.images] == [
        (5, "a/b:1"), (5, "a/x:1"), (7, "a/c:1"), (9, "a/y:1"), (14, "a/d:1"), (17, "a/z:1")
    ]  # fmt: skip


def test_charts_that_flux_and_argo_take_from_a_repository(tmp_path: Path) -> None:
    result = scanned(tmp_path, {
        "f.yaml": "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nspec:\n"
                  "  chart: {spec: {chart: redis, version: '1'}}\n"
                  "  values: {image: {repository: a/b, tag: '2'}}\n",
        "g.yaml": "apiVersion: argoproj.io/v1alpha1\nkind: Application\nspec:\n  source:\n"
                  "    chart: nats\n    helm:\n      values: |\n        image: a/c:3\n",
    })  # fmt: skip
    assert [(*brief(i)[::2], i.raw) for i in result.images] == [
        (4, "?", "redis"), (5, "a/b:2", "a/b:2"), (5, "?", "nats"), (8, "a/c:3", "a/c:3")
    ]  # fmt: skip
    assert "Flux takes this chart from a repository" in result.images[0].reason


def test_variables_of_compose_in_all_their_forms(tmp_path: Path) -> None:
    text = (
        "services:\n  a: {image: 'x/a:${TAG:?set it}'}\n  b: {image: 'x/b:${TAG-2}'}\n"
        "  c: {image: '${REG:-reg.example.com}/c:1'}\n  d: {image: 'x/d${TAG:+-new}:1'}\n"
        "  e: {image: 'x/e${NONE:+-new}:1'}\n  f: {image: 'x/f:${NONE:?set it}'}\n"
    )
    result = scanned(tmp_path, {"compose.yaml": text, ".env": "TAG=7\n"})
    assert [brief(i)[2] for i in result.images] == [
        "x/a:7", "x/b:7", "reg.example.com/c:1", "x/d-new:1", "?", "?"
    ]  # fmt: skip


FORMS = [  # (image as written, with T=7 written before, with T= before, with nothing before)
    ("q/d${T:+:$T}", "q/d:7", "q/d", "?"),
    ("q/d${T:+:${T}}", "q/d:7", "q/d", "?"),
    ("q/d:1${T+-x}", "q/d:1-x", "q/d:1-x", "?"),
    ("q/d:${T:-9}", "q/d:7", "q/d:9", "q/d:9"),
    ("q/d:x${T-9}", "q/d:x7", "q/d:x", "q/d:x9"),
    ("q/d:${N:-${T:-9}}", "q/d:7", "q/d:9", "q/d:9"),
    ("q/d:${N:-${M:-${T:-9}}}", "q/d:7", "q/d:9", "q/d:9"),
    ("q/d:${T:?none}", "q/d:7", "?", "?"),
    ("q/d:x${T?none}", "q/d:x7", "q/d:x", "?"),
]


@pytest.mark.parametrize(("image", "given", "empty", "unset"), FORMS)
def test_a_variable_that_is_set_empty_and_from_outside(
    tmp_path: Path, image: str, given: str, empty: str, unset: str
) -> None:
    """Told alike of compose, a script, a Dockerfile's FROM and its RUN."""
    service = f"services:\n  a: {{image: '{image}'}}\n"
    for env, told in (("T=7\n", given), ("T=\n", empty), ("", unset)):
        arg = f"ARG {env}" if env else "ARG T\n"
        for files in (
            {"compose.yaml": service, ".env": env},
            {"get.sh": f"{env}docker pull {image}\n"},
            {"Dockerfile": f"{arg}FROM {image}\n"},
            {"Dockerfile": f"FROM scratch\n{arg}RUN docker pull {image}\n"},
        ):
            directory = tmp_path / str(len(list(tmp_path.iterdir())))
            directory.mkdir()
            assert [brief(i)[2] for i in scanned(directory, files).images] == [told], files


def test_a_variable_of_a_loop_in_the_word_of_another(tmp_path: Path) -> None:
    text = "for v in 1 2; do docker pull a/b:${T:-x$v}; done\n"
    images = scanned(tmp_path, {"get.sh": text}).images
    assert [brief(i)[2] for i in images] == ["a/b:x1", "a/b:x2"]


def test_a_dockerfile_with_tabs_and_quotes(tmp_path: Path) -> None:
    text = 'from\talpine:3.20 as A\nCOPY --from=a / /\nFROM "a/f:6"\n'
    images = scanned(tmp_path, {"Dockerfile": text}).images
    assert [brief(i)[::2] for i in images] == [(1, "alpine:3.20"), (3, "a/f:6")]


def test_what_a_compose_file_includes_and_extends(tmp_path: Path) -> None:
    """Though only the one file is named; each once, and what isn't there is told."""
    scanned(tmp_path, {
        "compose.yaml": "include:\n- a.yaml\n- {path: [sub/b.yaml, $X/c.yaml]}\n"
                        "- oci://reg.example/d\nservices:\n"
                        "  x: {extends: {file: sub/common.yml, service: base}}\n",
        "a.yaml": "include: [compose.yaml]\nservices: {a: {image: 'a/a:1'}}\n",
        "sub/b.yaml": "services: {b: {image: 'a/b:1', extends: {file: common.yml}}}\n",
        "sub/common.yml": "services: {base: {image: 'a/common:1'}}\n",
    })  # fmt: skip
    for path in (tmp_path / "compose.yaml", tmp_path):
        images = scan([path]).images
        assert sorted(str(i.reference) for i in images if i.reference) == [
            "a/a:1", "a/b:1", "a/common:1"
        ]  # fmt: skip
        assert [(i.place.line, i.raw, i.kind) for i in images if not i.reference] == [
            (3, "$X/c.yaml", Kind.CHART), (4, "oci://reg.example/d", Kind.CHART)
        ]  # fmt: skip


def test_a_compose_file_that_only_includes(tmp_path: Path) -> None:
    scanned(tmp_path, {"compose.yaml": "include: [a.yaml]\n",
                       "a.yaml": "services: {a: {image: 'a/a:1'}}\n"})  # fmt: skip
    assert [i.raw for i in scan([tmp_path / "compose.yaml"]).images] == ["a/a:1"]


def test_images_that_compose_mounts(tmp_path: Path) -> None:
    volumes = "[{type: image, source: 'a/w:1', target: /w}, {type: bind, source: /b}, 'c:/c']"
    text = f"services:\n  a:\n    image: a/a:1\n    volumes: {volumes}\n"
    found = {(i.raw, i.kind) for i in scanned(tmp_path, {"compose.yaml": text}).images}
    assert found == {("a/a:1", Kind.COMPOSE), ("a/w:1", Kind.VOLUME)}
