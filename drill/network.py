"""Two hosts and a cable: the site, with registry, bucket and cloud, and the box.

Each is a network namespace; the cable is a veth pair that can be shaped, made lossy, cut, and
whose packets are counted by where they go.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SITE = "10.77.0.1"
BOX = "10.77.0.2"
PODS = "10.42.0.0/24"
_RULES = """
table inet drill {{
  counter site {{}}
  counter elsewhere {{}}
  set own {{ type ipv4_addr; flags interval; elements = {{ 127.0.0.0/8, {BOX}, {PODS} }} }}
  chain sorted {{
    ip daddr @own accept
    ip daddr {SITE} counter name site accept
    counter name elsewhere log prefix "drill " drop
  }}
  chain output {{ type filter hook output priority 0; jump sorted; }}
  chain forward {{ type filter hook forward priority 0; jump sorted; }}
}}
"""
_LOSS = """
table inet loss
delete table inet loss
table inet loss {{
  chain input {{ type filter hook input priority -10;
    iifname "{0}" numgen random mod 100 < {1} drop; }}
  chain output {{ type filter hook output priority -10;
    oifname "{0}" numgen random mod 100 < {1} drop; }}
}}
"""


class Network:
    """Namespaces `site` and `box`; commands run in them by `at_site` and `at_box`."""

    def __init__(self) -> None:
        self._site, self._box = f"ht-site{os.getpid()}", f"ht-box{os.getpid()}"

    def make(self) -> None:
        for name in (self._site, self._box):
            _do("ip", "netns", "add", name)
            self._inside(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
            _do("ip", "-n", name, "link", "set", "lo", "up")
        _do("ip", "-n", self._site, "link", "add", "cable", "type", "veth",
            "peer", "name", "cable", "netns", self._box)  # fmt: skip
        for name, address in ((self._site, SITE), (self._box, BOX)):
            _do("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            _do("ip", "-n", name, "link", "set", "cable", "up")
        _do("ip", "-n", self._site, "route", "add", PODS, "via", BOX)
        _do("ip", "-n", self._box, "route", "add", "default", "via", SITE)
        self._inside(self._box, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self._nft(self._box, _RULES.format(BOX=BOX, PODS=PODS, SITE=SITE))

    def remove(self) -> None:
        for name in (self._site, self._box):
            subprocess.run(["ip", "netns", "del", name], check=False)

    def at_site(self, *command: str) -> list[str]:
        return _entered(self._site, command)

    def at_box(self, *command: str) -> list[str]:
        return _entered(self._box, command)

    def cut(self) -> None:
        """Pull the cable, at the site's end: the box's own link stays up and is answered by
        nobody, as behind a switch."""
        _do("ip", "-n", self._site, "link", "set", "cable", "down")

    def mend(self) -> None:
        _do("ip", "-n", self._site, "link", "set", "cable", "up")
        _do("ip", "-n", self._site, "route", "replace", PODS, "via", BOX)

    def shape(self, rate: str, loss: int = 0) -> None:
        """Both ways at most `rate` (as tc writes it); `loss` percent of the packets vanish."""
        for name in (self._site, self._box):
            tbf = ("root", "tbf", "rate", rate, "burst", "64kb", "latency", "400ms")
            self._inside(name, "tc", "qdisc", "replace", "dev", "cable", *tbf)
        if loss:
            self._nft(self._site, _LOSS.format("cable", loss))

    def packets(self, counter: str) -> int:
        """Packets that the box sent to the `site`, or `elsewhere`."""
        listed = subprocess.run(
            _entered(self._box, ("nft", "list", "counter", "inet", "drill", counter)),
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        return int(listed.split("packets ")[1].split()[0])

    def received(self) -> int:
        """Bytes that came to the box over the cable."""
        shown = subprocess.run(
            self.at_box("cat", "/proc/net/dev"), capture_output=True, text=True, check=True
        ).stdout
        return int(shown.split("cable:")[1].split()[0])

    def _inside(self, name: str, *command: str) -> None:
        _do(*_entered(name, command))

    def _nft(self, name: str, rules: str) -> None:
        subprocess.run(_entered(name, ("nft", "-f", "-")), input=rules, text=True, check=True)


def _entered(name: str, command: Sequence[str]) -> list[str]:
    # Not `ip netns exec`: it has a mount namespace of its own, in which no FUSE mount is shared.
    return ["nsenter", f"--net={Path('/run/netns', name)}", "--", *command]


def _do(*command: str) -> None:
    subprocess.run(command, check=True)


@contextmanager
def network() -> Iterator[Network]:
    made = Network()
    try:
        made.make()
        yield made
    finally:
        made.remove()
