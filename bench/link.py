"""A network link of our own: a namespace behind a veth pair, whose bytes can be counted,
shaped and cut."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Link:
    """Ours is the end `here`; a server runs inside and listens on `there`."""

    def __init__(self) -> None:
        net = f"10.213.{os.getpid() % 256}"
        self.here, self.there = f"{net}.1", f"{net}.2"
        self.namespace = f"htbench{os.getpid()}"
        self._ours, self._theirs = f"htb{os.getpid()}", f"hts{os.getpid()}"

    def make(self) -> None:
        ip("netns", "add", self.namespace)
        ip("link", "add", self._ours, "type", "veth", "peer", self._theirs,
           "netns", self.namespace)  # fmt: skip
        ip("addr", "add", f"{self.here}/30", "dev", self._ours)
        ip("link", "set", self._ours, "up")
        ip("-n", self.namespace, "addr", "add", f"{self.there}/30", "dev", self._theirs)
        ip("-n", self.namespace, "link", "set", "lo", "up")
        ip("-n", self.namespace, "link", "set", self._theirs, "up")

    def remove(self) -> None:
        ip("netns", "del", self.namespace)

    def inside(self, command: list[str]) -> list[str]:
        """`command` as it runs in the namespace."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def shape(self, rate: str) -> None:
        """What the server sends goes at `rate` (as tc writes it) at most."""
        tbf = ["root", "tbf", "rate", rate, "burst", "256kb", "latency", "50ms"]
        command = ["tc", "qdisc", "replace", "dev", self._theirs, *tbf]
        subprocess.run(self.inside(command), check=True)

    def unshape(self) -> None:
        command = ["tc", "qdisc", "del", "dev", self._theirs, "root"]
        subprocess.run(self.inside(command), check=True)

    def cut(self) -> None:
        """Pull the cable."""
        ip("-n", self.namespace, "link", "set", self._theirs, "down")

    def mend(self) -> None:
        """Plug the cable in again."""
        ip("-n", self.namespace, "link", "set", self._theirs, "up")

    def received(self) -> int:
        """Bytes that came over the link so far, headers included."""
        return int(Path(f"/sys/class/net/{self._ours}/statistics/rx_bytes").read_text())


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def link() -> Iterator[Link]:
    """A link, and none of it afterwards. Needs root."""
    made = Link()
    made.make()
    try:
        yield made
    finally:
        made.remove()
