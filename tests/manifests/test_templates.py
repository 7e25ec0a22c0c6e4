"""Raw Helm templates: every image that a chart may name is found, or said to be unknown."""

import io
import tarfile
from pathlib import Path

import pytest

from hardtack.manifests.helm import Chart
from hardtack.manifests.model import Scan
from hardtack.manifests.scan import scan
from hardtack.manifests.template import parse
from hardtack.manifests.yamlpos import Mapping
from tests.manifests.test_scan import scanned

VALUES = """\
repo: quay.io/a/b
tag: '1'
registry: ''
on: false
images: [{name: x, repo: quay.io/r/x, tag: 2}, {name: y, repo: quay.io/r/y, tag: 3}]
sidecars:
  - name: s
    image: quay.io/v/sidecar:4
image: {repository: quay.io/w/only, tag: '5'}
"""
HELPERS = """\
{{- define "image" -}}
{{- $i := .Values.image -}}
{{- if .Values.registry -}}{{ .Values.registry }}/{{- end -}}
{{ $i.repository }}:{{ $i.tag | default .Chart.AppVersion }}
{{- end -}}
{{- define "loops" }}{{ include "loops" . }}{{ include "loops" . }}{{ end }}
"""


def chart(directory: Path, template: str, **more: str) -> Scan:
    files = {"Chart.yaml": "name: c\nappVersion: '9'\n", "values.yaml": VALUES,
             "templates/_h.tpl": HELPERS, "templates/p.yaml": template}  # fmt: skip
    return scanned(directory, files | more)


def named(result: Scan) -> list[tuple[int, str]]:
    return [(i.place.line, i.reference.familiar if i.reference else i.reason)
            for i in result.images if i.place.file.name == "p.yaml"]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("{{ if .Values.on }}quay.io/a/x{{ else }}quay.io/a/y{{ end }}:1",
         ["quay.io/a/x:1", "quay.io/a/y:1"]),
        ("{{ .Values.repo }}:{{ if .Values.on }}dev{{ else }}{{ .Values.tag }}{{ end }}",
         ["quay.io/a/b:dev", "quay.io/a/b:1"]),
        ("{{ if .Values.registry }}{{ .Values.registry }}/{{ end }}a/b:1", ["a/b:1"]),
        ("{{ .Values.repo }}{{ if .Values.digest }}@{{ .Values.digest }}{{ else }}:1{{ end }}",
         ["quay.io/a/b:1"]),
        ('{{ include "image" . }}', ["quay.io/w/only:5"]),
        ('{{ include "image" (dict "Values" .Values "Chart" .Chart) | quote }}',
         ["quay.io/w/only:5"]),
        ('{{ (index .Values.images 1).repo }}:{{ (index .Values.images 1).tag }}',
         ["quay.io/r/y:3"]),
        ('{{ tpl "{{ .Values.repo }}:7" . }}', ["quay.io/a/b:7"]),
        ('{{ include "loops" . }}', ["cannot tell: templates include one another without end"]),
        ('{{ .Values.repo }}:{{ .Values.none }}',
         ["cannot tell: {{ .Values.none }} has no value in the chart's values"]),
        ('{{ .Values.repo }}:{{ randAlpha 3 }}',
         ["cannot tell: the function randAlpha is not resolved"]),
        ('{{ printf "a/b:%09999999999d" 1 }}',
         ["cannot tell: printf can't be resolved: the form 'a/b:%09999999999d' is more than"
          " %s, %d, %v and %q"]),
        ('{{ printf "%s/x:%v" .Values.repo 2 }}', ["quay.io/a/b/x:2"]),
        ('{{ ternary "a/on" "a/off" .Values.on }}:1', ["a/off:1"]),
        ('{{ .Values.repo }}:{{ mul 2 3 | add 1 }}', ["quay.io/a/b:7"]),
    ],
)  # fmt: skip
def test_a_line(tmp_path: Path, line: str, names: list[str]) -> None:
    result = chart(tmp_path, f"kind: Pod\nspec:\n  containers:\n  - image: {line}\n")
    assert named(result) == [(4, name) for name in names]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("  {{- range .Values.images }}\n  - image: {{ .repo }}:{{ .tag }}\n  {{- end }}\n",
         [(5, "quay.io/r/x:2"), (5, "quay.io/r/y:3")]),
        ("  {{- range $n, $i := .Values.images }}\n  - image: {{ $i.repo }}:{{ $.Values.tag }}\n"
         "  {{- end }}\n", [(5, "quay.io/r/x:1"), (5, "quay.io/r/y:1")]),
        ("  {{- with .Values.image }}\n  - image: {{ .repository }}:{{ .tag }}\n  {{- end }}\n",
         [(5, "quay.io/w/only:5")]),
        ("  {{- $i := .Values.image }}\n  - image: {{ $i.repository }}:{{ $i.tag }}\n",
         [(5, "quay.io/w/only:5")]),
        ("  {{- $t := 1 }}\n  {{- if .Values.on }}\n  {{- $t = 2 }}\n  {{- end }}\n"
         "  - image: a/b:{{ $t }}\n",
         [(8, "cannot tell: $t is set again while the template runs")]),
        ("  - image: a/b:1\n  {{- toYaml .Values.sidecars | nindent 2 }}\n",
         [(4, "a/b:1"), (5, "quay.io/v/sidecar:4")]),
        ("{{ .Values.sidecars | toYaml | indent 2 }}\n", [(4, "quay.io/v/sidecar:4")]),
        ("{{ toYaml (.Files.Get \"x\") }}\n",
         [(4, "cannot tell: .Files.Get is set while the template runs")]),
        ("  {{- range .Values.nothing }}\n  - image: {{ . }}\n  {{- end }}\n",
         [(5, "cannot tell: {{ range .Values.nothing }} goes through nothing that has a value")]),
    ],
)  # fmt: skip
def test_containers(tmp_path: Path, body: str, found: list[tuple[int, str]]) -> None:
    result = chart(tmp_path, f"kind: Pod\nspec:\n  containers:\n{body}")
    assert sorted(named(result)) == found


