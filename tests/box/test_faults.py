"""What goes wrong on a box, through the whole product: true bytes, a clear word, an exit code."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hardtack.core import errors
from tests.support.commands import HARDTACK, Box, clean_environment, forget_caches, run
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server, s3_server
from tests.support.waiting import until

pytestmark = pytest.mark.needs("fuse", "root")

BODY = random.Random(11).randbytes(5_000_003)
OTHER = random.Random(12).randbytes(5_000_003)


def refused(done: subprocess.CompletedProcess[str], kind: type[errors.HardtackError], *said: str
            ) -> None:  # fmt: skip
    """The command ended as `kind` says, and its message names what must be named."""
    assert done.returncode == kind.exit_code, (done.returncode, done.stderr)
    for word in said:
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def state(path: Path) -> bytes:
    return os.getxattr(path, "user.hardtack.state")


def content_files(box: Box) -> list[Path]:
    return sorted((box.cache / "content").rglob("*.data"))


def flip(file: Path, place: int) -> None:
    with file.open("r+b") as opened:
        byte = os.pread(opened.fileno(), 1, place)
        os.pwrite(opened.fileno(), bytes([byte[0] ^ 1]), place)


# -- the source


def test_no_such_bucket_or_prefix_and_wrong_credentials(box: Box, server: S3Server) -> None:
    server.put("weights", "a.bin", BODY)
    refused(box.run("mount", "s3://nowhere", box.point), errors.NotFound, "nowhere")
    refused(box.run("mount", "s3://weights/none", box.point), errors.NotFound, "none")
    wrong = box.run("ls", "s3://weights", AWS_SECRET_ACCESS_KEY="not-the-secret-of-the-server")
    refused(wrong, errors.AccessDenied, ACCESS_KEY)
    assert "not-the-secret-of-the-server" not in wrong.stderr + wrong.stdout
    assert not os.path.ismount(box.point)


def test_an_empty_bucket_and_an_empty_object(box: Box, server: S3Server) -> None:
    with box.mounted() as point:
        assert os.listdir(point) == []
        server.put("weights", "empty", b"")
        until(lambda: os.listdir(point) == ["empty"])
        assert (point / "empty").read_bytes() == b""
        assert state(point / "empty") == b"complete"


def test_odd_keys_are_read_or_named(box: Box, server: S3Server) -> None:
    """§ 1.5."""
    odd = ["with space", "plus+and&", "ünï/ço\u0301de 🎈", "#hash?query", "quo'te\"", "x" * 200]
    for key in odd:
        server.put("weights", key, key.encode())
    with box.mounted() as point:
        for key in odd:
            assert (point / key).read_bytes() == key.encode()


def test_no_network_and_never_listed(box: Box, server: S3Server) -> None:
    """§ 3.4."""
    server.stop()
    refused(box.run("mount", box.source, box.point), errors.SourceUnreachable, "--wait")


def test_overwritten_and_deleted_under_an_open_handle(box: Box, server: S3Server) -> None:
    """§ 2.1, § 2.2, § 2.3, § 2.4."""
    for key in ("a.bin", "b.bin"):
        server.put("weights", key, BODY)
    with box.mounted() as point, (point / "a.bin").open("rb", buffering=0) as a:
        assert a.read(4096) == BODY[:4096]
        server.put("weights", "a.bin", OTHER)
        server.delete("weights", "b.bin")
        until(lambda: os.listdir(point) == ["a.bin"])
        assert (point / "a.bin").read_bytes() == OTHER
        assert (point / "a.bin").stat().st_ino != os.fstat(a.fileno()).st_ino
        os.posix_fadvise(a.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(a.fileno(), 4096, 0) == BODY[:4096]
        found = bytearray()
        try:
            while piece := os.pread(a.fileno(), 1 << 16, len(found)):
                found += piece
        except OSError as problem:
            assert problem.errno == errno.ESTALE
        assert found == BODY[: len(found)]


def test_rotated_credentials_are_read_again(box: Box, server: S3Server, tmp_path: Path) -> None:
    server.put("weights", "a.bin", BODY)
    file = tmp_path / "credentials"

    def write(secret: str) -> None:
        text = f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {secret}\n"
        file.write_text(text)

    environment = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    environment["AWS_SHARED_CREDENTIALS_FILE"] = str(file)
    write(SECRET_KEY)
    with box.mounted(**environment) as point:
        write("expired-secret-of-yesterday")
        server.put("weights", "b.bin", OTHER)
        until(lambda: "refused" in log(box))
        write(SECRET_KEY)
        until((point / "b.bin").exists)
        assert (point / "b.bin").read_bytes() == OTHER
    assert "expired-secret-of-yesterday" not in log(box)


def log(box: Box) -> str:
    return (box.cache / "hardtack.log").read_text()


def test_secrets_are_in_no_log(box: Box, server: S3Server) -> None:
    server.put("weights", "a.bin", BODY)
    said = ""
    with box.mounted(HARDTACK_LOG_LEVEL="debug") as point:
        assert (point / "a.bin").read_bytes() == BODY
        said += box.ok("config", "show") + box.ok("status", str(point))
        server.stop()
        done = box.run("prefetch", box.source, HARDTACK_LOG_LEVEL="debug")
        said += done.stdout + done.stderr
    written = [p.read_bytes() for p in box.cache.iterdir() if p.is_file()]
    for text in [said.encode(), *written]:
        assert SECRET_KEY.encode() not in text
        assert b"Signature=" not in text


def test_logs_for_machines_are_an_object_a_line(box: Box, server: S3Server) -> None:
    """Keeper's, worker's and commands' alike, also of what goes wrong."""
    server.put("weights", "a.bin", BODY)
    with box.mounted(HARDTACK_LOG_FORMAT="json") as point:
        worker = int(json.loads((point / ".hardtack").read_text())["worker"])
        os.kill(worker, signal.SIGKILL)
        until(lambda: '"hardtack.mount.keeper"' in log(box))
        assert (point / "a.bin").read_bytes() == BODY
        server.stop()
        until(lambda: "stays as it was" in log(box))
        server.start()
    done = box.run("prefetch", box.source, HARDTACK_LOG_FORMAT="json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (log(box) + done.stderr).splitlines()]
    for line in lines:
        assert {"time", "level", "logger", "message"} <= line.keys()
    assert {line["level"] for line in lines} == {"info", "warning"}


def test_a_prefix_by_flag_is_a_prefix_in_the_url(box: Box, server: S3Server) -> None:
    server.put("weights", "models/a.bin", BODY)
    server.put("weights", "other/b.bin", OTHER)
    with box.mounted("--prefix", "models") as point:
        assert os.listdir(point) == ["a.bin"]
        assert box.json("status", point)[str(point)]["source"] == "s3://weights/models"
    refused(box.run("mount", box.source, box.point, "--prefix", "none"), errors.NotFound, "none")


def test_owner_and_modes_are_what_was_asked(box: Box, server: S3Server) -> None:
    server.put("weights", "models/a.bin", BODY)
    asked = ("--uid", "1234", "--gid", "77", "--file-mode", "440", "--dir-mode", "550")
    with box.mounted(*asked) as point:
        for path, mode in ((point / "models", 0o40550), (point / "models/a.bin", 0o100440)):
            found = path.stat()
            assert (found.st_uid, found.st_gid, found.st_mode) == (1234, 77, mode)


def test_a_sidecars_environment_is_enough(box: Box, server: S3Server) -> None:
    """No argument, and none of hardtack's own variables."""
    server.put("weights", "a.bin", BODY)
    own = {"S3_BUCKET": "weights", "S3_REGION": "us-east-1", "MOUNT_PATH": str(box.point)}
    own |= {"CACHE_PATH": str(box.cache)}
    assert run("mount", env=server.env | own).returncode == 0
    try:
        assert (box.point / "a.bin").read_bytes() == BODY
        assert list(box.cache.glob("catalogue-*.db"))
    finally:
        done = run("unmount", env=own)
    assert done.returncode == 0, done.stderr


# -- the disk


@contextmanager
def small_disk(at: Path, size: str) -> Iterator[None]:
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "small", at], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", at], check=True)


