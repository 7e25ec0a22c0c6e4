"""What a reader sees through a real mount, in passthrough and copying."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import random
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.mount.conftest import Mount
from tests.support.waiting import until

pytestmark = pytest.mark.needs("root", "fuse")

SIZE = 3_000_017
DATA = random.Random(1).randbytes(SIZE)


@pytest.fixture
def mounted(mount: Mount, kind: str) -> Mount:
    (mount.tree / "model.bin").write_bytes(DATA)
    (mount.tree / "empty").touch()
    (mount.tree / "dir").mkdir()
    (mount.tree / "dir" / "ü name").write_bytes(b"inner")
    (mount.tree / "link").symlink_to("dir/ü name")
    return mount.start()


def test_tree_and_attributes(mounted: Mount) -> None:
    """§ 6.1, § 6.2, § 6.3."""
    point = mounted.point
    assert sorted(os.listdir(point)) == ["dir", "empty", "link", "model.bin"]
    assert os.readlink(point / "link") == "dir/ü name"
    assert (point / "link").read_bytes() == b"inner"
    info = (point / "model.bin").stat()
    assert info.st_size == SIZE
    assert info.st_mtime_ns == (mounted.tree / "model.bin").stat().st_mtime_ns
    assert info.st_ctime_ns == info.st_atime_ns == info.st_mtime_ns
    assert info.st_blocks == -(-SIZE // 512)
    assert stat.filemode(info.st_mode) == "-r--r--r--"
    assert info.st_nlink == 1 and (point / "dir").stat().st_nlink == 2
    assert {e.name: e.inode() for e in os.scandir(point)}["model.bin"] == info.st_ino
    with pytest.raises(FileNotFoundError):
        (point / "nothing").stat()
    assert (point / "empty").read_bytes() == b""


def test_every_way_to_read(mounted: Mount) -> None:
    path = mounted.point / "model.bin"
    assert path.read_bytes() == DATA
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert hashlib.sha256(mapped).digest() == hashlib.sha256(DATA).digest()
    direct = os.open(path, os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, 1 << 20)
    count = os.preadv(direct, [buffer], 1 << 20)
    assert buffer[:count] == DATA[1 << 20 : 2 << 20]
    os.close(direct)
    left, right = socket.socketpair()
    with left, right, path.open("rb") as file:
        assert os.sendfile(left.fileno(), file.fileno(), 4096, 8192) == 8192
        assert right.recv(8192, socket.MSG_WAITALL) == DATA[4096:12288]
    copy = mounted.cache / "copy"
    subprocess.run(["cp", str(path), str(copy)], check=True)
    assert copy.read_bytes() == DATA
    out = subprocess.run(
        ["dd", f"if={path}", "iflag=direct", "bs=1M", "status=none"],
        check=True,
        capture_output=True,
    )
    assert out.stdout == DATA


def test_the_mode_is_what_was_asked(mounted: Mount, kind: str) -> None:
    """In passthrough the page cache is the cache file's: what changes there is seen at once."""
    path = mounted.point / "model.bin"
    with path.open("rb") as reader:
        reader.read()
        with (mounted.tree / "model.bin").open("r+b") as writer:
            writer.write(b"XXXX")
        reader.seek(0)
        assert (reader.read(4) == b"XXXX") == (kind == "passthrough")


def test_df_shows_what_the_mount_holds(mounted: Mount) -> None:
    seen = os.statvfs(mounted.point)
    held = SIZE + len(b"inner")
    assert held <= seen.f_blocks * seen.f_frsize < held + 4096
    assert (seen.f_files, seen.f_bavail, seen.f_ffree) == (3, 0, 0)


def test_writes_are_refused(mounted: Mount) -> None:
    point = mounted.point
    attempts: list[Callable[[], object]] = [
        lambda: (point / "model.bin").open("r+b"),
        (point / "new").touch,
        (point / "new").mkdir,
        (point / "model.bin").unlink,
        lambda: (point / "model.bin").rename(point / "other"),
        lambda: (point / "model.bin").chmod(0o600),
        lambda: os.truncate(point / "model.bin", 0),
        lambda: os.setxattr(point / "model.bin", "user.x", b"1"),
        lambda: (point / "other").symlink_to("model.bin"),
    ]
    for attempt in attempts:
        with pytest.raises(OSError) as caught:
            attempt()
        assert caught.value.errno == errno.EROFS


def test_xattrs(mounted: Mount) -> None:
    """§ 6.4."""
    path = mounted.point / "model.bin"
    assert sorted(os.listxattr(path)) == ["user.hardtack.etag", "user.hardtack.state"]
    assert os.getxattr(path, "user.hardtack.state") == b"complete"
    with pytest.raises(OSError) as caught:
        os.getxattr(path, "user.unknown")
    assert caught.value.errno == errno.ENODATA
    with pytest.raises(OSError) as caught:
        os.getxattr(path, "security.selinux")
    assert caught.value.errno == errno.EOPNOTSUPP
    mounted.flag("absent")
    assert os.getxattr(path, "user.hardtack.state") == b"partial 33%"


def test_locks_are_the_boxs_own(mounted: Mount) -> None:
    """§ 7.2."""
    held = "import fcntl,sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with (mounted.point / "model.bin").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        command = [sys.executable, "-c", held, str(mounted.point / "model.bin")]
        refused = subprocess.run(command, check=False, capture_output=True, text=True)
        assert refused.returncode == 1 and "BlockingIOError" in refused.stderr
        fcntl.flock(file, fcntl.LOCK_UN)
        assert subprocess.run(command, check=False).returncode == 0


def test_ten_thousand_open_files(mounted: Mount) -> None:
    """§ 7.3."""
    fds = [os.open(mounted.point / "model.bin", os.O_RDONLY) for _ in range(10_000)]
    assert os.pread(fds[-1], 4, 8) == DATA[8:12]
    for fd in fds:
        os.close(fd)
    assert (mounted.point / "model.bin").read_bytes() == DATA


def test_a_new_generation_is_seen(mounted: Mount) -> None:
    point = mounted.point
    assert (point / "model.bin").exists() and not (point / "newer").exists()
    with (point / "model.bin").open("rb") as open_before:
        order = mounted.cache / "rename.new"
        order.write_text("model.bin newer")
        order.rename(mounted.cache / "rename")  # at once: it must not be read half-written
        until(lambda: (point / "newer").exists() and not (point / "model.bin").exists())
        assert open_before.read() == DATA
    assert (point / "newer").read_bytes() == DATA
    assert "newer" in os.listdir(point)


def test_an_error_of_the_source_is_an_errno(mount: Mount) -> None:
    (mount.tree / "model.bin").write_bytes(DATA)
    mount.flag("absent")
    mount.start()
    mount.flag("broken")
    with pytest.raises(OSError) as caught:
        (mount.point / "model.bin").read_bytes()
    assert caught.value.errno == errno.EHOSTUNREACH


def test_a_directory_of_many(mount: Mount) -> None:
    """§ 1.7."""
    for number in range(3000):
        (mount.tree / f"name-{number:05}").touch()
    mount.start()
    names = os.listdir(mount.point)
    assert sorted(names) == [f"name-{n:05}" for n in range(3000)]
    with ThreadPoolExecutor(4) as at_once:
        for again in at_once.map(os.listdir, [mount.point] * 12):
            assert again == names
    out = subprocess.run(["ls", "-lU", str(mount.point)], check=True, capture_output=True)
    assert out.stdout.count(b"\n") == 3001