def test_images_that_only_the_values_name(tmp_path: Path) -> None:
    result = chart(tmp_path, "kind: Pod\nspec: {containers: [{image: quay.io/w/only:5}]}\n")
    rest = [i for i in result.images if i.place.file.name == "values.yaml"]
    assert [(i.place.line, i.path, i.raw) for i in rest] == [
        (5, "values › images[0]", "quay.io/r/x:2"),
        (5, "values › images[1]", "quay.io/r/y:3"),
        (8, "values › sidecars[0] › image", "quay.io/v/sidecar:4"),
    ]
    assert rest[0].reason.startswith("named in values only")


def placed(result: Scan) -> list[tuple[str, str, str]]:
    """(place with column, way, image), files by their names."""
    return [(f"{i.place.file.name}:{i.place.line}:{i.place.column}", i.path,
             i.reference.familiar if i.reference else i.reason) for i in result.images
            if i.place.file.name != "values.yaml"]  # fmt: skip


POD_SPEC = """\
{{/* what both have */}}
{{- define "spec" -}}
initContainers:
- image: a/first:1
containers:
- name: main
  image: {{ .Values.repo }}:{{ .Values.tag }}
- {{- include "more" . | nindent 2 }}
  {{- toYaml .Values.sidecars | nindent 0 }}
volumes:
- image: {reference: a/data:2}
{{- end -}}
{{- define "more" -}}
name: more
image: {{ include "image" . | quote }}
{{- end -}}
"""