def test_a_full_disk_costs_keeping_not_reading(box: Box, server: S3Server) -> None:
    for key in ("a.bin", "b.bin"):
        server.put("weights", key, BODY)
    with small_disk(box.cache, "4M"), box.mounted() as point:
        for key in ("a.bin", "b.bin"):
            assert (point / key).read_bytes() == BODY
        done = box.run("prefetch", box.source)
        refused(done, errors.DiskFull, "a.bin", "ree some space", "needs", "B free")
        assert done.stdout.strip() == "0 of 2 files; 2 failed."


def test_a_box_comes_up_on_a_full_disk(box: Box, server: S3Server) -> None:
    """What it has is read; the worker is replaced, and what is evicted makes room again."""
    server.put("weights", "a.bin", BODY)
    server.put("weights", "b.bin", OTHER[:2_000_000])
    with small_disk(box.cache, "8M"):
        with box.mounted():
            box.ok("prefetch", box.source, "a.bin")
        ballast = box.cache / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 12)):
                continue
        with box.mounted() as point:
            assert os.statvfs(box.cache).f_bavail * 4096 < 1 << 20
            assert (point / "a.bin").read_bytes() == BODY
            box.ok("mount", "--replace", point)
            server.stop()
            forget_caches()
            assert (point / "a.bin").read_bytes() == BODY
            with pytest.raises(OSError, match="No route to host"):
                (point / "b.bin").read_bytes()
            server.start()
            box.ok("cache", "evict", box.source, "a.bin")
            assert state(point / "a.bin") == b"absent"
            box.ok("refresh", box.source)  # it is there again, as the mount is told by this
            assert (point / "b.bin").read_bytes() == OTHER[:2_000_000]
            until(lambda: state(point / "b.bin") == b"complete")


