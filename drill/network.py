"""Two hosts and a cable: the site, with registry, bucket and cloud, and the box.

Each is a network namespace; the cable is a veth pair that can be shaped, made lossy, cut, and
whose packets are counted by where they go.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SITE = "10.77.0.1"
"""The registry's and the bucket's address."""
CLOUD = "10.77.0.3"
BOX = "10.77.0.2"
PODS = "10.42.0.0/24"
SERVICES = "10.43.0.0/16"
API = ("10.43.0.1", 443)
"""The address of the cluster's API."""
BUCKET_PORTS = (9000, 9001)
"""Where the bucket is, and where it is as if far away."""
_HEADERS = 52
"""Bytes of a packet's IP and TCP headers, with the time stamps that Linux sends."""
_NAMES = "/run/netns"
_SITE, _BOX = "ht-site", "ht-box"
_RULES = f"""
table inet drill {{
  counter site {{}}
  counter cloud {{}}
  counter elsewhere {{}}
  counter weights {{}}
  set strangers {{ type ipv4_addr . inet_proto; flags dynamic; size 1024; }}
  set strangers6 {{ type ipv6_addr . inet_proto; flags dynamic; size 1024; }}
  set own {{ type ipv4_addr; flags interval;
    elements = {{ 127.0.0.0/8, {BOX}, {PODS}, {SERVICES}, 203.0.113.254 }} }}
  chain sorted {{
    ip daddr @own accept
    # The kernel's own, of each interface: no router forwards it.
    ip daddr 224.0.0.22 ip protocol igmp accept
    ip6 daddr ff02::/16 icmpv6 type {{ 133, 135, 136, 143 }} accept
    ip daddr {SITE} counter name site accept
    ip daddr {CLOUD} counter name cloud accept
    add @strangers {{ ip daddr . meta l4proto }}
    add @strangers6 {{ ip6 daddr . meta l4proto }}
    counter name elsewhere drop
  }}
  chain input {{ type filter hook input priority 0;
    iifname "cable" tcp sport {{ {", ".join(map(str, BUCKET_PORTS))} }} counter name weights; }}
  chain output {{ type filter hook output priority 0; jump sorted; }}
  chain forward {{ type filter hook forward priority 0; jump sorted; }}
}}
table ip services {{
  map pods {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; }}
  chain arriving {{ type nat hook prerouting priority -100;
    dnat to ip daddr . tcp dport map @pods; }}
  chain own {{ type nat hook output priority -100; dnat to ip daddr . tcp dport map @pods; }}
  chain leaving {{ type nat hook postrouting priority 100; ct status dnat masquerade; }}
}}
"""
_LOSS = """
table inet loss
delete table inet loss
table inet loss {{
  chain input {{ type filter hook input priority -10;
    iifname "cable" numgen random mod 100 < {0} drop; }}
  chain output {{ type filter hook output priority -10;
    oifname "cable" numgen random mod 100 < {0} drop; }}
}}
"""