def test_a_pod_spec_out_of_a_named_template(tmp_path: Path) -> None:
    job = 'kind: Job\nspec:\n  template:\n    spec:\n      {{- include "spec" . | nindent 6 }}\n'
    result = chart(tmp_path, job, **{"templates/_spec.tpl": POD_SPEC})
    way = 'templates/p.yaml:5 › {{ include "spec" . }}'
    assert placed(result) == [
        ("_spec.tpl:4:10", f"{way} › initContainers[0]", "a/first:1"),
        ("_spec.tpl:7:10", f"{way} › containers[0]", "quay.io/a/b:1"),
        ("_spec.tpl:9:3", f"{way} › containers[2]", "quay.io/v/sidecar:4"),
        ("_spec.tpl:11:22", f"{way} › volumes[0]", "a/data:2"),
        ("_spec.tpl:15:8", f"{way} › containers[1]", "quay.io/w/only:5"),
    ]
    assert {i.via.line for i in result.images if i.via} == {5}


@pytest.mark.parametrize(
    "template",
    [
        'kind: Pod\nspec: {{- include "one" . | nindent 2 }}\n',
        'kind: Pod\nspec:\n{{ include "one" . | indent 2 }}\n',
        'kind: Pod\nspec:\n{{ template "one" . }}\n',
        'kind: Pod\nspec:\n  {{- if .Values.repo }}\n  {{- include "one" $ | trim | nindent 2 }}\n'
        "  {{- end }}\n",
    ],
)
def test_ways_to_include(tmp_path: Path, template: str) -> None:
    helper = '{{ define "one" }}\n  containers:\n    - image: "a/b:{{ .Values.tag }}"\n{{ end }}\n'
    result = chart(tmp_path, template, **{"templates/_h.tpl": helper})
    assert [(place, image) for place, _, image in placed(result)] == [("_h.tpl:3:14", "a/b:1")]


def test_what_is_no_yaml_once_it_is_put_in_is_told(tmp_path: Path) -> None:
    helper = '{{ define "one" }}containers:\n  - image: a/b:1\n - image: a/c:1\n{{ end }}'
    pod = 'kind: Pod\nspec:\n  {{- include "one" . | nindent 2 }}\n'
    result = chart(tmp_path, pod, **{"templates/_h.tpl": helper})
    (line, reason), *_ = named(result)
    assert (line, reason.partition(":")[0]) == (3, "cannot tell")
    assert "line 4 is malformed YAML" in reason


def test_two_that_include_the_same_are_two_ways_to_it(tmp_path: Path) -> None:
    helper = '{{ define "one" }}\ncontainers: [{image: a/b:1}]\n{{ end }}'
    pod = 'kind: Pod\nspec:\n  {{- include "one" . | nindent 2 }}\n'
    files = {"templates/_h.tpl": helper, "templates/q.yaml": pod}
    ways = [
        (place, way.partition(" ")[0]) for place, way, _ in placed(chart(tmp_path, pod, **files))
    ]
    assert ways == [("_h.tpl:2:22", "templates/p.yaml:3"), ("_h.tpl:2:22", "templates/q.yaml:3")]


def test_text_that_a_function_makes_anew_stands_where_it_is_taken_in(tmp_path: Path) -> None:
    helper = '{{ define "one" }}containers: [{image: a/b:1}]{{ end }}'
    pod = 'kind: Pod\nspec:\n  {{- printf "\\n  %s" (include "one" . | trunc 30) }}\n'
    result = chart(tmp_path, pod, **{"templates/_h.tpl": helper})
    assert [(place, image) for place, _, image in placed(result)] == [("p.yaml:3:1", "a/b:1")]


@pytest.mark.parametrize(
    ("body", "line", "what"),
    [
        ("  - image: a/b:1\n  {{- if .Values.on }}\n  - image: a/c:1\n", 5,
         "`{{ if .Values.on }}` has no `{{ end }}`"),
        ("  - image: a/b:1\n  {{- end }}\n", 5, "`{{ end }}` belongs to no block"),
        ("  - image: a/b:1\n  {{ else if .x }}\n", 5, "`{{ else if .x }}` belongs to no block"),
        ("  - image: a/b:1\n  {{- if .x }}{{ end }}\n  # {{ .Values.on \n", 6,
         "`{{` is never closed"),
    ],
)  # fmt: skip
def test_broken_templates_are_told(tmp_path: Path, body: str, line: int, what: str) -> None:
    result = chart(tmp_path, f"kind: Pod\nspec:\n  containers:\n{body}")
    assert [(p.place.file.name, p.place.line, p.message) for p in result.problems] == [
        ("p.yaml", line, f"Helm refuses this template: {what}")
    ]
    assert named(result)[0] == (4, "a/b:1")


