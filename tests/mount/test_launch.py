"""Mountpoints as people have them: missing, busy, stale, stacked, taken."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from hardtack.core.errors import MountError, MountpointError, SourceUnreachable
from hardtack.mount import device, launch, mountinfo, place, running, unmounting
from tests.mount.conftest import ROOT, Mount, gone
from tests.support.waiting import until

pytestmark = pytest.mark.needs("root", "fuse")


def test_missing_not_a_directory_not_empty(mount: Mount, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing").touch()
    for name, words in [
        ("none", "does not exist"),
        ("file", "not a directory"),
        ("full", "not empty: it holds 1 name (thing)"),
    ]:
        mount.point = tmp_path / name
        with pytest.raises(MountpointError) as caught:
            mount.start()
        assert words in caught.value.message and name in caught.value.message
    assert not (mount.cache / "mount.json").exists()


def test_taken_by_a_living_mount(mount: Mount) -> None:
    mount.start()
    with pytest.raises(MountpointError) as caught:
        place.check(str(mount.point))
    assert str(mount.keeper) in str(caught.value) and "--replace" in caught.value.remedy


def test_stacked_dead_mounts_are_cleared(mount: Mount) -> None:
    path = str(mount.point)
    for _ in range(3):
        os.close(device.mount(path, "s3://dead/one", allow_other=False))
    assert len(mountinfo.mounted_at(path)) == 3
    mount.start()
    assert len(mountinfo.mounted_at(path)) == 1


def test_busy_names_who(mount: Mount) -> None:
    (mount.tree / "a").write_bytes(b"abc")
    mount.start()
    with (mount.point / "a").open("rb") as file:
        with pytest.raises(MountpointError) as caught:
            unmounting.unmount(mount.point)
        assert str(os.getpid()) in caught.value.message and "--lazy" in caught.value.remedy
        unmounting.unmount(mount.point, lazy=True)
        assert file.read() == b"abc"
        assert os.listdir(mount.point) == []
    assert os.waitpid(mount.keeper, 0)[1] == 0


def test_who_was_found_is_who_is_told(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process is looked at once: at a second look whoever was found may be gone."""
    (mount.tree / "a").write_bytes(b"abc")
    mount.start()
    seen = iter([[(7, "reader")]])
    monkeypatch.setattr(mountinfo, "users", lambda _: next(seen))
    with (
        (mount.point / "a").open("rb"),
        pytest.raises(MountpointError, match=r"in use by 7 \(reader\)\."),
    ):
        unmounting.unmount(mount.point)


