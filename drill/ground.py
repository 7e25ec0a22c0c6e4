"""The ground that a drill stands on: a site that has our image, and a box; one drill at a time,
and nothing left at the end."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drill import image, network, site
from drill.box import Box, remove_groups

_PLACE = Path("/var/tmp")
_NAME = "hardtack-drill-"
_TAKEN = "\0hardtack-drill"
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Ground:
    """A site, a box whose power is off, and what joins them."""

    network: network.Network
    site: site.Site
    box: Box


@contextmanager
def laid(archive: Path) -> Iterator[Ground]:
    """A site with both versions of our image, and a box with nothing on it."""
    directory = _PLACE / f"{_NAME}{os.getpid()}"
    directory.mkdir()
    hosts = network.Network()
    try:
        hosts.make()
        with site.site(hosts, directory / "site") as there:
            there.publish(archive, image.TAG)
            there.publish_next(archive, image.NEXT)
            there.publish_pause()
            box = Box(directory / "box", hosts, site.PAUSE)
            box.make()
            try:
                yield Ground(hosts, there, box)
            finally:
                box.power_off()
    finally:
        hosts.remove()
        remove_groups(directory.name)
        shutil.rmtree(directory)


def ends() -> None:
    """A signal that ends this process ends it in order."""
    for number in _ENDS:
        signal.signal(number, _end)


def _end(number: int, _: object) -> None:
    """End; what is cleaned up then is cleaned up whole, however often one asks."""
    for each in _ENDS:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


@contextmanager
def alone(*, wait: bool = False) -> Iterator[None]:
    """No other drill of this machine runs meanwhile: a name that goes with the process is taken."""
    with socket.socket(socket.AF_UNIX) as taken:
        while True:
            try:
                taken.bind(_TAKEN)
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                if not wait:
                    sys.exit(
                        f"drill: another drill runs{_by()}. End it, wait for it, or say --wait."
                    )
            time.sleep(1)
        taken.listen()
        yield


def _by() -> str:
    """Whose drill runs, if it still does."""
    with socket.socket(socket.AF_UNIX) as asking:
        if asking.connect_ex(_TAKEN):
            return ""
        told = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return f" (process {struct.unpack('3i', told)[0]})"


def clean() -> None:
    """Remove what drills left behind that were killed."""
    for pid in network.abandoned():
        network.remove(pid)
    for left in _PLACE.glob(f"{_NAME}[0-9]*"):
        if not Path("/proc", left.name.removeprefix(_NAME)).exists():
            subprocess.run(["umount", "--recursive", str(left)], check=False, capture_output=True)
            remove_groups(left.name)
            shutil.rmtree(left)