def test_a_broken_helper_is_told(tmp_path: Path) -> None:
    (problem,) = chart(tmp_path, "", **{"templates/_h.tpl": '\n{{ define "x" }}\n'}).problems
    assert (problem.place.file.name, problem.place.line) == ("_h.tpl", 2)


def test_values_without_a_tag_cannot_be_told(tmp_path: Path) -> None:
    more = {"values-prod.yaml": "db:\n  image: {repository: a/db, tag: ''}\n"}
    image = next(i for i in chart(tmp_path, "", **more).images if "prod" in i.place.file.name)
    assert (image.place.line, image.reference) == (2, None)
    assert image.reason.startswith("cannot tell: named in values only")


def test_a_file_that_a_configmap_takes_in_is_hidden(tmp_path: Path) -> None:
    pod = "kind: Pod\nspec: {containers: [{image: a/b:1}]}\n"
    config = 'kind: ConfigMap\ndata:\n  x: |-\n{{ .Files.Get "files/pod.tpl" | indent 4 }}\n'
    result = chart(tmp_path, config, **{"files/pod.tpl": pod, "files/seen.yaml": pod})
    hidden = {i.place.file.name: i.hidden for i in result.images}
    assert (hidden["pod.tpl"], hidden["seen.yaml"]) == (True, False)


def _packed(file: Path, files: dict[str, str]) -> None:
    file.parent.mkdir(exist_ok=True)
    with tarfile.open(file, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))


def test_a_packed_subchart_that_leads_out_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "Chart.yaml").write_text("name: c\n")
    _packed(tmp_path / "charts/out-1.tgz", {"../../../out.yaml": "x: y\n"})
    (problem,) = scan([tmp_path]).problems
    assert "'../../../out.yaml' leads out of it" in str(problem)


def test_a_packed_subchart_under_two_names(tmp_path: Path) -> None:
    files = {"sub/Chart.yaml": "name: sub\n", "sub/values.yaml": "tag: '1'\n",
             "sub/templates/q.yaml": "kind: Pod\nspec:\n  containers:\n"
             "  - image: a/sub:{{ .Values.tag }}\n"}  # fmt: skip
    _packed(tmp_path / "charts/sub-1.tgz", files)
    (tmp_path / "charts/bad-1.tgz").write_bytes(b"no archive")
    (tmp_path / "Chart.yaml").write_text(
        "name: c\ndependencies: [{name: sub, alias: one}, {name: sub, alias: two}]\n"
    )
    (tmp_path / "values.yaml").write_text("one: {tag: '2'}\ntwo: {tag: '3'}\n")
    result = scan([tmp_path])
    place = tmp_path / "charts/sub-1.tgz/sub/templates/q.yaml"
    assert [(i.place.file, i.place.line, i.raw) for i in result.images] == [
        (place, 4, "a/sub:2"), (place, 4, "a/sub:3")
    ]  # fmt: skip
    assert ["bad-1.tgz: error: left out" in str(p).replace(":1", "") for p in result.problems] == [
        True
    ]


def test_chart_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    with (tmp_path / "templates/_h.tpl").open("wb") as huge:
        huge.truncate(51 * 1024 * 1024)
    (tmp_path / "Chart.yaml").write_text("name: c\n")
    (tmp_path / "values.yaml").write_text("a: b: c\n")
    (tmp_path / "templates/p.yaml").write_text("kind: Pod\n")
    found = {(p.place.file.name, p.message.split(":")[0]) for p in scan([tmp_path]).problems}
    assert found == {("_h.tpl", "left out"), ("values.yaml", "malformed YAML")}


