"""Each command in installations that lack the packages of other extras."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from hardtack.cli.extras import EXTRAS, INFERENCE
from tests.support.commands import clean_environment
from tests.support.ready import write_root

OPTIONAL = {name for names in EXTRAS.values() for name in names} | {"nanio", "huggingface_hub"}
IMAGES = {*EXTRAS["images"], "botocore", "urllib3"}
"""What the extras aws and images bring: botocore brings urllib3."""
ENDPOINT = {*INFERENCE, "cryptography", "urllib3", "yaml"}

_PROGRAM = """
import sys
from importlib.machinery import PathFinder
lacking, real = sys.argv[1].split(","), PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in lacking else real(name, path, target)
PathFinder.find_spec = find_spec
from hardtack.cli.main import main
main(sys.argv[2:])
"""


def _run(installed: Iterable[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    lacking = ",".join(sorted(OPTIONAL - set(installed)))
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PROGRAM, lacking, *map(str, arguments)],
        env=clean_environment(), capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: one}
spec: {containers: [{name: one, image: "example.org/one:1"}]}
"""


@pytest.fixture
def box(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    write_root(root)
    (tmp_path / "pod.yaml").write_text(MANIFEST)
    (tmp_path / "source").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["doctor", "--offline"], "images"),
        (["box", "prepare", "--dry-run"], "images"),
        (["images", "scan", "{box}/pod.yaml"], "images"),
        (["policy", "check", "{box}/pod.yaml"], "images"),
        (["ready"], "images"),
        (["model", "check", "{box}"], "inference"),
        (["inference", "serve", "--model", "{box}"], "inference"),
        (["endpoint", "serve", "--models", "{box}"], "endpoint"),
        (["ls", "gs://bucket", "--cache", "{box}/cache"], "google"),
    ],
)
def test_the_extra_that_is_missing_is_named(box: Path, command: list[str], extra: str) -> None:
    done = _run((), *(word.format(box=box) for word in command))
    assert done.returncode == 11, done.stdout + done.stderr
    assert f"hardtack[{extra}]" in done.stderr


def test_the_demo_says_what_it_lacks(box: Path) -> None:
    for installed in ((), ENDPOINT):
        done = _run(installed, "demo")
        assert done.returncode == 11, done.stdout + done.stderr
        assert "nanio" in done.stderr and "./run demo" in done.stderr


def test_weights_need_no_extra(box: Path) -> None:
    done = _run((), "ls", f"file://{box}/source", "--cache", box / "cache")
    assert done.returncode == 0, done.stderr


def test_with_aws_and_images(box: Path) -> None:
    root = box / "root"
    scanned = _run(IMAGES, "images", "scan", box / "pod.yaml")
    assert scanned.returncode == 0 and "example.org/one:1" in scanned.stdout, scanned.stderr
    examined = _run(IMAGES, "doctor", "--offline", "--root", root)
    assert "kernel" in examined.stdout, examined.stderr
    prepared = _run(IMAGES, "box", "prepare", "--dry-run", "--root", root)
    assert prepared.returncode == 0, prepared.stderr
    looked = ("ready", "--lock", box / "none.lock", "--root", root)
    refused = _run(IMAGES, *looked)
    assert refused.returncode == 11 and "hardtack[endpoint]" in refused.stderr
    told = _run(IMAGES, *looked, "--without", "certificates")
    assert "NOT READY" in told.stdout, told.stderr


def test_with_the_endpoint(box: Path) -> None:
    root = box / "root"
    prepared = _run(ENDPOINT, "box", "prepare", "--dry-run", "--root", root)
    assert prepared.returncode == 0, prepared.stderr
    told = _run(ENDPOINT, "ready", "--root", root, "--without", "images")
    assert "READY" in told.stdout, told.stderr
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short}/c.sock")
        examined = _run(
            ENDPOINT, "doctor", "--offline", "--root", root, "--socket", f"{short}/c.sock"
        )
        assert "not looked at: grpc isn't installed" in examined.stdout, examined.stderr
        refused = _run(ENDPOINT, "ready", "--root", root, "--socket", f"{short}/c.sock")
    assert refused.returncode == 11 and "hardtack[images]" in refused.stderr
