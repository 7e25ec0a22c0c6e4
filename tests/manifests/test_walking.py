"""Directories as they are: what can't be looked at is told, links lead somewhere once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hardtack.manifests.place import Severity
from hardtack.manifests.scan import scan

POD = """
apiVersion: v1
kind: Pod
metadata: {name: one}
spec: {containers: [{name: one, image: "example.org/%s:1"}]}
"""


def write(file: Path, name: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(POD % name)


def test_links_lead_elsewhere_once(tmp_path: Path) -> None:
    write(tmp_path / "top" / "inner" / "a.yaml", "a")
    write(tmp_path / "other" / "b.yaml", "b")
    (tmp_path / "top" / "linked").symlink_to(tmp_path / "other")
    (tmp_path / "top" / "linked-too").symlink_to(tmp_path / "other")
    (tmp_path / "top" / "again").symlink_to("inner")
    (tmp_path / "top" / "inner" / "round").symlink_to("..")
    (tmp_path / "other" / "round").symlink_to(".")
    found = scan([tmp_path / "top"])
    assert [str(image.reference) for image in found.images] == [
        "example.org/a:1", "example.org/b:1",
    ]  # fmt: skip
    assert not found.problems


def test_links_that_lead_nowhere_or_anywhere_are_told(tmp_path: Path) -> None:
    write(tmp_path / "top" / "a.yaml", "a")
    write(tmp_path / "b.yaml", "b")
    (tmp_path / "top" / "gone.yaml").symlink_to("nowhere")
    (tmp_path / "top" / "up").symlink_to(tmp_path)
    found = scan([tmp_path / "top"])
    assert len(found.images) == 1
    told = {p.place.file.name: (p.severity, p.message) for p in found.problems}
    assert told == {
        "gone.yaml": (Severity.WARNING, "left out: it's a link to nothing that is there"),
        "up": (Severity.WARNING, f"left out: it's a link to {tmp_path}, in which this lies"),
    }


def test_pipes_and_sockets_are_told_by_what_they_are(tmp_path: Path) -> None:
    write(tmp_path / "top" / "a.yaml", "a")
    pipe = tmp_path / "top" / "pipe.yaml"
    os.mkfifo(pipe)
    (tmp_path / "top" / "to-pipe.yaml").symlink_to(pipe)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fspath(tmp_path / "top" / "app.sock"))
        found = scan([tmp_path / "top"])
    assert len(found.images) == 1
    told = {p.place.file.name: (p.severity, p.message) for p in found.problems}
    assert told == {
        "pipe.yaml": (Severity.WARNING, "left out: it's a pipe"),
        "to-pipe.yaml": (Severity.WARNING, "left out: it's a pipe"),
        "app.sock": (Severity.WARNING, "left out: it's a socket"),
    }
    (problem,) = scan([pipe]).problems
    assert (problem.severity, problem.message) == (
        Severity.ERROR,
        "it's a pipe, no file or directory: scan a file with what comes out of it",
    )


@pytest.mark.needs("root")
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_directory_that_may_not_be_read_is_told(mode: int) -> None:
    """As another user: root may read everything."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from hardtack.manifests.scan import scan\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "print(*scan([Path(sys.argv[1])]).problems)"
    )
    with tempfile.TemporaryDirectory() as open_to_all:  # as pytest's own directories aren't
        top = Path(open_to_all)
        top.chmod(0o755)
        write(top / "closed" / "a.yaml", "a")
        (top / "closed").chmod(mode)
        command = [sys.executable, "-c", program, str(top)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "closed" in done.stdout and "it can't be read: Permission denied" in done.stdout