def test_fifty_thousand_actions_on_a_line_and_texts_without_an_end() -> None:
    nodes = parse("x: " + "{{ .Values.a }}" * 50_000)
    (flat,) = Chart(Path("c"), [{"a": "b"}]).flattened(nodes, Path("t"))
    assert flat.text == "x: " + "b" * 50_000
    for text in ("{{ /* x */" * 20_000, "{{" + " " * 200_000, '{{ "' * 50_000, "{{if}}" * 20_000):
        (flat,) = Chart(Path("c")).flattened(parse(text), Path("t"))
        assert flat.text.count("\n") == 0


COMMON = """\
{{- define "common.image" -}}
{{- $registry := .imageRoot.registry -}}
{{- $separator := ":" -}}
{{- $termination := .imageRoot.tag | toString -}}
{{- if .global }}
  {{- if .global.imageRegistry }}
    {{- $registry = .global.imageRegistry -}}
  {{- end -}}
{{- end -}}
{{- if .imageRoot.digest }}
  {{- $separator = "@" -}}
  {{- $termination = .imageRoot.digest | toString -}}
{{- end -}}
{{- printf "%s/%s%s%s" $registry .imageRoot.repository $separator $termination -}}
{{- end -}}
"""


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(
    ("values", "image"),
    [
        ("tag: 7.2", "bitnami/redis:7.2"),
        ("tag: 7.10", "bitnami/redis:7.1"),  # a number, as Helm has it
        ("tag: '7', digest: 'sha256:" + "0a" * 32 + "'", "bitnami/redis@sha256:" + "0a" * 32),
        ("tag: '7'}\nglobal: {imageRegistry: reg.example.com", "reg.example.com/bitnami/redis:7"),
    ],
)
def test_a_library_chart_writes_the_image(
    tmp_path: Path, values: str, image: str, is_packed: bool
) -> None:
    """As most public charts do: by variables that it sets again, out of a chart in charts/."""
    library = {"Chart.yaml": "name: common\ntype: library\n", "templates/_images.tpl": COMMON}
    files = {
        "Chart.yaml": "name: c\ndependencies: [{name: common}]\n",
        "values.yaml": f"image: {{registry: docker.io, repository: bitnami/redis, {values}}}\n",
        "templates/p.yaml": "kind: Pod\nspec:\n  containers:\n  - image: "
        '{{ include "common.image" (dict "imageRoot" .Values.image "global" .Values.global) }}\n',
    }
    if is_packed:
        _packed(tmp_path / "charts/common-1.tgz", {f"common/{n}": t for n, t in library.items()})
    else:
        files |= {f"charts/common/{name}": text for name, text in library.items()}
    result = scanned(tmp_path, files)
    assert [(i.place.file.name, i.place.line, str(i.reference)) for i in result.images] == [
        ("p.yaml", 4, image)
    ]


def test_what_a_packed_chart_writes_stands_below_its_archive(tmp_path: Path) -> None:
    """Keys too, in a document of a chart around it."""
    helper = '{{ define "lib.pod" }}\ncontainers:\n- name: a\n  image: a/b:1\n{{ end }}'
    archive = tmp_path / "charts/lib-1.tgz"
    _packed(archive, {"lib/Chart.yaml": "name: lib\n", "lib/templates/_pod.tpl": helper})
    result = scanned(tmp_path, {
        "Chart.yaml": "name: c\ndependencies: [{name: lib}]\n", "values.yaml": "a: b\n",
        "templates/p.yaml": 'kind: Pod\nspec:\n  {{- include "lib.pod" . | nindent 2 }}\n',
    })  # fmt: skip
    spec = result.documents[-1].root.get("spec")
    assert isinstance(spec, Mapping)
    containers = spec.key("containers")
    assert containers is not None
    place = result.documents[-1].place(containers)
    assert (place.file, place.line) == (archive / "lib/templates/_pod.tpl", 2)