def test_prefetch_on_a_full_disk(box: Box, server: S3Server) -> None:
    for key in ("a.bin", "b.bin", "c.bin"):
        server.put("weights", key, BODY)
    with small_disk(box.cache, "4M"):
        done = box.run("prefetch", box.source)
    refused(done, errors.DiskFull, "c.bin", "ree some space", "needs", "B free")
    assert done.stdout.strip() == "0 of 3 files; 3 failed."


def test_a_read_only_disk(box: Box, server: S3Server) -> None:
    """What is kept reads; what is not streams; a cache that can't be made is refused."""
    server.put("weights", "a.bin", BODY)
    with small_disk(box.cache, "1M"):
        subprocess.run(["mount", "-o", "remount,ro", box.cache], check=True)
        done = box.run("mount", box.source, box.point)
        refused(done, errors.CacheError, str(box.cache))


@contextmanager
def disk_of_its_own(image: Path, at: Path) -> Iterator[Path]:
    """An ext4 at `at`; the file that makes the kernel find an error in it, and keep it read-only.

    `mount -o remount,ro` would be refused while the cache has its files open.
    """
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, at], check=True)
    try:
        device = os.stat(at).st_dev
        name = Path(os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")).name
        breaks = Path(f"/sys/fs/ext4/{name}/trigger_fs_error")
        yield breaks
    finally:
        subprocess.run(["umount", "-l", at], check=True)
    until(lambda: not breaks.exists())  # another test's mount namespace may have a copy of it


@pytest.mark.needs("loop")
def test_a_disk_that_the_kernel_makes_read_only_while_mounted(
    box: Box, server: S3Server, tmp_path: Path
) -> None:
    """What was there is read, what is new streams past it, status says why; then it goes on."""
    for key, body in (("a.bin", BODY), ("b.bin", OTHER)):
        server.put("weights", key, body)
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with disk_of_its_own(image, box.cache) as breaks:
        with box.mounted() as point:
            box.ok("prefetch", box.source, "a.bin")
            breaks.write_text("a test")
            with pytest.raises(OSError, match="Read-only file system"):
                (box.cache / "new").touch()
            server.put("weights", "c.bin", BODY)
            forget_caches()
            for _ in range(2):
                assert (point / "a.bin").read_bytes() == BODY
                assert (point / "b.bin").read_bytes() == OTHER
            assert state(point / "a.bin") == b"complete"
            assert state(point / "b.bin") == b"absent"
            until(lambda: "stays as it was" in box.ok("status", point))
            kept, listing = (
                next(line for line in box.ok("status", point).splitlines() if word in line)
                for word in ("not kept", "stays as it was")
            )
            for line in (kept, listing):
                assert "read-only" in line, line
            done = box.run("prefetch", box.source)
            refused(done, errors.CacheError, "b.bin", "read-only")
            assert os.listdir(point) == ["a.bin", "b.bin"]
    subprocess.run(["fsck.ext4", "-fy", image], check=False, capture_output=True)
    with disk_of_its_own(image, box.cache), box.mounted() as point:
        server.stop()
        assert (point / "a.bin").read_bytes() == BODY
        server.start()
        until((point / "c.bin").exists)
        box.ok("prefetch", box.source)
        for key, body in (("a.bin", BODY), ("b.bin", OTHER), ("c.bin", BODY)):
            assert state(point / key) == b"complete"
            assert (point / key).read_bytes() == body


def test_a_cache_removed_underfoot(box: Box, server: S3Server) -> None:
    server.put("weights", "a.bin", BODY)
    with box.mounted() as point:
        assert (point / "a.bin").read_bytes() == BODY
        shutil.rmtree(box.cache)
        forget_caches()
        try:
            assert (point / "a.bin").read_bytes() == BODY
        except OSError as problem:
            assert problem.errno == errno.EIO
    with box.mounted() as point:
        assert (point / "a.bin").read_bytes() == BODY


def test_a_cache_removed_underfoot_and_a_worker_that_dies(box: Box, server: S3Server) -> None:
    """The next worker begins another cache in its place, and the mount goes on."""
    server.put("weights", "a.bin", BODY)
    with box.mounted() as point:
        assert (point / "a.bin").read_bytes() == BODY
        shutil.rmtree(box.cache)
        os.kill(json.loads((point / ".hardtack").read_text())["worker"], signal.SIGKILL)
        until((point / "a.bin").exists)
        assert (point / "a.bin").read_bytes() == BODY
        assert (box.cache / "mount.json").stat().st_mode & 0o777 == 0o600


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A box that has fetched one object; nothing is changed on it."""
    directory = tmp_path_factory.mktemp("holding")
    with s3_server(directory / "s3") as server:
        server.put("weights", "a.bin", BODY)
        box = Box(directory, server)
        box.ok("prefetch", box.source)
        yield box


@pytest.mark.parametrize(
    "command",
    [
        ("verify",),
        ("releases",),
        ("ls", "--offline"),
        ("cache", "list"),
        ("cache", "size"),
        ("cache", "evict"),
        ("unpin",),
    ],
)
def test_what_a_box_does_not_know_is_said_and_not_begun(
    holding: Box, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """A typo in SOURCE, or another --cache than the mount's."""
    more = {"evict": ["*"], "unpin": ["one"]}.get(command[-1], [])
    before = sorted(holding.cache.iterdir())
    elsewhere = tmp_path / "elsewhere"
    for source, cache in (
        ("s3://weihgts", holding.cache),
        ("file:///nowhere", holding.cache),
        (holding.source, elsewhere),
    ):
        done = holding.run(*command, source, *more, HARDTACK_CACHE=str(cache))
        refused(done, errors.CacheError, source, str(cache), "SOURCE", "--cache")
    assert not elsewhere.exists()
    assert sorted(holding.cache.iterdir()) == before


def test_a_flipped_byte_is_found_and_repaired(box: Box, server: S3Server) -> None:
    """§ 4.1, § 4.2."""
    server.put("weights", "a.bin", BODY)
    box.ok("prefetch", box.source)
    flip(content_files(box)[0], 2_000_000)
    assert "repaired" in box.ok("verify", box.source, "--repair")
    flip(content_files(box)[0], 3_000_000)
    found = box.run("verify", box.source)
    assert found.returncode == 1 and "a.bin" in found.stdout and "prefetch" in found.stdout
    again = box.run("verify", box.source)
    assert again.returncode == 1 and "a.bin: incomplete: 1 chunk was" in again.stdout
    assert "repaired" in box.ok("verify", box.source, "--repair")
    box.ok("verify", box.source)
    flip(content_files(box)[0], 2_000_000)
    server.stop()
    forget_caches()
    with box.mounted() as point, (point / "a.bin").open("rb", buffering=0) as file:
        assert file.read(4096) == BODY[:4096]
        with pytest.raises(OSError) as caught:
            os.pread(file.fileno(), 4096, 2_000_000)
        assert caught.value.errno == errno.EIO
    assert "a.bin" in log(box)


def test_damage_of_what_only_a_release_has_is_said_to_be_for_good(
    box: Box, server: S3Server
) -> None:
    server.put("weights", "a.bin", BODY)
    box.ok("prefetch", box.source)
    box.ok("pin", box.source, "first")
    flip(content_files(box)[0], 2_000_000)
    server.put("weights", "a.bin", OTHER)
    for more in (("--repair",), ()):
        done = box.run("verify", box.source, *more)
        assert done.returncode == 1
        assert "nobody can mend it; it stays for release first" in done.stdout
        assert "mends it" not in done.stdout
    server.put("weights", "a.bin", BODY)
    assert "repaired" in box.ok("verify", box.source, "--repair")


def test_flipped_bytes_in_the_catalogue(box: Box, server: S3Server) -> None:
    """Never wrong bytes; online it is listed anew."""
    server.put("weights", "a.bin", BODY)
    box.ok("prefetch", box.source)
    catalogue = next(box.cache.glob("catalogue-*.db"))
    choose = random.Random(5)
    whole = catalogue.read_bytes()
    for _ in range(4):
        catalogue.write_bytes(whole)
        for _ in range(3):
            flip(catalogue, choose.randrange(len(whole)))
        done = box.run("mount", box.source, box.point)
        if done.returncode:
            assert "Traceback" not in done.stderr
            assert "catalogue" in done.stderr
            continue
        try:
            until((box.point / "a.bin").exists)
            assert (box.point / "a.bin").read_bytes() == BODY
        finally:
            box.ok("unmount", box.point)


# -- processes


def test_two_on_one_cache(box: Box, server: S3Server, tmp_path: Path) -> None:
    """The second is refused by name, and a command for the same source asks the owner."""
    server.put("weights", "a.bin", BODY)
    second = tmp_path / "second"
    second.mkdir()
    with box.mounted():
        done = box.run("mount", box.source, second)
        refused(done, errors.CacheBusy, str(box.cache), str(box.point))
        assert "a.bin" in box.ok("cache", "list", box.source) or box.ok("prefetch", box.source)
        done = box.run("prefetch", "s3://other")
        refused(done, errors.ConfigError, "--cache")


def test_releases_are_rolled_back_to_offline(box: Box, server: S3Server) -> None:
    """§ 1.2, § 2.5, § 6.4."""
    server.put("weights", "a.bin", BODY)
    box.ok("prefetch", box.source)
    box.ok("pin", box.source, "first")
    server.put("weights", "a.bin", OTHER)
    with box.mounted() as point:
        until(lambda: (point / "a.bin").read_bytes() == OTHER)
        box.ok("cache", "evict", box.source, "*")
    server.stop()
    with box.mounted("--follow", "release first") as point:
        assert (point / "a.bin").read_bytes() == BODY
        for path in (point, point / "a.bin"):
            assert os.getxattr(path, "user.hardtack.release") == b"first"
    refused(box.run("mount", box.source, box.point, "--follow", "release none"),
            errors.ConfigError, "none", "first")  # fmt: skip


def test_frozen_stays(box: Box, server: S3Server) -> None:
    server.put("weights", "a.bin", BODY)
    with box.mounted("--follow", "frozen") as point:
        server.put("weights", "b.bin", OTHER)
        time.sleep(1.5)  # three refresh intervals
        assert os.listdir(point) == ["a.bin"]


def test_replaced_while_a_first_read_runs(box: Box, server: S3Server) -> None:
    """§ 8.1."""
    server.put("weights", "a.bin", BODY * 8)
    found: list[bytes] = []
    with box.mounted() as point:
        reader = threading.Thread(target=lambda: found.append((point / "a.bin").read_bytes()))
        reader.start()
        box.ok("mount", "--replace", point)
        reader.join(60)
        assert found == [BODY * 8]


def test_sigterm_of_a_mount_in_the_foreground(box: Box, server: S3Server) -> None:
    server.put("weights", "a.bin", BODY)
    with (box.point.parent / "out").open("wb") as out:
        process = subprocess.Popen(
            [*HARDTACK, "mount", "-f", box.source, str(box.point)],
            env=clean_environment(box.env), stderr=out,
        )  # fmt: skip
    try:
        until((box.point / "a.bin").exists)
        assert (box.point / "a.bin").read_bytes() == BODY
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert not os.path.ismount(box.point)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("source", ["stopped", "silent"])
def test_a_mount_that_is_ended_while_it_waits_for_its_first_listing(
    box: Box, server: S3Server, source: str, number: signal.Signals
) -> None:
    """It ends at once, and leaves no mount and no lock behind."""
    server.put("weights", "a.bin", BODY)
    with contextlib.ExitStack() as faults:
        if source == "stopped":
            server.stop()
        else:
            faults.enter_context(server.paused())
        process = subprocess.Popen(
            [*HARDTACK, "mount", "--wait", box.source, str(box.point)],
            env=clean_environment(box.env), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        until((box.cache / "content.db").exists)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number, told
    assert "Traceback" not in told
    assert not os.path.ismount(box.point)
    if source == "stopped":
        server.start()
    with box.mounted() as point:
        assert (point / "a.bin").read_bytes() == BODY


_AS_NOBODY = """
node=$(mktemp -u); mknod "$node" c 10 229; chmod 666 "$node"
mount --bind "$node" /dev/fuse; rm "$node"
rights="--inh-caps +dac_read_search --ambient-caps +dac_read_search"
exec setpriv --reuid 65534 --regid 65534 --clear-groups $rights sh -e -c '
"$@" mount s3://weights "$0/mnt"
sha256sum "$0/mnt/a.bin"
"$@" unmount "$0/mnt"' "$@"
"""
"""A device that anybody may open, in a mount namespace of its own; then the product as nobody,
who may read the interpreter wherever it is installed."""


@pytest.mark.needs("fusermount3")
def test_somebody_without_rights(box: Box, server: S3Server) -> None:
    """Through fusermount3, as user 65534, in directories of its own."""
    server.put("weights", "a.bin", BODY)
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        (Path(directory) / "mnt").mkdir()
        for path in (directory, f"{directory}/mnt"):
            os.chown(path, 65534, 65534)
        own = {"HARDTACK_CACHE": f"{directory}/cache", "HOME": directory}
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-e", "-c", _AS_NOBODY, "sh", directory, *HARDTACK],
            env=clean_environment(box.env | own),
            capture_output=True, text=True, check=False, timeout=60, cwd="/",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == hashlib.sha256(BODY).hexdigest()
