"""Mounts that outlive their keepers: the hold, and the keeper that comes after."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hardtack.mount import handover, hold, mountinfo, unmounting
from tests.mount.conftest import Hold, Mount, children, gone
from tests.support.waiting import until

pytestmark = pytest.mark.needs("root", "fuse")


def end_keeper(mount: Mount, number: int) -> None:
    worker = mount.worker
    os.kill(mount.keeper, number)
    os.waitpid(mount.keeper, 0)
    until(lambda: gone(worker))


@pytest.mark.parametrize(("number", "disabled"), [(signal.SIGTERM, ""), (signal.SIGKILL, "resend")])
def test_the_next_keeper_goes_on(
    mount: Mount, kept: Hold, number: int, disabled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARDTACK_FUSE_DISABLE", disabled)
    body = os.urandom(3_000_000)
    (mount.tree / "a").write_bytes(body)
    mount.start(hold=kept.socket)
    until(lambda: kept.owned(mount.point))
    before = mountinfo.mounted_at(str(mount.point))[-1].device
    with (mount.point / "a").open("rb", buffering=0) as file:
        assert os.pread(file.fileno(), 10, 0) == body[:10]
        mount.flag("absent")
        found: list[bytes] = []
        reader = threading.Thread(
            target=lambda: found.append(os.pread(file.fileno(), 1000, 2_990_000)), daemon=True
        )
        reader.start()
        end_keeper(mount, number)
        until(lambda: kept.owned(mount.point) is False)
        mount.flag("absent", on=False)
        mount.start(hold=kept.socket)
        reader.join(60)
        assert found == [body[2_990_000:2_991_000]]
    (same,) = mountinfo.mounted_at(str(mount.point))
    assert same.device == before


def test_it_waits_for_its_predecessor(mount: Mount, kept: Hold) -> None:
    mount.start(hold=kept.socket)
    until(lambda: kept.owned(mount.point))
    first = mount.keeper
    with pytest.raises(handover.Living, match="Another keeper serves"):
        mount.start(hold=kept.socket)
    successor = threading.Thread(target=lambda: mount.start(hold=kept.socket, handover=60.0))
    successor.start()
    os.kill(first, signal.SIGTERM)
    os.waitpid(first, 0)
    successor.join(60)
    assert mount.keeper != first and mount.worker


def test_another_source_is_mounted_anew(mount: Mount, kept: Hold) -> None:
    mount.start(hold=kept.socket)
    until(lambda: kept.owned(mount.point))
    end_keeper(mount, signal.SIGTERM)
    assert mountinfo.mounted_at(str(mount.point))
    mount.cache = mount.cache.parent / "other"
    mount.tree = mount.cache / "tree"
    mount.tree.mkdir(parents=True)
    (mount.tree / "new").touch()
    mount.start(hold=kept.socket)
    assert os.listdir(mount.point) == ["new"]
    assert len(mountinfo.mounted_at(str(mount.point))) == 1


def test_unmounting_ends_it(mount: Mount, kept: Hold) -> None:
    mount.start(hold=kept.socket)
    until(lambda: kept.owned(mount.point))
    unmounting.unmount(mount.point)
    assert os.waitpid(mount.keeper, 0)[1] == 0
    until(lambda: kept.owned(mount.point) is None)
    mount.start(hold=kept.socket)
    assert mount.worker


def test_a_hold_that_is_replaced_is_told_again(mount: Mount, kept: Hold) -> None:
    mount.start(hold=kept.socket)
    until(lambda: kept.owned(mount.point))
    kept.end()
    assert mount.worker  # a hold that ends leaves what is served
    kept.process = kept.start()
    until(lambda: kept.owned(mount.point))


def test_without_a_hold_the_keeper_unmounts(mount: Mount, kept: Hold) -> None:
    mount.start(hold=kept.socket)
    until(lambda: kept.owned(mount.point))
    kept.end()
    end_keeper(mount, signal.SIGTERM)
    assert not mountinfo.mounted_at(str(mount.point))
    kept.process = kept.start()


@pytest.mark.parametrize("how", ["grace", "end"])
def test_what_nobody_takes_over_is_unmounted(mount: Mount, kept: Hold, how: str) -> None:
    if how == "grace":
        kept.end()
        kept.process = kept.start(grace="0.5")
    mount.start(hold=kept.socket)
    until(lambda: kept.owned(mount.point))
    end_keeper(mount, signal.SIGTERM)
    if how == "end":
        kept.end()
        kept.process = kept.start()
    until(lambda: not mountinfo.mounted_at(str(mount.point)))


def test_what_is_not_a_message_is_refused(mount: Mount, kept: Hold, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="refused"):
        hold.ask(kept.socket, ["no"])  # type: ignore[arg-type]
    assert kept.answers()
    assert os.stat(kept.socket).st_mode & 0o777 == 0o600
    with pytest.raises(OSError):
        hold.ask(str(tmp_path / "none"), {"do": "take"})


_FOREGROUND = """
import sys
from pathlib import Path
from hardtack.cache.api import Options
from hardtack.mount import launch
from hardtack.source.options import SourceOptions
options = launch.MountOptions(opener="tests.mount.fake_cache:open_fake", foreground=True,
                              hold=sys.argv[3], handover=60.0)