class Network:
    """Namespaces of site and box, named by this process; commands enter them by `at_site`."""

    def __init__(self) -> None:
        self._site, self._box = f"{_SITE}{os.getpid()}", f"{_BOX}{os.getpid()}"

    def make(self) -> None:
        """Both hosts, with the cable plugged in; this process becomes one on the box."""
        for name in (self._site, self._box):
            _do("ip", "netns", "add", name)
            for which in ("all", "default"):
                self._inside(name, "sysctl", "-qw", f"net.ipv6.conf.{which}.disable_ipv6=1")
            _do("ip", "-n", name, "link", "set", "lo", "up")
        _do("ip", "-n", self._site, "link", "add", "cable", "type", "veth",
            "peer", "name", "port", "netns", self._box)  # fmt: skip
        # With a port below it, to the box it is an interface that goes with its cable.
        _do("ip", "-n", self._box, "link", "add", "cable", "type", "bridge")
        _do("ip", "-n", self._box, "link", "set", "port", "master", "cable", "up")
        for address in (SITE, CLOUD):
            _do("ip", "-n", self._site, "addr", "add", f"{address}/24", "dev", "cable")
        self._inside(self._box, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        _do("ip", "-n", self._box, "addr", "add", f"{API[0]}/32", "dev", "lo")
        self._nft(self._box, _RULES)
        self.mend()
        _move_to(self._box)

    def remove(self) -> None:
        """Forget both hosts; what runs there still is ended."""
        for name in (self._site, self._box):
            _remove(name)

    @contextmanager
    def visiting_site(self) -> Iterator[None]:
        """Sockets that this thread makes inside are the site's."""
        _move_to(self._site)
        try:
            yield
        finally:
            _move_to(self._box)

    def move_to_site(self) -> None:
        """The calling thread, and what it starts, is at the site from now on."""
        _move_to(self._site)

    @property
    def box_namespace(self) -> Path:
        return Path(_NAMES, self._box)

    def at_site(self, *command: str) -> list[str]:
        """`command` as it is run at the site."""
        # Not `ip netns exec`: its mount namespace would keep what is mounted meanwhile.
        return ["nsenter", f"--net={Path(_NAMES, self._site)}", "--", *command]

    def lease(self) -> None:
        """What DHCP gives the box: an address, and the way out."""
        _do("ip", "-n", self._box, "addr", "replace", f"{BOX}/24", "dev", "cable")
        _do("ip", "-n", self._box, "route", "replace", "default", "via", SITE)

    def no_lease(self) -> None:
        """The box starts with its cable out: nobody gives it an address."""
        _do("ip", "-n", self._box, "addr", "flush", "dev", "cable")

    def restart(self) -> None:
        """After a restart there is the cable, and nothing that was made since."""
        for made in ("cni0", "hardtack0"):
            subprocess.run(
                ["ip", "-n", self._box, "link", "del", made], check=False, capture_output=True
            )
        self._nft(self._box, "flush map ip services pods\n")

    def cut(self) -> None:
        """Pull the cable out."""
        _do("ip", "-n", self._site, "link", "set", "cable", "down")

    def mend(self) -> None:
        """Plug the cable in: the box is given an address."""
        for name in (self._site, self._box):
            _do("ip", "-n", name, "link", "set", "cable", "up")
        self.lease()
        _do("ip", "-n", self._site, "route", "replace", PODS, "via", BOX)

    def shape(self, rate: str, loss: int = 0) -> None:
        """Both ways at most `rate` (as tc writes it); `loss` percent of the packets vanish."""
        for name in (self._site, self._box):
            tbf = ("root", "handle", "1:", "tbf", "rate", rate, "burst", "64kb", "latency", "400ms")
            self._inside(name, "tc", "qdisc", "replace", "dev", "cable", *tbf)
        if loss:
            self._nft(self._site, _LOSS.format(loss))

    def hold_back(self, seconds: float) -> bool:
        """What a shaped cable carries takes `seconds` for both ways together. False where the
        kernel can't (it has no netem)."""
        netem = ("parent", "1:1", "netem", "delay", f"{seconds * 500:.0f}ms", "limit", "100000")
        for name in (self._site, self._box):
            done = subprocess.run(
                ["nsenter", f"--net={Path(_NAMES, name)}", "--", "tc", "qdisc", "add", "dev",
                 "cable", *netem], check=False, capture_output=True,
            )  # fmt: skip
            if done.returncode:
                return False
        return True

    def unshape(self) -> None:
        """The cable as it was."""
        for name in (self._site, self._box):
            self._inside(name, "tc", "qdisc", "del", "dev", "cable", "root")
        self._nft(self._site, "table inet loss\ndelete table inet loss\n")

    def packets(self, counter: str) -> int:
        """Packets that the box sent to the `site`, the `cloud`, or `elsewhere`."""
        return self._counted(counter)[0]

    def weights(self) -> int:
        """Bytes that came to the box from the bucket, headers of packets left out."""
        packets, size = self._counted("weights")
        return size - _HEADERS * packets

    def _counted(self, counter: str) -> tuple[int, int]:
        listed = subprocess.run(
            ["nft", "--json", "list", "counter", "inet", "drill", counter],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        found = next(part["counter"] for part in json.loads(listed)["nftables"]
                     if "counter" in part)  # fmt: skip
        return found["packets"], found["bytes"]

    def strangers(self) -> list[str]:
        """Where packets went that went `elsewhere`: `address . protocol`."""
        listed = subprocess.run(
            ["nft", "--json", "list", "sets"], capture_output=True, text=True, check=True
        ).stdout
        sets = [part["set"] for part in json.loads(listed)["nftables"] if "set" in part]
        elements = (e for s in sets if s["name"].startswith("strangers") for e in s.get("elem", ()))
        pairs = (e["elem"]["val"] if "elem" in e else e for e in elements)
        return sorted(" . ".join(map(str, pair["concat"])) for pair in pairs)

    def serve(self, addresses: dict[tuple[str, int], tuple[str, int]]) -> None:
        """Connections to a service's (address, port) go to a pod's."""
        pairs = ", ".join(f"{a} . {p} : {b} . {q}" for (a, p), (b, q) in addresses.items())
        added = f"add element ip services pods {{ {pairs} }}\n" if pairs else ""
        self._nft(self._box, f"flush map ip services pods\n{added}")

    def _inside(self, name: str, *command: str) -> None:
        _do("nsenter", f"--net={Path(_NAMES, name)}", "--", *command)

    def _nft(self, name: str, rules: str) -> None:
        command = ["nsenter", f"--net={Path(_NAMES, name)}", "--", "nft", "-f", "-"]
        subprocess.run(command, input=rules, text=True, check=True)


def abandoned() -> list[int]:
    """Process ids of drills that left their namespaces behind: nobody has these ids now."""
    found = set()
    for prefix in (_SITE, _BOX):
        for path in Path(_NAMES).glob(f"{prefix}[0-9]*"):
            found.add(int(path.name.removeprefix(prefix)))
    return sorted(pid for pid in found if not Path("/proc", str(pid)).exists())


def remove(pid: int) -> None:
    """Remove what the drill with this process id left behind."""
    for prefix in (_SITE, _BOX):
        if Path(_NAMES, f"{prefix}{pid}").exists():
            _remove(f"{prefix}{pid}")


def _remove(name: str) -> None:
    listed = subprocess.run(
        ["ip", "netns", "pids", name], capture_output=True, text=True, check=False
    ).stdout
    for pid in map(int, listed.split()):
        if pid != os.getpid():
            _kill(pid)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return  # it ended by itself meanwhile


def _move_to(name: str) -> None:
    """This thread, and those that it starts, are in the network namespace `name` from now on."""
    with Path(_NAMES, name).open("rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0):
            raise OSError(ctypes.get_errno(), f"This thread can't enter the namespace {name}.")


def _do(*command: str) -> None:
    subprocess.run(command, check=True)