def test_a_subcharts_values_that_are_set_over_are_no_images(tmp_path: Path) -> None:
    files = {
        "Chart.yaml": "name: c\n", "values.yaml": "sub: {image: {tag: '2'}}\n",
        "charts/sub/Chart.yaml": "name: sub\n",
        "charts/sub/values.yaml": "image: {repository: a/b, tag: '1'}\n"
                                  "other: {repository: a/c, tag: '1'}\n",
        "charts/sub/templates/p.yaml": "kind: Pod\nspec:\n  containers:\n  - image: "
                                       "{{ .Values.image.repository }}:{{ .Values.image.tag }}\n",
    }  # fmt: skip
    assert {str(i.reference) for i in scanned(tmp_path, files).images} == {"a/b:2", "a/c:1"}


@pytest.mark.parametrize(
    ("action", "image"),
    [
        ("{{ with .Values.image }}{{ .repository }}:{{ .tag }}{{ end }}", "quay.io/w/only:5"),
        ('{{ $i := merge (dict) (dict "tag" "7") .Values.image }}{{ $i.repository }}:{{ $i.tag }}',
         "quay.io/w/only:7"),
        ('{{ $i := mergeOverwrite (dict) .Values.image (dict "tag" "8") }}{{ $i.repository }}'
         ":{{ $i.tag }}", "quay.io/w/only:8"),
        ('{{ $i := "image: a/b" | fromYaml }}{{ $i.image }}:1', "a/b:1"),
        ('{{ typeIs "string" .Values.repo | ternary .Values.repo "a/c" }}:2', "quay.io/a/b:2"),
        ('{{ kindIs "map" .Values.repo | ternary "a/c" "a/d" }}:{{ len .Values.images }}', "a/d:2"),
        ('{{ last (splitList "/" .Values.repo) }}:1', "b:1"),
        ('{{ (omit .Values.image "tag").repository }}:9', "quay.io/w/only:9"),
        ("{{ if not .Values.on }}a/b:1{{ end }}", "a/b:1"),
        ('a/b:{{ dig "image" "tag" "7" .Values }}', "a/b:5"),
        ('a/b:{{ dig "image" "none" "7" .Values }}', "a/b:7"),
        ('{{ list "" "a" "b" | compact | join "/" }}:{{ .Values.tag | int64 }}', "a/b:1"),
    ],
)  # fmt: skip
def test_functions_of_helm(tmp_path: Path, action: str, image: str) -> None:
    result = chart(tmp_path, f"kind: Pod\nspec:\n  containers:\n  - image: {action}\n")
    assert named(result) == [(4, image)]


@pytest.mark.parametrize(
    "action",
    ["toYaml .", "toYaml . | sha256sum", "quote .", "print .", 'printf "%v" .', ".", "upper $",
     'toYaml (dict "ctx" $)', 'dict "c" $', 'include "all" .', "$x := . }}{{ $x",
     "with . }}{{ . }}{{ end", "range list . }}{{ toYaml . }}{{ end", 'tpl "{{ toYaml . }}" .',
     'list "\\ud800"', 'include "deep" .'],
)  # fmt: skip
def test_what_holds_the_root_is_no_crash(tmp_path: Path, action: str) -> None:
    """`checksum: {{ toYaml . | sha256sum }}` as charts have it, and all that prints as it does."""
    text = f"kind: Pod\nchecksum: {{{{ {action} }}}}\nspec:\n  containers:\n  - image: a/b:1\n"
    helper = (
        '{{ define "all" }}{{ toYaml . }}{{ end }}{{ define "deep" }}{{ $x := list }}'
        "{{ range until 1000 }}{{ $x = list $x }}{{ end }}{{ $x }}{{ end }}"
    )
    assert named(chart(tmp_path, text, **{"templates/_h.tpl": helper})) == [(5, "a/b:1")]