launch.mount("file:///models", sys.argv[1], SourceOptions(), Path(sys.argv[2]), Options(), options)
"""
_CONTAINER = ("unshare", "--mount", "--propagation", "unchanged", "--pid", "--fork",
              "--kill-child", "--mount-proc")  # fmt: skip


def pod(point: Path, cache: Path, socket: str, *before: str) -> subprocess.Popen[bytes]:
    """The command of a mount's container; with `before` in namespaces of its own."""
    command = [*before, sys.executable, "-c", _FOREGROUND, str(point), str(cache), socket]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def test_one_pod_after_another(mount: Mount, kept: Hold, tmp_path: Path) -> None:
    """Mount and process namespaces of their own, the parent shared: as containers have it.

    The host's descriptor and the host's name both live on, whether the pod is told or killed.
    """
    parent = tmp_path / "edge"
    parent.mkdir()
    body = os.urandom(300_000)
    (mount.tree / "a").write_bytes(body)
    subprocess.run(["mount", "--bind", parent, parent], check=True)
    subprocess.run(["mount", "--make-shared", parent], check=True)
    point = parent / "mnt"
    running = pod(point, mount.cache, kept.socket, *_CONTAINER)
    try:
        until(lambda: kept.owned(point))
        # The first close teaches the kernel that none need be told: a fork closes what is open.
        assert (point / "a").read_bytes() == body
        with (point / "a").open("rb", buffering=0) as file:
            for at, number in enumerate((signal.SIGTERM, signal.SIGKILL, signal.SIGKILL)):
                (keeper,) = children(running.pid)
                os.kill(keeper, number)
                running.wait(30)
                until(lambda: kept.owned(point) is False)
                running = pod(point, mount.cache, kept.socket, *_CONTAINER)
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                offset = 90_000 * (at + 1)
                assert os.pread(file.fileno(), 1000, offset) == body[offset : offset + 1000]
                assert (point / "a").stat().st_size == len(body)
                assert len(mountinfo.mounted_at(str(point))) == 1
                until(lambda: kept.owned(point))
    finally:
        kept.end()
        running.kill()
        running.wait()
        for place in (point, parent):
            while mountinfo.mounted_at(str(place)):
                subprocess.run(["umount", "-l", place], check=True)
    kept.process = kept.start()


def test_in_the_foreground_the_mountpoint_is_made(mount: Mount, tmp_path: Path) -> None:
    point = tmp_path / "deep" / "mnt"
    process = pod(point, mount.cache, "")
    try:
        until(lambda: mountinfo.identity(str(point), 5.0))
    finally:
        process.terminate()
        process.wait(30)
    assert not mountinfo.mounted_at(str(point))
