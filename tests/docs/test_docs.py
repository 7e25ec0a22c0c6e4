"""What the docs say can be typed, and every error has an entry."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from hardtack.cli.main import hardtack
from hardtack.core.errors import tree
from hardtack.demo.detectors import SAMPLES
from tests.support import oci
from tests.support.commands import clean_environment
from tests.support.ports import free_port
from tests.support.registry import registry

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MADE = {"commands.md", "exit-codes.md", "metrics.md", "endpoint-api.md"}


def typed(page: Path) -> list[str]:
    """The `hardtack …` commands of a page, in blocks and in the text."""
    text = page.read_text()
    inline = re.findall(r"`(hardtack [a-z][^`\n]*)`", text)
    lines = re.findall(r"^(?: {4})?(?:\S+=\S+ )*(hardtack [a-z].*)$", text, re.MULTILINE)
    return [re.sub(r"\s+#.*$", "", line).rstrip("\\ ") for line in inline + lines]


COMMANDS = sorted(
    {(page.name, command) for page in PAGES if page.name not in MADE for command in typed(page)}
)


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_parse(page: str, command: str) -> None:
    """The command exists, and each of its options."""
    words = shlex.split(command)[1:]
    found: click.Command = hardtack
    ctx = click.Context(hardtack, info_name="hardtack")
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        child = found.get_command(ctx, words.pop(0))
        assert child is not None, command
        found = child
    known = {name for p in found.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    used = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert used <= known, command


def test_every_page_says_first_for_whom_it_is() -> None:
    pages = [page for page in PAGES if page.name != "README.md"]
    parts = [page.read_text().split("\n\n") for page in pages]
    first = [next(p for p in part if not p.startswith(("#", "<!--"))) for part in parts]
    assert [page.name for page, text in zip(pages, first, strict=True) if text[:4] != "For "] == []


def test_every_error_has_an_entry() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    found = re.findall(r"^## (\w+) \(exit code (\d+)\)\n\n    hardtack: .+\n\n", text, re.MULTILINE)
    assert found == [(kind.__name__, str(kind.exit_code)) for kind in tree()]


SHORTEST = 12
"""Characters that a message has of its own, beside what is filled in."""


def messages() -> list[re.Pattern[str]]:
    """Every text in the code that is long enough, with anything where something is filled in."""
    found = []
    for file in (*(ROOT / "src").rglob("*.py"), *(ROOT / "tools").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [p.value if isinstance(p, ast.Constant) else None for p in parts]
            own = [text for text in texts if isinstance(text, str)]
            if sum(map(len, own)) >= SHORTEST:
                pieces = (re.escape(t) if isinstance(t, str) else ".+" for t in texts)
                found.append(re.compile("".join(pieces)))
    return found


def test_every_message_of_troubleshooting_is_one_of_the_code() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    told = re.findall(r"^    (?:hardtack: )?(.+)$", text, re.MULTILINE)
    told.remove("/srv/out/images.lock: Read-only file system.")  # the system's words alone
    known = messages()
    assert [line for line in told if not any(one.search(line) for one in known)] == []


@pytest.mark.needs("registry")
def test_from_a_chart_to_a_box(tmp_path: Path) -> None:
    """The marked blocks of docs/images.md, one after another in one shell."""
    page = (ROOT / "docs" / "images.md").read_text()
    blocks = re.findall(r"<!-- run -->\n```sh\n(.*?)```", page, re.DOTALL)
    script = "\n".join(blocks).replace("/var/lib/rancher/k3s", str(tmp_path / "k3s"))
    assert script.count("hardtack ") == 6
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: camera\nversion: 0.1.0\n")
    with registry(tmp_path) as server:
        server.push("app/camera", "v1", oci.image([oci.layer({"f": b"x" * 5000})]))
        (chart / "templates" / "pod.yaml").write_text(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: camera}\n"
            f"spec: {{containers: [{{name: c, image: '{server.host}/app/camera:v1'}}]}}\n"
        )
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-e", "-x", "-c", script],
            cwd=tmp_path, env=clean_environment({"PATH": path}),
            capture_output=True, text=True, check=False, timeout=90,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "k3s").rglob("*.tar"))


def test_every_paragraph_of_the_semantics_is_proven() -> None:
    """By a test that quotes its number."""
    paragraphs = re.findall(
        r"^(\d\.\d) ", (ROOT / "docs" / "semantics.md").read_text(), re.MULTILINE
    )
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    quoted = set(re.findall(r"§ (\d\.\d)", tests))
    assert [number for number in paragraphs if number not in quoted] == []


def test_from_a_model_file_to_an_answer(tmp_path: Path) -> None:
    """The marked blocks of docs/endpoint.md, one after another in one shell."""
    page = (ROOT / "docs" / "endpoint.md").read_text()
    blocks = re.findall(r"<!-- run -->\n```sh\n(.*?)```", page, re.DOTALL)
    script = "\n".join(blocks).replace("30101", str(free_port()))
    assert script.count("hardtack ") == 4
    shape = next(sample for sample in SAMPLES if sample.name == "shape")
    (tmp_path / "shape.onnx").write_bytes(shape.package({})["model.onnx"])
    (tmp_path / "triangle.png").write_bytes(shape.picture())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", f"{script}\nkill $!\nwait $! || true"],
        cwd=tmp_path, env=clean_environment({"PATH": path, "NO_PROXY": "*"}),
        capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(
        done.stdout.splitlines()[-1][done.stdout.splitlines()[-1].rindex('{"id"') :]
    )
    assert answer["result"]["from_edge"] is True
    assert answer["result"]["label"] in ("circle", "square", "triangle")
