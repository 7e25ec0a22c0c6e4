"""The product and its peers, mounted on the same bucket, each tuned as its own docs say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from bench.bucket import BUCKET

SCRIPTS = Path(sys.executable).parent


class Mounter(Protocol):
    """Someone who mounts the bucket at `endpoint` with a cache directory."""

    @property
    def name(self) -> str: ...

    def mount(self, endpoint: str, at: Path, cache: Path) -> None: ...

    def unmount(self, at: Path) -> None: ...

    def settle(self, path: Path) -> None:
        """Return when `path`, read once, is as much in the cache as it will be."""


@dataclass(frozen=True, slots=True)
class Hardtack:
    """The product; `without` is what `HARDTACK_FUSE_DISABLE` gets."""

    name: str = "hardtack"
    without: str = ""
    options: tuple[str, ...] = ()
    url: str = f"s3://{BUCKET}"

    def command(self, endpoint: str, at: Path, cache: Path) -> list[str]:
        options = ["--endpoint-url", endpoint, "--unsigned"] if endpoint else []
        options += ["--cache", str(cache)]
        options += ["--keep-free", "0", *self.options]
        return [*hardtack("mount", self.url, str(at)), *options]

    def mount(self, endpoint: str, at: Path, cache: Path) -> None:
        environment = os.environ | {"HARDTACK_FUSE_DISABLE": self.without}
        run(self.command(endpoint, at, cache), environment)

    def unmount(self, at: Path) -> None:
        run(hardtack("unmount", str(at)))

    def settle(self, path: Path) -> None:
        for _ in range(600):
            if os.getxattr(path, "user.hardtack.state") == b"complete":
                return
            time.sleep(0.05)
        raise SystemExit(f"{path} was read and did not become complete within 30 s")


class Rclone:
    """`rclone mount --vfs-cache-mode full`."""

    name = "rclone"

    def mount(self, endpoint: str, at: Path, cache: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "AWS_CA_BUNDLE"}
        run(
            [
                str(SCRIPTS / "rclone"), "mount", f":s3:{BUCKET}", str(at),
                "--s3-provider", "Other", "--s3-endpoint", endpoint, "--config", os.devnull,
                "--read-only", "--vfs-cache-mode", "full", "--cache-dir", str(cache),
                "--vfs-read-chunk-streams", "4", "--vfs-read-chunk-size", "8M",
                "--buffer-size", "32M", "--no-modtime", "--no-checksum", "--daemon",
            ],
            environment,
        )  # fmt: skip

    def unmount(self, at: Path) -> None:
        fusermount(at)

    def settle(self, path: Path) -> None:
        time.sleep(1)


class S3fs:
    """`s3fs -o use_cache`."""

    name = "s3fs"

    def mount(self, endpoint: str, at: Path, cache: Path) -> None:
        options = (
            f"url={endpoint},use_path_request_style,public_bucket=1,ro,use_cache={cache},"
            "parallel_count=8,multipart_size=16,max_stat_cache_size=200000,kernel_cache"
        )
        run(["s3fs", BUCKET, str(at), "-o", options])
        _until_mounted(at)

    def unmount(self, at: Path) -> None:
        fusermount(at)

    def settle(self, path: Path) -> None:
        time.sleep(1)


def peers() -> list[Mounter]:
    """The peers that this machine has."""
    return [Rclone(), *([S3fs()] if shutil.which("s3fs") else [])]


@contextmanager
def mounted(who: Mounter, endpoint: str, work: Path, *, keep: bool = False) -> Iterator[Path]:
    """The mountpoint of `who` over an empty cache (over what is there with `keep`)."""
    at, cache = work / f"{who.name}.mnt", work / f"{who.name}.cache"
    if not keep:
        shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(exist_ok=True)
    at.mkdir(exist_ok=True)
    who.mount(endpoint, at, cache)
    try:
        yield at
    finally:
        who.unmount(at)


def hardtack(*arguments: str) -> list[str]:
    """A command line of the product."""
    return [str(SCRIPTS / "hardtack"), *arguments]


def status(at: Path) -> dict[str, Any]:
    """What `hardtack status --json` says of a mount."""
    done = subprocess.run(
        hardtack("status", str(at), "--json"), check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)[str(at)]
    return found


def identity(at: Path) -> dict[str, Any]:
    """The pids behind a mount of the product."""
    found: dict[str, Any] = json.loads((at / ".hardtack").read_text())
    return found


def memory(at: Path) -> float:
    """PSS of keeper, worker and their children, in MiB."""
    keeper = psutil.Process(identity(at)["keeper"])
    return sum(_pss(p.pid) for p in [keeper, *keeper.children(recursive=True)]) / 1024


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it ended meanwhile
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run to success, or end the bench with what it said."""
    # a file, not a pipe: a daemon that keeps its stderr would keep the pipe open
    with tempfile.TemporaryFile() as said:
        code = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            check=False,
            timeout=300,
        ).returncode
        if code:
            said.seek(0)
            text = said.read().decode(errors="replace")
            raise SystemExit(f"{' '.join(command)}: exit {code}: {text}")


def fusermount(at: Path) -> None:
    """Unmount a peer, which may need a moment to let go."""
    for _ in range(50):
        if subprocess.run(["fusermount3", "-u", str(at)], check=False, capture_output=True
                          ).returncode == 0:  # fmt: skip
            return
        time.sleep(0.1)
    subprocess.run(["fusermount3", "-u", "-z", str(at)], check=True)


def _until_mounted(at: Path) -> None:
    for _ in range(200):
        if at.is_mount():
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing was mounted at {at}")