@pytest.mark.parametrize(
    "before",
    [
        "resources: {{- toYaml .Values.empty | nindent 4 }}\n",
        "labels: {{- toYaml .Values.image | nindent 4 }}\n    more: b\n",
        "labels: {{- toYaml .Values.one | nindent 4 }}\n    more: b\n",
        "spread:\n  {{- range .Values.nothing }}\n  - {{ toYaml . | nindent 4 | trim }}\n"
        "    more: b\n  {{- end }}\n",
        "verbs: {{ toYaml .Values.verbs | nindent 2 }}\n",
        "config: |\n    {{- if .Values.on }}\n      {{- if .Values.on }}\n    a: b\n"
        "      {{- end }}\n    {{- end }}\n    c: d\n",
        "{{ if .Values.on -}} stringData: {{- else -}} data: {{- end }}\n  a: |\n    b\n",
    ],
)
def test_what_stands_before_keeps_no_image_from_being_read(tmp_path: Path, before: str) -> None:
    """As charts in use have it: each was malformed YAML once its actions were taken out."""
    more = {"values.yaml": VALUES + "empty: {}\none: {a: b}\nverbs: ['*']\n"}
    text = f"kind: Pod\n{before}spec:\n  containers:\n  - image: a/b:1\n"
    result = chart(tmp_path, text, **more)
    assert named(result) == [(text.count("\n"), "a/b:1")]
    assert not result.problems


def test_a_named_template_is_read_but_for_what_cannot_be_told(tmp_path: Path) -> None:
    """A pod template that goes through YAML and back, as traefik's does, with a look at the
    cluster in it."""
    helper = (
        '{{ define "pod" }}\nmetadata:\n  annotations:\n    a: {{ lookup "v1" "Secret" "a" "b" }}\n'
        'spec:\n  {{- include "elsewhere" . | nindent 2 }}\n  containers:\n'
        "  {{- if .Capabilities.KubeVersion }}\n  - image: a/b:{{ .Values.tag }}\n  {{- end }}\n"
        '  - image: a/c:{{ lookup "v1" "ConfigMap" "a" "b" }}\n{{ end }}'
    )
    pod = (
        "kind: Deployment\nspec:\n"
        '  template: {{ include "pod" . | fromYaml | toYaml | nindent 4 }}\n'
    )
    result = chart(tmp_path, pod, **{"templates/_h.tpl": helper})
    assert named(result) == [
        (3, "a/b:1"), (3, "cannot tell: the function lookup is not resolved")
    ]  # fmt: skip


def test_what_makes_no_yaml_is_no_crash(tmp_path: Path) -> None:
    line = '{{ ("a: b: c" | fromYaml).image }}'
    (found,) = named(chart(tmp_path, f"kind: Pod\nspec: {{containers: [{{image: '{line}'}}]}}\n"))
    assert found[1].startswith("cannot tell: fromYaml can't be resolved: malformed YAML")


def test_images_of_what_cannot_be_read_are_told(tmp_path: Path) -> None:
    text = (
        "kind: Pod\nspec:\n  a: b: c\n  containers:\n  - image: a/b:{{ .Values.none }}\n"
        "  - image: 'a/c:1' # c\n"
    )
    result = chart(tmp_path, text)
    assert named(result) == [
        (5, "cannot tell: {{ .Values.none }} has no value in the chart's values"), (6, "a/c:1")
    ]  # fmt: skip
    assert {i.policy.value for i in result.images if i.policy} == {None}
    (problem,) = result.problems
    assert (problem.place.line, problem.severity) == (3, "warning")


@pytest.mark.parametrize(
    "block",
    [
        "    {{- if .Values.on }}\n      size: 1\n    {{- else }}\n      {}\n    {{- end }}\n",
        "    {{- if .Values.on }}\n    - image: a/off:1\n      x: y\n        z: {}\n"
        "    {{- end }}\n",
    ],
)
def test_branches_that_do_not_fit_beside_each_other(tmp_path: Path, block: str) -> None:
    text = f"kind: Pod\nspec:\n  a:\n{block}  containers:\n  - image: a/b:1\n    args: [a]\n"
    result = chart(tmp_path, text)
    assert [name for _, name in named(result) if name != "a/off:1"] == ["a/b:1"]
    assert ("a/off:1" in block) == ((5, "a/off:1") in named(result))
    assert not result.problems
    policy = next(i.policy for i in result.images if i.raw == "a/b:1")
    assert policy and policy.value == "IfNotPresent"