def test_what_is_being_closed_is_waited_for(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may say busy when nobody can be named any more."""
    (mount.tree / "a").write_bytes(b"abc")
    mount.start()
    fd = os.open(mount.point / "a", os.O_RDONLY)
    said: list[int] = []
    unmount = device.unmount

    def once_busy(path: str, *, lazy: bool) -> None:
        try:
            unmount(path, lazy=lazy)
        except OSError as problem:
            said.append(problem.errno or 0)
            os.close(fd)
            raise

    monkeypatch.setattr(device, "unmount", once_busy)
    monkeypatch.setattr(mountinfo, "users", lambda _: [])
    unmounting.unmount(mount.point)
    assert said == [errno.EBUSY]
    assert os.waitpid(mount.keeper, 0)[1] == 0


def busy(path: str, *, lazy: bool) -> None:
    raise OSError(errno.EBUSY, "busy")


def test_users_who_cannot_be_seen_are_told(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    (mount.tree / "a").write_bytes(b"abc")
    mount.start()
    monkeypatch.setattr(mountinfo, "users", lambda _: [])
    with (mount.point / "a").open("rb"):
        with pytest.raises(MountpointError) as caught:
            unmounting.unmount(mount.point)
        assert "something is mounted below it" in caught.value.message
        with pytest.raises(MountpointError) as caught, monkeypatch.context() as patched:
            patched.setattr(os, "geteuid", lambda: 1000)
            patched.setattr(device, "unmount", busy)
            unmounting.unmount(mount.point)
    assert "in use by processes that this user can't see" in caught.value.message


def test_whoever_is_told_by_a_mount_may_unmount_it(tmp_path: Path) -> None:
    """What asks has closed its file before it answers: here nobody takes the answer."""
    asked = tmp_path / "asked"
    asked.write_text("who")
    ours, theirs = os.pipe2(os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(theirs, bytes(4096))
    os.set_blocking(theirs, True)
    command = [sys.executable, "-I", "-S", "-c", mountinfo._CHILD, str(asked), ""]
    with subprocess.Popen(command, stdout=theirs) as child:
        os.close(theirs)
        try:
            until(lambda: Path(f"/proc/{child.pid}/wchan").read_text().endswith("pipe_write"))
            files = [os.readlink(f) for f in Path(f"/proc/{child.pid}/fd").iterdir()]
            assert str(asked) not in files
        finally:
            os.close(ours)
            child.kill()


def test_unmount_ends_keeper_and_worker(mount: Mount) -> None:
    mount.start()
    worker = mount.worker
    unmounting.unmount(mount.point)
    assert os.waitpid(mount.keeper, 0)[1] == 0
    assert not Path(f"/proc/{worker}").exists()
    with pytest.raises(MountpointError):
        unmounting.unmount(mount.point)


def test_unmount_ends_the_copies_of_other_mount_namespaces(mount: Mount) -> None:
    mount.start()
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            worker = mount.worker
            unmounting.unmount(mount.point)
            until(lambda: not Path(f"/proc/{worker}").exists())
            copy = Path(f"/proc/{other.pid}/root{mount.point}")
            with pytest.raises(OSError) as caught:
                os.listdir(copy)
            assert caught.value.errno == errno.ENOTCONN
        finally:
            other.kill()


def test_no_listing_and_no_network(mount: Mount) -> None:
    mount.flag("unreachable")
    with pytest.raises(SourceUnreachable) as caught:
        mount.start()
    assert "never listed" in caught.value.message
    assert not mountinfo.mounted_at(str(mount.point))


def test_a_worker_that_never_answers_is_undone(mount: Mount) -> None:
    with pytest.raises(MountError) as caught:
        mount.start(metrics_address="", ready=1.0, log_level="no such level")
    assert "did not answer within 1 s" in caught.value.message
    assert f"{mount.cache}/hardtack.log; it ends with:" in caught.value.remedy
    assert not mountinfo.mounted_at(str(mount.point))


def test_the_source_is_named_in_mountinfo(mount: Mount) -> None:
    mount.start()
    assert mountinfo.mounted_at(str(mount.point))[0].source == "file:///models"
    assert mount.point in running.mountpoints()


def test_parse_escapes() -> None:
    line = r"36 35 98:0 / /a\040b rw,noatime shared:1 - fuse.hardtack s3://x\134y rw"
    assert mountinfo.parse(line) == [
        mountinfo.Mounted("98:0", "/a b", "fuse.hardtack", "s3://x\\y", ("rw",), shared=True)
    ]


def test_systemd_is_told(mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        mount.start()
        assert channel.recv(100) == b"READY=1"
        os.kill(mount.keeper, signal.SIGTERM)
        assert channel.recv(100) == b"STOPPING=1"
    os.waitpid(mount.keeper, 0)


_FOREGROUND = """
import sys
import tempfile
from pathlib import Path
from typing import Any
from hardtack.cache.api import Options
from hardtack.mount import launch
from hardtack.source.options import SourceOptions
options = launch.MountOptions(opener="tests.mount.fake_cache:open_fake", foreground=True)
launch.mount("file:///m", sys.argv[1], SourceOptions(), Path(sys.argv[2]), Options(), options)
"""


def test_in_the_foreground_the_command_is_the_keeper(mount: Mount) -> None:
    command = [sys.executable, "-c", _FOREGROUND, str(mount.point), str(mount.cache)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: mountinfo.identity(str(mount.point), 5.0))
        assert running.health(mount.point)["keeper"] == process.pid
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
    assert not mountinfo.mounted_at(str(mount.point))


def test_a_keeper_that_cannot_be_started_leaves_no_mount(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(FileNotFoundError):
        mount.start()
    assert not mountinfo.mounted_at(str(mount.point))


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_end_before_the_mount_answers_leaves_nothing_behind(
    mount: Mount, monkeypatch: pytest.MonkeyPatch, end: type[BaseException]
) -> None:
    keepers: list[int] = []
    start = launch._start

    def started(*about: Any) -> subprocess.Popen[bytes]:
        process = start(*about)
        keepers.append(process.pid)
        return process

    def interrupted(*_: object) -> None:
        raise end

    with monkeypatch.context() as patch:
        patch.setattr(launch, "_start", started)
        patch.setattr(mountinfo, "identity", interrupted)
        with pytest.raises(end):
            mount.start()
    assert not mountinfo.mounted_at(str(mount.point))
    assert [gone(pid) for pid in keepers] == [True]
    mount.start()


_NOBODY = """
import os, sys
from hardtack.cli.main import main
from hardtack.cli import mount
from hardtack.mount import launch, mountinfo, unmounting  # nobody can't import them
who = mountinfo.identity(sys.argv[-1], 30)
mountinfo.identity = lambda *_: who  # asked by root: nobody may not run every interpreter
os.setgroups([]); os.setgid(65534); os.setuid(65534)
main(sys.argv[1:])
"""


@pytest.mark.needs("fusermount3")
def test_a_mount_of_another_user_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'src'}")
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        mount = Mount(Path(directory)).start()
        try:
            for command, word in ((["unmount"], "unmounted"), (["mount", "--replace"], "replaced")):
                done = subprocess.run(
                    [sys.executable, "-c", _NOBODY, *command, str(mount.point)],
                    capture_output=True, text=True, check=False, cwd="/", env={"HOME": "/"},
                )  # fmt: skip
                assert done.returncode == MountpointError.exit_code, done.stderr
                assert f"{mount.point} can't be {word} by user 65534" in done.stderr
                assert "as root (sudo)" in done.stderr
                assert "Traceback" not in done.stderr
            assert running.health(mount.point)
        finally:
            unmounting.unmount(mount.point)
            mount.end()


def test_a_wrong_mountpoint_is_told_where_the_mounts_are(mount: Mount, tmp_path: Path) -> None:
    mount.start()
    with pytest.raises(MountpointError) as caught:
        unmounting.unmount(tmp_path / "elsewhere")
    assert "nothing is mounted there" in caught.value.message
    assert str(mount.point) in caught.value.remedy
