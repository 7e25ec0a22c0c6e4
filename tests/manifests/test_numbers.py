"""Numbers as tags: what Helm prints of them is what a box runs."""

from pathlib import Path

import pytest

from hardtack.manifests import helm_render
from hardtack.manifests.scan import scan
from tests.manifests.test_helm_render import written
from tests.support.helm import helm

TAGS = ("1.10", "1.0", "100.0", "3", "0", "-1", "0x1F", "007", "1_000", ".5", "0.00001", "999999",
        "1000000", "20240101", "21000000.5", "123456789012345678", "3.14159265358979312", "12.5",
        "0.1", "on", "2024-01-01", "12:30")  # fmt: skip
TEMPLATE = """\
kind: ConfigMap
data:
  plain: "{{ .Values.tag }}"
  printed: {{ printf "%v" .Values.tag | quote }}
  text: {{ .Values.tag | toString | quote }}
"""
WHOLE = "-".join(
    f"{{{{ {each} }}}}"
    for each in (".Values.tag | int", "int64 .Values.tag", "add .Values.tag 1", "mul .Values.tag 2")
)

POD = """\
kind: Pod
spec: {containers: [{image: "{{ .Values.i.repository }}:{{ .Values.i.tag }}"}]}
"""


def chart(top: Path, values: str, template: str) -> Path:
    return written(top, {"Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n",
                         "values.yaml": values, "templates/t.yaml": template})  # fmt: skip


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("tag", TAGS)
def test_a_number_is_printed_as_helm_prints_it(tmp_path: Path, version: int, tag: str) -> None:
    top = chart(tmp_path, f"tag: {tag}\n", TEMPLATE)
    (document,) = (one for one in scan([top]).documents if one.kind == "ConfigMap")
    section = helm_render.render(str(helm(version)), top)[0].text.rstrip()
    for key in ("plain", "printed", "text"):
        node = document.root.get("data", key)
        assert node is not None and f'{key}: "{node.plain()}"' in section.split("\n  ")


@pytest.mark.parametrize("version", [3, 4])
def test_whole_numbers_of_functions_are_written_out(tmp_path: Path, version: int) -> None:
    top = chart(tmp_path, "tag: 20240101\n", f'kind: ConfigMap\ndata: {{a: "{WHOLE}"}}\n')
    (document,) = (one for one in scan([top]).documents if one.kind == "ConfigMap")
    told = document.root.get("data", "a")
    assert told is not None and told.plain() == "20240101-20240101-20240102-40480202"
    assert f'a: "{told.plain()}"' in helm_render.render(str(helm(version)), top)[0].text


def test_a_number_that_helm_makes_no_tag_of_is_told(tmp_path: Path) -> None:
    top = chart(tmp_path, "i: {repository: acme/a, tag: 20240101}\n", POD)
    found = scan([top]).images
    (wrong,) = [each for each in found if each.malformed]
    assert "2.0240101e+07" in wrong.reason
    assert {str(each.reference) for each in found if each.reference} == {"acme/a:20240101"}


@pytest.mark.parametrize("tag", ["1.0", "2"])
def test_values_and_template_name_one_image(tmp_path: Path, tag: str) -> None:
    top = chart(tmp_path, f"i: {{repository: acme/a, tag: {tag}}}\n", POD)
    assert [str(i.reference) for i in scan([top]).images] == [f"acme/a:{float(tag):.0f}"]
