"""A user without rights: through fusermount3, or told what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import ROOT

pytestmark = pytest.mark.needs("root", "fuse")

_AS_NOBODY = """
import os, shutil, subprocess, sys
from hardtack.core.errors import HardtackError
from hardtack.mount import device, mountinfo
os.setgroups([]); os.setgid(65534); os.setuid(65534)
point = sys.argv[1]
try:
    device.check()
    fd = device.mount(point, "s3://a,b/c", allow_other=False)
except HardtackError as problem:
    print(type(problem).__name__, problem)
else:
    print([(m.type, m.source) for m in mountinfo.mounted_at(point)])
    device.unmount(point, lazy=False)
    print(mountinfo.mounted_at(point))
"""


@pytest.fixture
def point() -> Iterator[Path]:
    """A directory of nobody's, below one that anybody may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        os.chown(directory, 65534, 65534)
        yield Path(directory)


_WITH_DEVICE = """
node=$(mktemp -u); mknod "$node" c 10 229; chmod "$1" "$node"
mount --bind "$node" /dev/fuse; rm "$node"; shift; exec "$@"
"""
"""/dev/fuse with a mode of our choice, in a mount namespace that ends with the command."""


def as_nobody(point: Path, path: str, mode: str = "666") -> str:
    unshare, shell = shutil.which("unshare"), shutil.which("sh")
    assert unshare and shell
    done = subprocess.run(
        [
            *[unshare, "--mount", shell, "-c", f"PATH=/usr/bin:/bin; {_WITH_DEVICE}", "sh", mode],
            *["/usr/bin/env", f"PATH={path}", sys.executable, "-c", _AS_NOBODY, str(point)],
        ],
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.needs("fusermount3")
def test_through_the_helper(point: Path) -> None:
    answer = as_nobody(point, os.environ["PATH"])
    assert answer == "[('fuse.hardtack', 's3://a,b/c')]\n[]\n"


def test_without_the_helper(point: Path) -> None:
    answer = as_nobody(point, "/nowhere")
    assert answer.startswith("FuseMissing") and "apt install fuse3" in answer


@pytest.mark.needs("fusermount3")
def test_a_mountpoint_of_somebody_else(point: Path) -> None:
    os.chown(point, 0, 0)
    answer = as_nobody(point, os.environ["PATH"])
    assert answer.startswith("FuseMissing fusermount3 refuses a mount") and str(point) in answer


@pytest.mark.needs("fusermount3")
def test_a_device_that_may_not_be_opened(point: Path) -> None:
    answer = as_nobody(point, os.environ["PATH"], mode="600")
    assert answer.startswith("FuseMissing /dev/fuse may not be opened by user 65534")


_WHOLE = """
import os, signal, sys
from pathlib import Path
from hardtack.cache.api import Options
from hardtack.mount import launch, running, unmounting
from hardtack.source.options import SourceOptions
base = Path(sys.argv[1])
point = base / "mnt"
options = launch.MountOptions(allow_other=False)
source = f"file://{base}/bucket"
keeper = launch.mount(
    source, point, SourceOptions(), base / "cache", Options(keep_free=0), options
)
try:
    worker = running.health(point)["worker"]
    users = {os.stat(f"/proc/{pid}").st_uid for pid in (keeper, worker)}
    before = (point / "a").read_bytes()
    os.kill(worker, signal.SIGKILL)
    print(users, before, (point / "b").read_bytes(), running.health(point, 20)["worker"] != worker)
finally:
    unmounting.unmount(point)
print(os.waitpid(keeper, 0)[1])
"""


@pytest.mark.needs("fusermount3")
def test_a_whole_mount(point: Path) -> None:
    """Keeper and worker are nobody's too. The right to search directories is left to them: the
    interpreter of this test may lie in somebody's home."""
    (point / "mnt").mkdir()
    (point / "bucket").mkdir()
    (point / "bucket" / "a").write_bytes(b"first")
    (point / "bucket" / "b").write_bytes(b"second")
    for path in (point / "mnt", point):
        os.chown(path, 65534, 65534)
    right = "dac_read_search"
    done = subprocess.run(
        [
            *["unshare", "--mount", "sh", "-c", _WITH_DEVICE, "sh", "666"],
            *["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
            *[f"--inh-caps=+{right}", f"--ambient-caps=+{right}"],
            *[sys.executable, "-c", _WHOLE, str(point)],
        ],
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{65534} b'first' b'second' True\n0\n"
