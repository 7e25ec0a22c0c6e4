"""`mount -t hardtack` and a line of /etc/fstab, by mount(8) itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.commands import HARDTACK, clean_environment

pytestmark = pytest.mark.needs("root", "fuse")

# in a mount namespace of its own: /sbin and /etc/fstab of the machine stay as they are
PLACES = """
set -eu
mkdir {work}/scratch
mount -t tmpfs none {work}/scratch
mkdir {work}/scratch/upper {work}/scratch/work
overlay=lowerdir=/usr/sbin,upperdir={work}/scratch/upper,workdir={work}/scratch/work
mount -t overlay -o $overlay none /usr/sbin
ln -s {helper} /sbin/mount.hardtack
mount --bind {work}/fstab /etc/fstab
trap 'umount --lazy {work}/mnt 2>/dev/null || true' EXIT
"""


def run_apart(work: Path, fstab: str, script: str) -> subprocess.CompletedProcess[str]:
    """The end of `script` with the helper in its place and `fstab`; what it mounts is gone then."""
    (work / "fstab").write_text(fstab)
    for name in ("bucket", "mnt"):
        (work / name).mkdir()
    (work / "bucket" / "a").write_bytes(b"abc")
    helper = Path(HARDTACK[0]).with_name("mount.hardtack")
    before = PLACES.format(work=work, helper=helper)
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", before + script],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment({"HOME": str(work)}),
    )


def test_by_its_type(tmp_path: Path) -> None:
    done = run_apart(
        tmp_path, "",
        f"mount -t hardtack -o ro,cache={tmp_path}/cache,keep_free=0 file://{tmp_path}/bucket"
        f" {tmp_path}/mnt; cat {tmp_path}/mnt/a; umount {tmp_path}/mnt",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "abc"), done.stderr
    assert (tmp_path / "cache" / "hardtack.log").exists()


def test_by_a_line_of_fstab(tmp_path: Path) -> None:
    line = (
        f"file://{tmp_path}/bucket {tmp_path}/mnt hardtack"
        f" defaults,nofail,x-systemd.automount,cache={tmp_path}/cache,keep_free=0,file_mode=400 0 0"
    )
    done = run_apart(
        tmp_path, line + "\n",
        f"mount {tmp_path}/mnt; cat {tmp_path}/mnt/a; stat -c %a {tmp_path}/mnt/a;"
        f" umount {tmp_path}/mnt",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "abc400\n"), done.stderr


def test_a_mistake_in_the_line_is_told_by_mount(tmp_path: Path) -> None:
    line = f"file://{tmp_path}/bucket {tmp_path}/mnt hardtack cache_siez=1GiB 0 0"
    done = run_apart(tmp_path, line + "\n", f"mount {tmp_path}/mnt")
    assert done.returncode != 0
    assert "mount.hardtack: the option cache_siez" in done.stderr
    assert "Did you mean 'cache_size'?" in done.stderr
