"""Process 1 of the box: gives it a file system of its own, then reaps, until it is killed.

With it everything on the box ends, in the middle of whatever it does: a power cut.
Run as `python init.py DISK RUN`, in new mount, process and network namespaces.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

OWN = ("etc/rancher", "etc/systemd/system", "opt/groundlight", "var/lib/hardtack",
       "var/lib/rancher", "var/lib/cni")  # fmt: skip
"""Directories of the box's own disk; all else is this machine's, with what is written to it
written elsewhere."""
_OVER = ("etc", "opt", "var/lib")


def main() -> None:
    disk, run = Path(sys.argv[1]), Path(sys.argv[2])
    _mount("--make-rshared", "/")
    groups = str(run / "cgroup")
    _mount("--rbind", "/sys/fs/cgroup", groups)
    _mount("-t", "sysfs", "sysfs", "/sys")  # the interfaces of this network namespace
    _mount("--rbind", groups, "/sys/fs/cgroup")
    for number, name in enumerate(_OVER):
        upper, work = disk / ".over" / str(number), disk / ".work" / str(number)
        for directory in (upper, work):
            directory.mkdir(parents=True, exist_ok=True)
        _mount("-t", "overlay", "-o", f"lowerdir=/{name},upperdir={upper},workdir={work}",
               "overlay", f"/{name}")  # fmt: skip
    for name in OWN:
        (disk / name).mkdir(parents=True, exist_ok=True)
        Path("/", name).mkdir(parents=True, exist_ok=True)
        _mount("--bind", str(disk / name), f"/{name}")
    _mount("--bind", str(run), "/run")
    (run / "booted").touch()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.sigwait({signal.SIGCHLD})
        _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    main()
