"""What a figure depends on: the machine and the versions of the peers."""

from __future__ import annotations

import mmap
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

import hardtack

LOAD = "load before"
_BLOCK = 1 << 20


def facts(work: Path) -> dict[str, str]:
    """Name → value, for the head of a report; `work` is where the bench's files lie."""
    return {
        "kernel": platform.release(),
        "CPU": f"{_cpu()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total >> 20} MiB",
        "file system": _file_system(work),
        "Python": platform.python_version(),
        "hardtack": hardtack.__version__,
        "rclone": _version([str(Path(sys.executable).with_name("rclone")), "version"]),
        "s3fs": _version(["s3fs", "--version"]),
        "skopeo": _version(["skopeo", "--version"]),
        LOAD: f"{os.getloadavg()[0]:.1f}",
    }


def warm_memory(size: int, directory: Path) -> None:
    """Touch `size` bytes of memory as process and as page cache of `directory`, and free them.

    Where the host takes freed pages back (a balloon with free page reporting), the first touch of
    a page costs a fault in the host, several times what copying it does. Whoever is measured right
    after this finds pages that are there, as on a machine that has its memory for good.
    """
    block = memoryview(bytes(_BLOCK))
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(size // _BLOCK):
            file.write(block)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, size, flags=flags).close()


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(path: Path) -> str:
    mounts = [p for p in psutil.disk_partitions(all=True) if path.is_relative_to(p.mountpoint)]
    return max(mounts, key=lambda p: len(p.mountpoint)).fstype if mounts else "unknown"


def _version(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return "not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0]
