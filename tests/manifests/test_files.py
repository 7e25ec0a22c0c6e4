"""Files as editors, Windows and Helm leave them: by name, by encoding."""

from pathlib import Path

import pytest

from hardtack.manifests.scan import scan
from tests.manifests.test_helm_render import written
from tests.manifests.test_overlays import names
from tests.support.helm import helm

POD = "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: a/b:1}]}\n"


@pytest.mark.parametrize("name", ["POD.YAML", "pod.Yml", "pod.JSON"])
def test_k3s_takes_names_in_capitals(tmp_path: Path, name: str) -> None:
    text = '{"kind": "Pod", "spec": {"containers": [{"image": "a/b:1"}]}}'
    text = text if name == "pod.JSON" else POD
    assert names(scan([written(tmp_path, {name: text})])) == {"a/b:1"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize(
    ("name", "text"), [("p.yaml", POD), ("Dockerfile", "FROM a/b:1\n"), ("images.txt", "a/b:1\n")]
)
def test_windows_begins_files_with_a_mark(
    tmp_path: Path, encoding: str, name: str, text: str
) -> None:
    (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))
    result = scan([tmp_path])
    assert names(result) == {"a/b:1"} and not result.problems


def test_utf_16_that_is_cut_off_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_bytes(POD.encode("utf-16")[:-1])
    (problem,) = scan([tmp_path]).problems
    assert "not UTF-16" in problem.message


@pytest.mark.parametrize("name", ["Dockerfile", "pull.sh"])
def test_bytes_of_comments_cost_no_image(tmp_path: Path, name: str) -> None:
    text = f"# café\n{'RUN ' if name == 'Dockerfile' else ''}crane pull a/b:1 x.tar\n"
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    assert names(scan([tmp_path])) == {"a/b:1"}


TEMPLATES = ("a.tpl", "b.YAML", "c.yaml.tpl", "d.txt", "e", "f.json", "g.yml.gotmpl", "sub/i.tpl",
             "Dockerfile", "j.sh", "_k.yaml", "_l.tpl", ".m.yaml", "NOTES.txt", "sub/NOTES.txt"
             )  # fmt: skip


@pytest.mark.parametrize("version", [3, 4])
def test_what_a_template_is_called_matters_to_none_but_helm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    pod = ("apiVersion: v1\nkind: Pod\nmetadata: {name: p%s}\n"
           "spec: {containers: [{name: a, image: 'a/{{ .Chart.Name }}:%s'}]}\n")  # fmt: skip
    files = {f"templates/{name}": pod % (n, n) for n, name in enumerate(TEMPLATES)}
    top = written(tmp_path, files | {"Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n"})
    raw = names(scan([top]))
    monkeypatch.setenv("HELM", str(helm(version)))
    assert raw == names(scan([top], helm="rendered")) == {f"a/c:{n}" for n in range(10)}