def test_a_digest_that_the_values_leave_out(tmp_path: Path) -> None:
    text = (
        "kind: Pod\nspec:\n  containers:\n  {{- if .Values.digest }}\n"
        '  - image: "a/b@sha256:{{ .Values.digest }}"\n'
        "  - image: a/b@sha256:{{ .Values.digest }}\n  - image: a/b@{{ .Values.digest }}\n"
        "  {{- else }}\n  - image: a/b:1\n"
        "  {{- end }}\n"
        "  - image: a/c:1{{ if .Values.digest }}@sha256:{{ .Values.digest }}{{ end }}\n"
    )
    result = chart(tmp_path, text, **{"values.yaml": VALUES + "digest: ''\n"})
    assert named(result) == [(9, "a/b:1"), (11, "a/c:1")]
    assert not result.problems


def test_a_charts_own_tests_are_left_out(tmp_path: Path) -> None:
    files = {"tests/p_test.yaml": "suite: p\nset: {image: 'a/x:1'}\n",
             "ci/other-values.yaml": "image: a/y:1\n", "templates/tests/t.yaml":
             "kind: Pod\nspec: {containers: [{image: 'a/z:1'}]}\n"}  # fmt: skip
    result = chart(tmp_path, "", **{"values.yaml": "a: b\n", **files})
    assert [i.raw for i in result.images] == ["a/z:1"]
    assert [p.place.file.name for p in result.problems] == ["ci", "tests"]


def test_charts_that_hold_themselves_come_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "charts").mkdir()
    for name in ("a", "b"):
        (tmp_path / "charts" / name).symlink_to(tmp_path)
    result = chart(tmp_path, "kind: Pod\nspec: {containers: [{image: 'a/b:1'}]}\n")
    assert named(result) == [(2, "a/b:1")]


def test_loops_over_words_numbers_and_variables(tmp_path: Path) -> None:
    text = (
        'kind: Pod\nspec:\n  containers:\n  {{- range tuple "a" "b" }}\n'
        '  - image: {{ printf "q/%s:1" . | quote }}\n  {{- end }}\n  {{- range until 2 }}\n'
        "  - image: r/x:{{ . }}\n  {{- end }}\n  - image: a/main:1\n    env:\n"
        "    {{- range $name, $value := .Values.env }}\n    - name: {{ $name }}\n"
        "      value: {{ $value | quote }}\n    {{- end }}\n"
    )
    values = {"values.yaml": "env: {WORKER_IMAGE: 'a/w:1', LOG: debug, OTHER_IMAGE: 'a/o:2'}\n"}
    result = chart(tmp_path, text, **values)
    assert [(i.place.file.name, i.place.line, i.raw) for i in result.images] == [
        ("p.yaml", 5, "q/a:1"), ("p.yaml", 5, "q/b:1"), ("p.yaml", 8, "r/x:0"),
        ("p.yaml", 8, "r/x:1"), ("p.yaml", 10, "a/main:1"), ("p.yaml", 14, "a/w:1"),
        ("p.yaml", 14, "a/o:2"),
    ]  # fmt: skip


def test_values_with_templates_in_them(tmp_path: Path) -> None:
    """`tpl` makes images of them; of what no template resolves to the rest can't be told."""
    values = {"values.yaml": "tag: '4'\ncontainers:\n- image: a/t:{{ .Values.tag }}\n"
                             "other:\n  image: a/u:{{ .Values.tag }}\n"}  # fmt: skip
    text = (
        "kind: Pod\nspec:\n  containers:\n"
        "    {{- tpl (toYaml .Values.containers) . | nindent 4 }}\n"
    )
    result = chart(tmp_path, text, **values)
    values_only, resolved = result.images
    assert (resolved.place.line, resolved.raw) == (4, "a/t:4")
    assert (values_only.place.line, values_only.malformed) == (5, False)
    assert "a template stands in it" in values_only.reason
