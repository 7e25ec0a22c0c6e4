"""What else keeps a box from coming up alone, broken one by one."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from hardtack.core.errors import ConfigError
from hardtack.deploy.facts import helpers, kubelet, names, upcoming
from hardtack.deploy.facts.model import Clock, Facts, K3s, Network, Space
from hardtack.deploy.facts.read import read
from hardtack.deploy.ready import box, certificates
from hardtack.deploy.ready.certificates import Certificate, Tls
from hardtack.deploy.ready.checks import Check
from hardtack.deploy.ready.report import State
from tests.support.ready import PROGRAM, WAITER, put, write_root

HELPERS = Path("var/lib/rancher/credentialprovider")
K3S = Path("etc/rancher/k3s/config.yaml")
UNITS = Path("etc/systemd/system")


def _amiss(root: Path) -> list[tuple[str, str]]:
    facts = read(root, addresses=lambda: {"lo": frozenset({"127.0.0.1"})})
    found = [row for row in box.rows(facts) if row.state is not State.READY]
    assert all(row.remedy for row in found)
    return [(row.check.words, row.detail) for row in found]


def _edit(file: str | Path, old: str, new: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new))

    return edit


def _write(file: str | Path, text: str) -> Callable[[Path], None]:
    return lambda root: put(root / file, text)


def _remove(file: str | Path) -> Callable[[Path], None]:
    return lambda root: (root / file).unlink()


def _link(file: str | Path, target: str) -> Callable[[Path], None]:
    def link(root: Path) -> None:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).unlink(missing_ok=True)
        (root / file).symlink_to(target)

    return link


def _chained(*damages: Callable[[Path], None]) -> Callable[[Path], None]:
    def all_of_them(root: Path) -> None:
        for damage in damages:
            damage(root)

    return all_of_them


def _kubelet(argument: str) -> Callable[[Path], None]:
    return _write(K3S.parent / "config.yaml.d/z.yaml", f"kubelet-arg+: [{argument}]\n")


def _drop_in(line: str, name: str = "50-site.conf") -> Callable[[Path], None]:
    head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
    return _write(kubelet.DROP_INS / name, f"{head}{line}\n")


def _k3s(line: str) -> Callable[[Path], None]:
    return _write(K3S.parent / "config.yaml.d/z.yaml", f"{line}\n")


def _started(command: str, environment: str = "") -> Callable[[Path], None]:
    """The unit that k3s's installer writes, and the file beside it."""

    def write(root: Path) -> None:
        _write(UNITS / "k3s.service", "[Service]\nEnvironmentFile=-/etc/systemd/system/"
               f"k3s.service.env\nExecStart=/usr/local/bin/k3s \\\n {command}\n")(root)  # fmt: skip
        _write(UNITS / "k3s.service.env", environment)(root)

    return write


def _mount(kind: str, option: str = "rw") -> Callable[[Path], None]:
    """k3s's directory is a mount of its own, as the kernel's table says it."""

    def write(root: Path) -> None:
        place = str(root / "var/lib/rancher").replace(" ", "\\040")
        root_itself = "1 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
        own = f"2 1 0:9 / {place} rw shared:2 - {kind} /dev/sdb1 {option},size=9\n"
        _write("proc/self/mountinfo", root_itself + own)(root)

    return write


def _mounts(*lines: str) -> Callable[[Path], None]:
    """Lines of `kind mountpoint source options`; {0} is a directory of the box, {1} k3s's."""

    def write(root: Path) -> None:
        places = (root / "media/rw", root / "var/lib/rancher")
        places[0].mkdir(parents=True, exist_ok=True)
        told = ""
        for number, line in enumerate(lines, 2):
            kind, point, source, options = line.format(*places).split()
            told += f"{number} 1 0:{number} / {point} rw shared:1 - {kind} {source} {options}\n"
        _write("proc/self/mountinfo", told)(root)

    return write


def _fstab(*lines: str) -> Callable[[Path], None]:
    return _write("etc/fstab", "# what, where\n" + "".join(f"{line}\n" for line in lines))


_MOUNT_UNIT = _write(
    "usr/lib/systemd/system/var-lib-rancher.mount",
    "[Mount]\nWhat=/dev/sdb1\nWhere=/var/lib/rancher\n",
)
_MOUNT_LINK = _write(UNITS / "local-fs.target.wants/var-lib-rancher.mount", "")
_DISK = "LABEL=data /var/lib/rancher ext4"
_RUNS = _write("run/systemd/system/x.service", "")


def _networkd(match: str) -> Callable[[Path], None]:
    """systemd-networkd, started at boot, with one file that says for which interfaces."""
    return _chained(
        _write("usr/lib/systemd/network/80-dhcp.network", f"# all\n[Match]\n{match}\n\n"
               "[Network]\nDHCP=yes\n"),
        _write(UNITS / "multi-user.target.wants/systemd-networkd.service", ""),
    )  # fmt: skip


def _kernel(release: str, first: str) -> Callable[[Path], None]:
    """As Debian installs one; `first` is what its initial RAM disk holds."""
    return _chained(
        _write(f"boot/vmlinuz-{release}", "k"),
        _write(f"boot/initrd.img-{release}", first),
        _write(f"lib/modules/{release}/modules.dep", ""),
    )


def _running(name: str) -> Callable[[Path], None]:
    """A process of k3s, by what it was unpacked from."""

    def write(root: Path) -> None:
        (root / "proc/77").mkdir(parents=True)
        (root / "proc/77/exe").symlink_to(f"/var/lib/rancher/k3s/data/{name}/bin/k3s")

    return write


def _carrying(name: str) -> Callable[[Path], None]:
    """The program, which carries what it unpacks by this name."""
    return _write("usr/local/bin/k3s", f"\x7fELF .tar.zst {'c' * 9}.tar embed/{name}.tar.zst\0")


def _clock(seconds: float) -> Callable[[Path], None]:
    def set_back(root: Path) -> None:
        at = time.time() + seconds
        os.utime(root / "var/lib/hardtack/clock", (at, at))

    return set_back


def _helper(script: str | None) -> Callable[[Path], None]:
    def install(root: Path) -> None:
        config = "providers: [{name: token, apiVersion: v1, args: [get]}]"
        _write(HELPERS / "config.yaml", config)(root)
        if script is not None:
            _write(HELPERS / "bin/token", f"#!/bin/sh\n{script}\n")(root)
            (root / HELPERS / "bin/token").chmod(0o755)

    return install


def _pair(root: Path) -> None:
    """As a container's way out, or a pod's."""
    for name, number in {"ifindex": "3", "iflink": "9"}.items():
        _write(f"sys/class/net/hardtack0/{name}", f"{number}\n")(root)


def _k3s_unit(line: str) -> Callable[[Path], None]:
    """A drop-in of somebody's for k3s's unit."""
    return _write(UNITS / "k3s.service.d/site.conf", f"[Unit]\n{line}\n")


def _service(*lines: str) -> Callable[[Path], None]:
    """A drop-in for what k3s's unit runs."""
    text = "\n".join(["[Service]", *lines, ""])
    return _write(UNITS / "k3s.service.d/service.conf", text)


def _starts(name: str, text: str, by: str = "multi-user.target") -> Callable[[Path], None]:
    """A unit that is started at boot."""
    return _chained(
        _write(f"usr/lib/systemd/system/{name}", f"[Unit]\n{text}\n"),
        _write(UNITS / f"{by}.wants" / name, ""),
    )


ONLINE = "network-online.target"
_TIME = _starts("systemd-time-wait-sync.service", "DefaultDependencies=no\nWants=time-sync.target\n"
                "Before=time-sync.target\n[Service]\nTimeoutStartSec=infinity",
                by="sysinit.target")  # fmt: skip


def _resolved(line: str) -> Callable[[Path], None]:
    """As systemd-resolved has it with a lease, its own configuration holding `line`."""
    return _chained(
        _write("run/systemd/resolve/resolv.conf", "# managed by man:systemd-resolved(8).\n"
               "nameserver 192.168.1.1\n"),
        _write("etc/systemd/resolved.conf", f"[Resolve]\n{line}\n"),
    )  # fmt: skip


def _node(name: str) -> Callable[[Path], None]:
    """What k3s leaves of a node that it ran under this name."""

    def write(root: Path) -> None:
        file = root / "var/lib/rancher/k3s/agent/client-kubelet.crt"
        file.parent.mkdir(parents=True)
        issued = trustme.CA().issue_cert(
            "x.test", common_name=f"system:node:{name}", organization_name="system:nodes"
        )
        file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))

    return write


BREAKS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "only a cable's route": (
        _edit("proc/net/route", "hardtack0", "eth1"), "default route", "hangs on a cable (eth0, ",
    ),
    "a bridge over the cable": (
        _write("sys/class/net/hardtack0/lower_eth0/mtu", ""), "default route", "cable",
    ),
    "the end of a pair": (_pair, "default route", "cable"),
    "a bridge of pods": (
        _edit("proc/net/route", "hardtack0", "cni0"), "default route", "a cable (eth0, cni0)",
    ),
    "no route at all": (_remove("proc/net/route"), "default route", "no default route"),
    "a network manager that takes all": (
        _networkd("Name=*"), "default route", "takes hardtack0 for its own by 80-dhcp.network",
    ),
    "a network manager that takes all of Ethernet": (
        _networkd("Type=ether"), "default route", "takes hardtack0 for its own",
    ),
    "no node-ip": (_edit(K3S, "node-ip: 127.0.0.1", ""), "node address", "no node-ip"),
    "node-ip of the cable": (
        _edit(K3S, "127.0.0.1", "192.168.1.7"), "node address", "192.168.1.7 goes",
    ),
    "no host name": (_remove("etc/hostname"), "node name", "no host name of its own"),
    "a host name that is none": (
        _write("etc/hostname", "localhost\n"), "node name", "no host name of its own",
    ),
    "another host name": (
        _node("edge-7"), "node name", "its node edge-7, and at its next start box",
    ),
    "another name in a file": (
        _chained(_node("box"), _k3s("node-name: Box2")), "node name", "at its next start box2",
    ),
    "nobody keeps the time": (_remove("var/lib/hardtack/clock"), "clock", "nothing notes"),
    "a clock in the past": (_clock(7200), "clock", "2 h 00 min behind"),
    "a keeper that stopped": (_clock(-5 * 86400), "clock", "5 d 0 h ago"),
    "localhost not named": (_edit("etc/hosts", "localhost", "box"), "names without DNS", "local"),
    "no nameserver": (
        _edit(K3S, "node-ip", "resolv-conf: /etc/none.conf\nnode-ip"),
        "names without DNS", "names no server",
    ),
    "nameservers of a lease": (
        _chained(_resolved(""), _k3s("resolv-conf: /run/systemd/resolve/resolv.conf")),
        "names without DNS", "names the servers of a lease",
    ),
    "nameservers of a lease, by a link": (
        _chained(_resolved("# DNS=192.0.2.1"), _kubelet("resolv-conf=/etc/resolv.conf"),
                 _link("etc/resolv.conf", "../run/systemd/resolve/resolv.conf")),
        "names without DNS", "/etc/resolv.conf, which k3s is told to use",
    ),
    "nameservers of NetworkManager's": (
        _chained(_k3s("resolv-conf: /etc/resolv.conf"),
                 _write("etc/resolv.conf",
                        "# Generated by NetworkManager\nnameserver 192.0.2.1\n")),
        "names without DNS", "names the servers of a lease",
    ),
    "an address of the cable to listen at": (
        _k3s("bind-address: 192.168.1.7"), "node address", "192.168.1.7, at which k3s listens",
    ),
    "an address of the cable told to pods": (
        _k3s("advertise-address: 192.168.1.7"), "node address", "is told to pods",
    ),
    "flannel on a cable": (_k3s("flannel-iface: eth0"), "node address", "eth0, flannel's"),
    "images collected": (
        _kubelet("image-gc-high-threshold=1"), "image collection", "from 1 % on",
    ),
    "a threshold that is no number": (
        _kubelet("image-gc-high-threshold=85%"), "image collection",
        "'85%', no number from 0 to 100",
    ),
    "a threshold that is too high": (
        _kubelet("image-gc-high-threshold=850"), "image collection", "'850', no number",
    ),
    "old images collected": (
        _drop_in("imageMaximumGCAge: 24h"), "image collection", "used for a while",
    ),
    "a flag that the kubelet hasn't": (
        _kubelet("image-maximum-gc-age=0s"), "image collection", "no flag of the kubelet's",
    ),
    "images collected, by a file": (
        _chained(_edit(K3S, "  - image-gc-high-threshold=100\n", ""),
                 _drop_in("imageGCHighThresholdPercent: 1")), "image collection", "from 1 % on",
    ),
    "evictions, by a file": (
        _drop_in("evictionHard: {nodefs.available: 100%}"), "disk space", "less than",
    ),
    "disk": (_kubelet("eviction-hard=nodefs.available<100%"), "disk space", "less than"),
    "helper missing": (_helper(None), "credential helpers", "not there"),
    "helper blocks": (_helper("sleep 60"), "credential helpers", "doesn't end"),
    "order of starts": (
        _remove(UNITS / f"{WAITER}.d/hardtack.conf"), "order of starts", f"after {WAITER}",
    ),
    "endless wait": (
        _edit(UNITS / f"{WAITER}.d/hardtack.conf", "15", "infinity"), "order of starts", "after",
    ),
    "a service of the site's that waits": (
        _starts("wait-for-dhcp.service", f"Before={ONLINE}", by=ONLINE), "order of starts",
        "after wait-for-dhcp.service",
    ),
    "a wait for one interface": (
        _chained(_starts("systemd-networkd-wait-online@eth0.service", "", by=ONLINE),
                 _write("usr/lib/systemd/system/systemd-networkd-wait-online@.service",
                        "[Service]\nTimeoutStartSec=120\n")),
        "order of starts", "after systemd-networkd-wait-online@eth0.service",
    ),
    "a wait for the time": (
        _chained(_k3s_unit("After=time-sync.target"), _TIME), "order of starts",
        "k3s.service starts after systemd-time-wait-sync.service",
    ),
    "a long wait for the time": (
        _chained(_k3s_unit("After=time-sync.target"),
                 _starts("chrony-wait.service", "Before=time-sync.target\n[Service]\n"
                         "TimeoutStartSec=180")),
        "order of starts", "k3s.service starts after chrony-wait.service",
    ),
    "a wait by its own name": (
        _chained(_k3s_unit("After=NetworkManager-wait-online.service"),
                 _starts("NetworkManager-wait-online.service", "")),
        "order of starts", "k3s.service starts after NetworkManager-wait-online.service",
    ),
    "a wait through another": (
        _chained(_k3s_unit("After=docker.service"), _TIME,
                 _starts("docker.service", "After=time-sync.target")),
        "order of starts", "k3s.service starts after systemd-time-wait-sync.service",
    ),
    "a wait through what it pulls in": (
        _chained(_k3s_unit("Wants=site.service\nAfter=site.service"), _TIME,
                 _write(UNITS / "site.service", "[Unit]\nAfter=time-sync.target\n")),
        "order of starts", "k3s.service starts after systemd-time-wait-sync.service",
    ),
    "a wait that puts itself first": (
        _starts("NetworkManager-wait-online.service", "Before=k3s.service", by="k3s.service"),
        "order of starts", "k3s.service starts after NetworkManager-wait-online.service",
    ),
    "a wait through what puts itself first": (
        _chained(_starts("site.service", "Before=k3s.service\nAfter=time-sync.target"), _TIME),
        "order of starts", "k3s.service starts after systemd-time-wait-sync.service",
    ),
    "a wait that a program starts at each start": (
        _chained(_remove(UNITS / f"{ONLINE}.wants/{WAITER}"),
                 _remove(UNITS / f"{WAITER}.d/hardtack.conf"),
                 _write(f"run/systemd/generator/{ONLINE}.wants/{WAITER}", "")),
        "order of starts", f"k3s.service starts after {WAITER}, which waits",
    ),
    "a wait that is masked until the next start": (
        _chained(_remove(UNITS / f"{WAITER}.d/hardtack.conf"),
                 _link(f"run/systemd/system/{WAITER}", "/dev/null")), "order of starts",
        f"{WAITER}, which waits for a network, and is masked until the next start alone",
    ),
    "a bound until the next start": (
        _chained(_remove(UNITS / f"{WAITER}.d/hardtack.conf"),
                 _write(f"run/systemd/system/{WAITER}.d/a.conf", "[Service]\nTimeoutStartSec=5\n")),
        "order of starts", f"k3s.service starts after {WAITER}",
    ),
    "a wait by a drop-in for all services": (
        _chained(_write("usr/lib/systemd/system/service.d/site.conf",
                        "[Unit]\nAfter=time-sync.target\n"), _TIME),
        "order of starts", "k3s.service starts after systemd-time-wait-sync.service",
    ),
    "a wait under another name": (
        _chained(_k3s_unit("After=ntp.service"),
                 _link(UNITS / "ntp.service", "/usr/lib/systemd/system/chrony-wait.service"),
                 _starts("chrony-wait.service", "[Service]")),
        "order of starts", "k3s.service starts after chrony-wait.service",
    ),
    "a wait required": (
        _k3s_unit(f"Requires={WAITER}"), "order of starts",
        f"requires {WAITER}, which fails without a network",
    ),
    "a wait required through another": (
        _chained(_k3s_unit("BindsTo=site.service"),
                 _write(UNITS / "site.service", f"[Unit]\nRequires={WAITER}\n")),
        "order of starts", f"k3s.service requires {WAITER}, which fails",
    ),
    "a service required that is gone": (
        _k3s_unit("Requires=docker.service"), "order of starts",
        "requires docker.service, which fails without a network, or isn't there",
    ),
    "disabled": (
        _remove(UNITS / "multi-user.target.wants/k3s.service"), "started at boot", "k3s.service",
    ),
    "masked": (
        _link(UNITS / "k3s.service", "/dev/null"), "started at boot", "k3s.service is masked",
    ),
    "no k3s to start": (
        _chained(_started("server"), _remove("usr/local/bin/k3s")), "started at boot",
        "to start /usr/local/bin/k3s, which isn't there",
    ),
    "a k3s without rights": (
        _chained(_started("server"), lambda root: (root / "usr/local/bin/k3s").chmod(0o644)),
        "started at boot", "to start /usr/local/bin/k3s, which isn't there, or is no program",
    ),
    "a k3s whose upgrade was broken off": (
        _chained(_started("server"), _write("usr/local/bin/k3s", "")), "started at boot",
        "to start /usr/local/bin/k3s, which isn't there, or is no program",
    ),
    "a k3s whose script has no interpreter": (
        _chained(_started("server"), _write("usr/local/bin/k3s", "#!/opt/old/bin/python -I\n")),
        "started at boot", "to start /usr/local/bin/k3s, which isn't there, or is no program",
    ),
    "an environment that is gone": (
        _service("EnvironmentFile=/etc/%N.env"), "started at boot",
        "k3s.service fails at boot: EnvironmentFile=/etc/k3s.env, which isn't there",
    ),
    "a user that is gone": (
        _chained(_service("User=site"), _write("etc/passwd", "root:x:0:0::/:/bin/sh\n")),
        "started at boot", "k3s.service fails at boot: User=site, which isn't there",
    ),
    "a program to run first that is gone": (
        _service("ExecStartPre=+/usr/local/bin/check --all"), "started at boot",
        "fails at boot: ExecStartPre=+/usr/local/bin/check --all, which isn't there",
    ),
    "a directory to start in that is gone": (
        _service("WorkingDirectory=/srv/site"), "started at boot",
        "k3s.service fails at boot: WorkingDirectory=/srv/site, which isn't there",
    ),
    "a directory to start in that is a file": (
        _service("WorkingDirectory=/etc/hostname"), "started at boot",
        "k3s.service fails at boot: WorkingDirectory=/etc/hostname, which isn't there",
    ),
    "a root that is gone": (
        _service("RootDirectory=/srv/site"), "started at boot",
        "k3s.service fails at boot: RootDirectory=/srv/site, which isn't there",
    ),
    "a credential that is gone": (
        _service("LoadCredential=token:/etc/site/token"), "started at boot",
        "fails at boot: LoadCredential=token:/etc/site/token, which isn't there",
    ),
    "a directory to write to that is gone": (
        _service("ReadWritePaths=-/srv/none /srv/site"), "started at boot",
        "k3s.service fails at boot: ReadWritePaths=/srv/site, which isn't there",
    ),
    "a directory to show that is gone": (
        _service("BindReadOnlyPaths=/srv/site:/site"), "started at boot",
        "fails at boot: BindReadOnlyPaths=/srv/site:/site, which isn't there",
    ),
    "a directory of a log that is gone": (
        _service("StandardOutput=append:/var/log/site/k3s.log"), "started at boot",
        "fails at boot: StandardOutput=append:/var/log/site/k3s.log, which isn't there",
    ),
    "an endpoint beside k3s whose detectors are gone": (
        _chained(_write(UNITS / "hardtack-endpoint.service", "[Service]\nExecStart=hardtack "
                        "endpoint serve --detectors=/etc/detectors.yaml\n"),
                 _write(UNITS / "multi-user.target.wants/hardtack-endpoint.service", "")),
        "started at boot", "fails at boot: --detectors /etc/detectors.yaml, which isn't there",
    ),
    "a mount beside k3s whose environment is gone": (
        _chained(_write(UNITS / "hardtack@.service", "[Service]\nExecStart=hardtack mount -f\n"
                        "EnvironmentFile=/etc/hardtack/%i.env\n"),
                 _link(UNITS / "multi-user.target.wants/hardtack@srv.service",
                       "../hardtack@.service")),
        "started at boot", "fails at boot: EnvironmentFile=/etc/hardtack/srv.env, which isn't",
    ),
    "an environment of what prepares that is gone": (
        _write(UNITS / "hardtack-prepare.service.d/a.conf",
               "[Service]\nEnvironmentFile=/etc/site.env\n"),
        "prepared at boot", "fails at boot: EnvironmentFile=/etc/site.env, which isn't there",
    ),
    "a token that is gone": (
        _k3s("token-file: /etc/rancher/token"), "started at boot",
        "k3s waits for minutes for /etc/rancher/token (token-file), which isn't there",
    ),
    "a token that is gone, by the command": (
        _started("server --token-file /etc/rancher/token"), "started at boot",
        "/etc/rancher/token (token-file), which isn't there",
    ),
    "a token that is gone, by the environment": (
        _started("server", "K3S_AGENT_TOKEN_FILE=/etc/rancher/token\n"), "started at boot",
        "/etc/rancher/token (agent-token-file), which isn't there",
    ),
    "a k3s that is started until the next start": (
        _chained(_remove(UNITS / "multi-user.target.wants/k3s.service"),
                 _write("run/systemd/system/multi-user.target.wants/k3s.service", "")),
        "started at boot", "k3s.service is not started at boot: it is enabled until the next start",
    ),
    "a k3s whose unit a power cut emptied": (
        _write(UNITS / "k3s.service", ""), "started at boot",
        "/k3s.service is empty, as a power cut leaves it",
    ),
    "a default that starts nothing": (
        _chained(_write("usr/lib/systemd/system/rescue.target", "[Unit]\n"),
                 _link(UNITS / "default.target", "/usr/lib/systemd/system/rescue.target")),
        "started at boot", "k3s.service is not started at boot",
    ),
    "a condition": (
        _k3s_unit("ConditionPathExists=/srv/licence"), "started at boot",
        "passed over at boot: ConditionPathExists=/srv/licence doesn't hold",
    ),
    "a condition that something isn't there": (
        _k3s_unit("AssertPathExists=!/etc/hostname"), "started at boot", "!/etc/hostname",
    ),
    "a condition that an empty assertion leaves": (
        _k3s_unit("ConditionPathExists=/srv/licence\nAssertPathExists="), "started at boot",
        "ConditionPathExists=/srv/licence doesn't hold",
    ),
    "a condition of a file": (
        _chained(_write("srv/licence", ""), _k3s_unit("ConditionFileNotEmpty=/srv/licence")),
        "started at boot", "ConditionFileNotEmpty=/srv/licence doesn't hold",
    ),
    "a condition of another box's": (
        _k3s_unit("ConditionHost=edge-*"), "started at boot", "ConditionHost=edge-* doesn't hold",
    ),
    "a condition of another machine": (
        _chained(_write("etc/machine-id", "a" * 32 + "\n"),
                 _k3s_unit("AssertHost=" + "b" * 8 + "-bbbb" * 3 + "-" + "b" * 12)),
        "started at boot", "AssertHost=bbbbbbbb-bbbb",
    ),
    "a condition of the kernel's": (
        _chained(_write("proc/cmdline", "root=/dev/sda1 quiet\n"),
                 _k3s_unit("ConditionKernelCommandLine=site.role=line")),
        "started at boot", "ConditionKernelCommandLine=site.role=line doesn't hold",
    ),
    "a condition that the kernel isn't told something": (
        _chained(_write("proc/cmdline", "root=/dev/sda1 site.rescue=1\n"),
                 _k3s_unit("ConditionKernelCommandLine=!site.rescue")),
        "started at boot", "ConditionKernelCommandLine=!site.rescue doesn't hold",
    ),
    "a condition of what prepares": (
        _write(UNITS / "hardtack-prepare.service.d/a.conf", "[Unit]\nConditionPathExists=/none\n"),
        "prepared at boot", "passed over at boot: ConditionPathExists=/none",
    ),
    "no unit starts k3s": (
        _chained(_remove(UNITS / "k3s.service"), _write("run/systemd/system/x.service", "")),
        "started at boot", "no unit of systemd starts k3s",
    ),
    "k3s in memory": (_mount("tmpfs"), "storage", "lies in memory (tmpfs)"),
    "an overlay over memory": (
        _mounts("tmpfs {0} none rw", "overlay {1} overlay rw,lowerdir=/l,upperdir={0}/up"),
        "storage", "lies in memory (tmpfs)",
    ),
    "a system whose writes go to memory": (
        _chained(_mounts("overlay / overlay rw,lowerdir=/l,upperdir=/u"),
                 _write("proc/cmdline", "root=/dev/mmcblk0p2 boot=overlay quiet\n")),
        "storage", "lies in memory (tmpfs)",
    ),
    "k3s on a server": (_mount("nfs4"), "storage", "lies on a server (nfs4)"),
    "a disk after errors": (_mount("ext4", "ro"), "storage", "takes no writes"),
    "a disk that is gone": (
        _chained(_write("dev/disk/by-uuid/1-2", ""), _fstab("UUID=3-4 /srv ext4 defaults 0 2")),
        "mounts", "UUID=3-4, which /etc/fstab has mounted at /srv, isn't there",
    ),
    "a device that is gone": (
        _chained(_write("dev/disk/by-uuid/1-2", ""), _fstab("/dev/sdb1 /srv ext4 errors=panic")),
        "mounts", "/dev/sdb1, which",
    ),
    "a bucket mounted first": (
        _fstab("weights /srv/w fuse.s3fs allow_other 0 0"), "mounts", "ends in emergency mode",
    ),
    "a bucket mounted first, by its helper": (
        _fstab("s3fs#weights /srv/w fuse allow_other 0 0"), "mounts",
        "before anything starts (s3fs)",
    ),
    "a disk not mounted at boot": (
        _chained(_mount("ext4"), _fstab(f"{_DISK} noauto 0 2")), "mounts", "(noauto)",
    ),
    "a mount that is not automatic, with a slash": (
        _chained(_mount("ext4"), _fstab("LABEL=data /var/lib/rancher/ ext4 noauto 0 2")),
        "mounts", "(noauto)",
    ),
    "a disk by the network": (
        _chained(_mount("ext4"), _fstab(f"{_DISK} _netdev 0 2")), "mounts", "(_netdev)",
    ),
    "a disk that k3s doesn't await": (
        _chained(_mount("ext4"), _fstab(f"{_DISK} nofail 0 2")), "mounts",
        "k3s may start before /var/lib/rancher is mounted",
    ),
    "a disk that asks for a passphrase": (
        _write("etc/crypttab", "# name device key\nroot_crypt UUID=1-2 none luks,discard\n"),
        "mounts", "root_crypt of /etc/crypttab asks whoever sits in front of the box",
    ),
    "a disk whose key is gone": (
        _write("etc/crypttab", "data /dev/sdb1 /etc/keys/data.key luks\n"), "mounts",
        "at boot: its key /etc/keys/data.key isn't there",
    ),
    "a disk of k3s's that asks for a passphrase": (
        _chained(_mount("ext4"), _fstab("/dev/mapper/data /var/lib/rancher ext4 defaults 0 2"),
                 _write("etc/crypttab", "data /dev/sdb1 none luks,nofail\n")),
        "mounts", "data of /etc/crypttab asks",
    ),
    "a disk of k3s's whose key is a server's": (
        _chained(_mount("ext4"), _fstab("/dev/mapper/data /var/lib/rancher ext4 defaults 0 2"),
                 _write("etc/crypttab", "data /dev/sdb1 /etc/hostname _netdev\n")),
        "mounts", "only when there is a network (_netdev)",
    ),
    "a disk mounted by hand": (
        _chained(_mount("ext4"), _RUNS), "mounts", "/var/lib/rancher was mounted by hand",
    ),
    "a line of fstab that is gone, and what was made of it": (
        _chained(_mount("ext4"), _RUNS, _write(
            "run/systemd/generator/var-lib-rancher.mount", "[Unit]\nSourcePath=/etc/fstab\n"
            "[Mount]\nWhat=/dev/sdb1\nWhere=/var/lib/rancher\n"),
            _write("run/systemd/generator/local-fs.target.requires/var-lib-rancher.mount", "")),
        "mounts", "/var/lib/rancher was mounted by hand",
    ),
    "a mount's unit that nothing starts": (
        _chained(_mount("ext4"), _RUNS, _MOUNT_UNIT), "mounts",
        "nothing starts var-lib-rancher.mount at boot, which mounts /var/lib/rancher",
    ),
    "a mount's unit that is called otherwise": (
        _chained(_write(UNITS / "data.mount", "[Mount]\nWhat=/dev/sdb1\nWhere=/srv/data/\n"),
                 _write(UNITS / "local-fs.target.wants/data.mount", "")), "mounts",
        "data.mount, which is to mount something at boot, is refused by systemd: Where=/srv/data/ "
        "is that of srv-data.mount",
    ),
    "data elsewhere, by a short name": (
        _started("server -d /srv/k3s"), "storage", "its data in /srv/k3s",
    ),
    "configuration elsewhere": (
        _started("server --config=/srv/k3s.yaml"), "storage", "configuration from /srv/k3s.yaml",
    ),
    "configuration elsewhere, by the environment": (
        _started("server -c /etc/rancher/k3s/config.yaml", "K3S_CONFIG_FILE=/srv/k3s.yaml\n"),
        "storage", "configuration from /srv/k3s.yaml",
    ),
    "docker": (_k3s("docker: true"), "storage", "has its pods run by docker"),
    "another container runtime": (
        _k3s("container-runtime-endpoint: /run/crio.sock"), "storage", "run by /run/crio.sock",
    ),
    "configuration from a server": (
        _started("server -c https://10.0.0.5/k3s.yaml"), "control plane", "from a server",
    ),
    "a VPN": (
        _started("server", "K3S_VPN_AUTH_FILE=/etc/vpn\n"), "control plane", "(vpn-auth-file)",
    ),
    "an agent's command, by a short name": (
        _started("agent -s https://10.0.0.5:6443"), "control plane", "10.0.0.5",
    ),
    "an agent's file, by a short name": (
        _k3s("s: https://10.0.0.5:6443"), "control plane", "10.0.0.5",
    ),
    "data elsewhere": (_k3s("data-dir: /srv/k3s"), "storage", "its data in /srv/k3s"),
    "an agent's file": (_k3s("server: https://10.0.0.5:6443"), "control plane", "10.0.0.5"),
    "an agent's environment": (
        _started("", "K3S_URL='https://10.0.0.5:6443'\n"), "control plane", "10.0.0.5",
    ),
    "an agent's command": (
        _started("agent --server https://10.0.0.5:6443"), "control plane", "10.0.0.5",
    ),
    "a database elsewhere": (
        _k3s("datastore-endpoint: mysql://u:secret@tcp(db:3306)/k3s"), "control plane",
        "a database elsewhere (mysql), and",
    ),
    "pods of a server": (
        _drop_in("staticPodURL: https://10.0.0.5/pods"), "control plane",
        "the kubelet reads pods to start from a server",
    ),
    "pulls by admission": (
        _k3s("kube-apiserver-arg: [v=1, 'enable-admission-plugins=NodeRestriction,"
             "AlwaysPullImages']"), "forced pulls", "AlwaysPullImages",
    ),
    "images collected, by command": (
        _started("server --kubelet-arg=image-gc-high-threshold=1"), "image collection",
        "from 1 % on",
    ),
    "a kernel without modules": (
        _write("boot/vmlinuz-99.1.0-3-amd64", ""), "next versions",
        "kernel 99.1.0-3-amd64, which is newer than the one that runs, lacks its modules",
    ),
    "a kernel whose disk was full": (
        _chained(_kernel(os.uname().release, "x"), _kernel("99.1.0-3-amd64", "")), "next versions",
        "lacks its initial RAM disk",
    ),
    "another k3s": (
        _chained(_running("a" * 64), _carrying("b" * 64)), "next versions", "k3s was replaced",
    ),
    "not prepared at boot": (
        _remove(UNITS / "k3s.service.wants/hardtack-prepare.service"), "prepared at boot", "next",
    ),
    "prepared by a unit that is gone": (
        _remove(UNITS / "hardtack-prepare.service"), "prepared at boot", "nothing prepares",
    ),
    "preparing is masked": (
        _link(UNITS / "hardtack-prepare.service", "/dev/null"), "prepared at boot", "nothing",
    ),
    "prepared by a program that is gone": (
        _remove("usr/local/bin/hardtack"), "prepared at boot", "to run hardtack at the next start",
    ),
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_root(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_named(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers, "PATIENCE", 0.5)
    assert _amiss(root) == []
    damage, check, text = BREAKS[name]
    damage(root)
    assert [found for found, detail in _amiss(root) if text in detail] == [check]


def test_every_check_can_fail() -> None:
    assert {check for _, check, _ in BREAKS.values()} == {c.words for c in box.CHECKS}


def test_a_helper_that_answers_with_no_network(root: Path) -> None:
    """It runs where there is nothing but a dead lo, and is asked as the kubelet asks."""
    _helper(f"cat > {root}/asked; cat /proc/net/dev > {root}/devices; exit 1")(root)
    assert _amiss(root) == []
    assert "CredentialProviderRequest" in (root / "asked").read_text()
    assert "eth" not in (root / "devices").read_text()


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (K3S, "node-ip: [", r"config\.yaml:1:11: malformed YAML"),
        (K3S, "- node-ip", r"config\.yaml"),
        (K3S.parent / "registries.yaml", "mirrors: [", r"registries\.yaml:1:11: malformed YAML"),
        (kubelet.DROP_INS / "a.conf", "imageMaximumGCAge: {", r"a\.conf:1:21: malformed YAML"),
        (kubelet.DROP_INS / "a.conf", "- imageMaximumGCAge", "settings by name"),
        (HELPERS / "config.yaml", "providers: 3", r"config\.yaml is no configuration"),
        (HELPERS / "config.yaml", "kind: x\nproviders: {", r"config\.yaml:2:13: malformed YAML"),
    ],
)
def test_configuration_that_is_none(root: Path, file: Path, text: str, said: str) -> None:
    _write(file, text)(root)
    with pytest.raises(ConfigError, match=said):
        read(root)


@pytest.mark.parametrize(
    "damage",
    [
        _k3s("server: https://127.0.0.1:6443"),
        _k3s("datastore-endpoint: postgres://u:p@localhost:5432/k3s"),
        _k3s("datastore-endpoint: mysql://u:p@unix(/run/mysqld.sock)/k3s"),
        _k3s("datastore-endpoint: sqlite:///var/lib/k3s.db"),
        _k3s("data-dir: /var/lib/rancher/k3s\ndocker: false"),
        _chained(_k3s("token-file: /etc/token"), _link("etc/token", "../srv/token"),
                 _write("srv/token", "t")),
        _started("server --token-file /run/secrets/token", "K3S_TOKEN_FILE=/none\n"),
        _kubelet("manifest-url=http://localhost/pods"),
        _started("server -c /etc/rancher/k3s/config.yaml"),
        _k3s("bind-address: 0.0.0.0\nadvertise-address: 127.0.0.1\nflannel-iface: lo"),
        _chained(_resolved("DNS=192.0.2.1"),
                 _k3s("resolv-conf: /run/systemd/resolve/resolv.conf")),
        _chained(_k3s("resolv-conf: /etc/site.conf"),
                 _write("etc/site.conf", "# of this site\nnameserver 192.0.2.1\n")),
        _write("etc/rancher/k3s/registries.yaml", "mirrors: {docker.io: {}}\n"),
        _TIME,  # nothing is ordered after it
        _chained(_k3s_unit("After=site.service"),  # which nothing starts
                 _write(UNITS / "site.service", "[Unit]\nAfter=time-sync.target\n"), _TIME),
        _chained(_k3s_unit("After=time-sync.target"),  # which nothing starts either
                 _write("usr/lib/systemd/system/chrony-wait.service",
                        "[Unit]\nBefore=time-sync.target\n")),
        _chained(_k3s_unit("After=time-sync.target"), _TIME,
                 _link(UNITS / "systemd-time-wait-sync.service", "/dev/null")),
        _k3s_unit(f"Requires={ONLINE}"),  # it is reached when those that it waits for have failed
        _chained(_k3s_unit("Requires=docker.service"), _starts("docker.service", "")),
        _chained(_k3s_unit("Requires=site.service"),
                 _write("usr/local/lib/systemd/system/site.service", "[Service]\n")),
        _node("box"),
        _chained(_node("edge-7"), _k3s("node-name: Edge-7")),
        _chained(_node("edge-7"), _started("server", "K3S_NODE_NAME=edge-7\n")),
        _chained(_node("box-1a2b3c4d"), _write("etc/rancher/node/id", "1a2b3c4d\n"),
                 _started("server --with-node-id")),
        _chained(_remove("etc/hostname"), _k3s("node-name: '7'")),
        _write("var/lib/rancher/k3s/agent/client-kubelet.crt", "none\n"),
        _drop_in("imageMaximumGCAge:"),  # as if it weren't there
        _kubelet("eviction-hard=nodefs.available<inf%"),
        _k3s("kube-apiserver-arg: [enable-admission-plugins=A,disable-admission-plugins="
             "AlwaysPullImages]"),
        _started("server --kubelet-arg 'image-gc-high-threshold=100'", "# K3S_URL=https://x\n"),
        _mount("xfs"),
        _k3s_unit("ConditionPathExists=/srv/licence\nConditionPathIsDirectory="),
        _k3s_unit("ConditionPathExists=/srv/licence\nConditionKernelCommandLine="),
        _k3s_unit("ConditionPathExists=!/srv/licence\nConditionPathIsDirectory=/etc"),
        _k3s_unit("ConditionPathExists=|/srv/licence\nConditionPathExists=|/etc/hostname"),
        _k3s_unit("ConditionPathExists=/run/site/ready"),
        _service("EnvironmentFile=-/etc/none.env", "ExecStartPre=-/usr/bin/none",
                 "EnvironmentFile=/run/site.env", "User=0", "User=%i", "EnvironmentFile=/etc/*.x"),
        _service("WorkingDirectory=-/srv/none", "RootDirectory=/srv/none", "RootDirectory=",
                 "LoadCredential=a:/none", "SetCredential=a:b", "LoadCredential=c:none",
                 "ReadOnlyPaths=/tmp -/none /etc /var/lib/site", "StateDirectory=site/k3s",
                 "StandardOutput=file:/var/lib/none.log", "StandardError=journal"),
        _service("WorkingDirectory=/site/work", "BindPaths=/etc:/site"),
        _service("WorkingDirectory=~"),
        _write(UNITS / "hardtack-endpoint.service", "[Service]\nExecStart=/none\n"),  # not started
        _service("WorkingDirectory=/var/lib/site", "StateDirectory=site"),
        _service("RootDirectory=/etc", "WorkingDirectory=/work", "ReadWritePaths=/none"),
        _k3s_unit("ConditionHost=BOX\nAssertHost=!other\nConditionHost=|other"),
        _chained(_write("etc/machine-id", "a" * 32 + "\n"), _k3s_unit("ConditionHost=" + "a" * 32)),
        _chained(_write("proc/cmdline", "root=/dev/sda1 a.b='c d' quiet\n"), _k3s_unit(
            "ConditionKernelCommandLine=quiet\nConditionKernelCommandLine=a.b\n"
            "ConditionKernelCommandLine=a.b=c d\nAssertKernelCommandLine=!a")),
        _k3s_unit("ConditionKernelCommandLine=quiet"),  # nothing says what it is booted with
        _service("EnvironmentFile=/etc/none.env", "EnvironmentFile=", "ExecStartPre=/usr/bin/none",
                 "ExecStartPre="),
        _chained(_service("User=site"), _write("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
                 _write("etc/nsswitch.conf", "passwd: files sss\n")),
        _chained(_service("User=site", "DynamicUser=yes"),
                 _write("etc/passwd", "root:x:0:0::/:/bin/sh\n")),
        _link("run/systemd/system/k3s.service", "/dev/null"),  # until the next start
        _chained(_write("usr/lib/systemd/system/site-k3s.service", "[Unit]\n"),
                 _remove(UNITS / "k3s.service"),
                 _link(UNITS / "k3s.service", "/usr/lib/systemd/system/site-k3s.service"),
                 _remove(UNITS / "multi-user.target.wants/k3s.service"),
                 _write(UNITS / "multi-user.target.wants/site-k3s.service", "")),
        _chained(_write("usr/lib/systemd/system/multi-user.target", "[Unit]\n"),
                 _link(UNITS / "default.target", "/usr/lib/systemd/system/multi-user.target")),
        _chained(_k3s_unit("After=time-sync.target"), _TIME, _link(
            UNITS / "sysinit.target.wants/systemd-time-wait-sync.service", "/dev/null")),
        _networkd("Name=en* eth*"),
        _networkd("Type=ether\nKind=!*"),
        _networkd("Name=!hardtack*"),
        _networkd("Name=*\nMACAddress=52:54:00:12:34:56"),
        _chained(_networkd("Name=*"), _write("etc/systemd/network/10-ours.network",
                 "[Match]\nName=hardtack0\n\n[Link]\nUnmanaged=yes\n")),
        _chained(_networkd("Name=*"),
                 _remove(UNITS / "multi-user.target.wants/systemd-networkd.service")),
        _chained(_kernel(os.uname().release, "x"), _kernel("99.1.0-3-amd64", "x"),
                 _write("boot/vmlinuz-0.1-rescue", ""), _write("boot/vmlinuz-99.9.old", "")),
        _kernel("99.1.0-3-amd64", ""),  # nor has the one that runs an initial RAM disk
        _chained(_running("a" * 64), _carrying("a" * 64)),
        _chained(_running("a" * 64), _write("usr/local/bin/k3s", "#!/bin/sh\nexec k3s.tar\n"),
                 _write("bin/sh", PROGRAM)),
        _carrying("b" * 64),
        _write("etc/crypttab", "a UUID=1 none luks,tpm2-device=auto\nb /dev/sdb1 /etc/hostname\n"
               "c /dev/sdc1 /dev/urandom swap\nd /dev/sdd1 none noauto\ne /dev/sde1 - nofail\n"
               "f /dev/sdf1 none luks,keyscript=/x\ng /dev/sdg1 /run/x\nh /dev/sdh1 /k:LABEL=u\n"),
        _chained(_write("etc/crypttab", "a UUID=1\n"),
                 _write("etc/cryptsetup-keys.d/a.key", "k")),
        _chained(_write("etc/crypttab", "a UUID=1 none luks\n"), _write("usr/bin/clevis", "")),
        _chained(_mount("xfs"), _RUNS, _fstab(f"{_DISK} defaults 0 2")),
        _chained(_mount("xfs"), _RUNS, _MOUNT_UNIT, _MOUNT_LINK),
        _chained(_mount("xfs"), _RUNS, _MOUNT_UNIT,
                 _k3s_unit("RequiresMountsFor=/var/lib/rancher/k3s")),
        _chained(_mount("xfs"), _fstab(f"{_DISK} nofail 0 2"),
                 _k3s_unit("RequiresMountsFor=/var/lib/rancher/k3s")),
        _chained(_write("dev/disk/by-uuid/1-2", ""), _fstab(
            "UUID=1-2 /srv ext4 defaults 0 2", "UUID=3-4 / ext4 defaults 0 1",
            "UUID=5-6 none swap sw 0 0", "UUID=7-8 /media ext4 nofail 0 2",
            "nas:/share /mnt/nas nfs defaults 0 0", "weights /srv/w fuse.s3fs _netdev 0 0",
            "/srv/a /srv/b none bind 0 0", "s3://weights /srv/h hardtack defaults 0 0",
        )),
        _mounts("ext4 {0} /dev/sda1 rw", "overlay {1} overlay rw,lowerdir=/l,upperdir={0}/up"),
        _mounts("overlay / overlay rw,lowerdir=/l,upperdir=/var/lib/docker/overlay2/x/diff"),
    ],
)  # fmt: skip
def test_what_stays_here_is_ready(root: Path, damage: Callable[[Path], None]) -> None:
    damage(root)
    assert _amiss(root) == []


def test_what_k3s_carries_is_found_wherever_a_piece_ends(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _running("a" * 64)(root)
    for size in range(1, 120):
        monkeypatch.setattr(upcoming, "_PIECE", size)
        _write("usr/local/bin/k3s", "." * size + "a" * 64 + ".tar" + "b" * 63 + ".tar")(root)
        assert not upcoming.read(root).another_k3s
        _write("usr/local/bin/k3s", "." * size + "c" * 64 + ".tar.zst")(root)
        assert upcoming.read(root).another_k3s


def test_a_certificate_that_a_power_cut_cut_off(root: Path) -> None:
    """Wherever it ends: it names the whole node or none."""
    _node("edge-7")(root)
    file = root / "var/lib/rancher/k3s/agent/client-kubelet.crt"
    whole = file.read_bytes()
    found = []
    for length in range(whole.index(b"-----END")):
        file.write_bytes(whole[:length])
        found.append(names.of_node(root, with_id=False))
    assert set(found) == {"", "edge-7"}


def test_the_command_that_starts_k3s_goes_first(root: Path) -> None:
    """What a file says of a flag that stands in the command counts for nothing, as with k3s."""
    _k3s("kubelet-arg: [v=3]\nserver: https://a:6443")(root)
    _started("server --kubelet-arg 'a=1' --kubelet-arg=b=2", "K3S_URL=https://b:6443\n")(root)
    found = read(root).k3s
    assert found is not None
    assert found.kubelet == {"a": "1", "b": "2"}
    assert found.commanded == {"kubelet-arg"}
    assert found.settings["server"] == "https://a:6443"


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("server --kubelet-arg=image-gc-high-threshold=1", "kubelet-arg"),
        ("server --node-ip 192.168.1.7", "node-ip"),
        ("server --node-name other", "node-name"),
    ],
)
def test_what_prepare_cannot_mend_is_not_left_to_it(root: Path, command: str, flag: str) -> None:
    """It writes k3s's files, and a flag of the command overrides what they say."""
    _chained(_started(command), _node("box"))(root)
    facts = read(root, addresses=lambda: {"lo": frozenset({"127.0.0.1"})})
    (row,) = (row for row in box.rows(facts) if row.state is not State.READY)
    assert row.remedy.startswith(f"Take --{flag} out of the command")


def test_k3s_settings_are_merged(root: Path) -> None:
    _write(K3S.parent / "config.yaml.d/a.yaml", "kubelet-arg: [a=1]\nnode-ip: 10.0.0.1\n")(root)
    _write(K3S.parent / "config.yaml.d/b.yaml", "kubelet-arg+: b=2\n")(root)
    found = read(root).k3s
    assert found is not None
    assert found.kubelet == {"a": "1", "b": "2"}
    assert found.settings["node-ip"] == "10.0.0.1"


def test_the_kubelets_files_are_merged(root: Path) -> None:
    """Its own file, then the drop-ins by name; what a flag says goes before both."""
    _kubelet("config=/etc/kubelet.yaml")(root)
    _write("etc/kubelet.yaml", "imageGCHighThresholdPercent: 1\nimageMaximumGCAge: 1h\n"
           "resolvConf: /etc/own.conf\nmaxPods: 9\n")(root)  # fmt: skip
    _write("etc/own.conf", "nameserver 192.0.2.1\n")(root)
    _drop_in("imageMaximumGCAge: 48h", "20-b.conf")(root)
    _drop_in("imageMaximumGCAge: 24h", "10-a.conf")(root)
    found = read(root).k3s
    assert found is not None
    assert found.nameservers == ("192.0.2.1",)
    assert found.kubelet == {
        "config": "/etc/kubelet.yaml", "image-gc-high-threshold": "100",
        "imageMaximumGCAge": "48h", "resolv-conf": "/etc/own.conf",
    }  # fmt: skip


def test_a_box_without_k3s_needs_no_route() -> None:
    facts = Facts(Network(hosts=frozenset({"localhost"})), Clock(1.0, 1.0))
    assert {row.state for row in box.rows(facts)} == {State.READY}


_WANTS = UNITS / "multi-user.target.wants"
_OURS = {  # of docs/deploy-systemd.md, with the instances that are enabled
    "hardtack-prepare.service": "hardtack-prepare.service",
    "hardtack@.service": "hardtack@srv-models.service",
    "hardtack-endpoint.service": "hardtack-endpoint.service",
}
_VAR = "LABEL=var /var ext4 defaults 0 2"


def _on_disk(place: str) -> Callable[[Path], None]:
    """The kernel has a disk of its own mounted at `place`, one of the box's."""

    def write(root: Path) -> None:
        mounted = f"1 0 8:1 / {root / place} rw shared:1 - ext4 /dev/sda1 rw\n"
        _write("proc/self/mountinfo", mounted)(root)

    return write


_NO_MOUNT = _remove(_WANTS / _OURS["hardtack@.service"])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda _: None, ""),
        (_NO_MOUNT, "hardtack@.service is not started at boot"),
        (_remove(_WANTS / "hardtack-endpoint.service"), "hardtack-endpoint.service is not started"),
        (_link(UNITS / "hardtack-endpoint.service", "/dev/null"), "endpoint.service is masked"),
        (_remove("usr/local/bin/hardtack"), "which isn't there"),
        (_write(UNITS / "hardtack@.service",
                "[Service]\nExecStart=hardtack\nEnvironmentFile=/etc/hardtack/%i.env\n"),
         "hardtack@.service fails at boot: EnvironmentFile=/etc/hardtack/srv-models.env, which"),
        (_chained(_write("etc/endpoint.env", "HARDTACK_ENDPOINT_TOKEN_FILE=/etc/token\n"),
                  _write(f"{UNITS}/hardtack-endpoint.service.d/a.conf",
                         "[Service]\nEnvironmentFile=/etc/endpoint.env\n")),
         "hardtack-endpoint.service fails at boot: --token-file /etc/token, which isn't there"),
        (_chained(_write("etc/detectors.yaml", ""),
                  _write(f"{UNITS}/hardtack-endpoint.service.d/a.conf", "[Service]\nExecStart=\n"
                         "ExecStart=hardtack endpoint serve --detectors /etc/detectors.yaml\n")),
         ""),
        (_remove(_WANTS / "hardtack-prepare.service"), "nothing prepares"),
        (_chained(_TIME, _write("usr/lib/systemd/system/hardtack-endpoint.service.d/a.conf",
                                "[Unit]\nAfter=time-sync.target\n")),
         "hardtack-endpoint.service starts after systemd-time-wait-sync.service"),
        (_chained(_NO_MOUNT, _starts(WAITER, "", by=ONLINE),
                  _write("etc/fstab", "s3://w /srv/w hardtack _netdev,nofail 0 0\n")),
         f"the mount of /srv/w by /etc/fstab starts after {WAITER}"),
        (_chained(_NO_MOUNT, _write("etc/fstab", "# x\ns3://w /srv/w hardtack nofail 0 0\n")), ""),
        (_chained(_NO_MOUNT, _fstab("s3://w /srv/w hardtack nofail 0 0", _VAR)),
         "/srv/w may be mounted before /var, on which its cache lies: then it fails without a "
         "network"),
        (_chained(_NO_MOUNT, _fstab("s3://w /srv/w hardtack cache=/var/c 0 0", _VAR)),
         "without a network, and the box ends in emergency mode"),
        (_chained(_NO_MOUNT, _fstab("s3://w /var/w hardtack nofail 0 0", _VAR)), ""),
        (_chained(_NO_MOUNT, _fstab("s3://w /srv/w hardtack cache=/srv/c 0 0", _VAR)), ""),
        (_chained(_NO_MOUNT, _fstab(
            "s3://w /w hardtack nofail,x-systemd.requires-mounts-for=/var/cache/hardtack 0 0", _VAR,
        )), ""),
        (_chained(_NO_MOUNT, _write("etc/fstab", "s3://w /srv/w hardtack noauto 0 0\n")),
         "hardtack@.service is not started at boot"),
    ],
)  # fmt: skip
def test_without_kubernetes_systemd_starts_mount_and_endpoint(
    tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    for name, started in _OURS.items():
        _write(UNITS / name, "[Service]\nExecStart=hardtack\n")(tmp_path)
        _write(_WANTS / started, "")(tmp_path)
    _write("etc/hosts", "127.0.0.1 localhost\n")(tmp_path)
    _write("var/lib/hardtack/clock", "")(tmp_path)
    _write("usr/local/bin/hardtack", PROGRAM)(tmp_path)
    damage(tmp_path)
    details = [detail for _, detail in _amiss(tmp_path)]
    assert bool(details) == bool(said)
    assert all(said in detail for detail in details)


_CACHE = "var/cache/hardtack/models"
_LATE = "LABEL=c /var/cache ext4 nofail 0 2"
_WAITS = _write(UNITS / "hardtack@.service.d/a.conf", "[Unit]\nRequiresMountsFor=/var/cache\n")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_chained(_on_disk("var/cache"), _fstab(_LATE)),
         "hardtack-endpoint.service may start before /var/cache is mounted (nofail), on which "),
        (_chained(_on_disk("var/cache"), _fstab(_LATE), _WAITS), ""),
        (_chained(_on_disk("var/cache"), _fstab(_LATE),
                  _write(UNITS / "hardtack-endpoint.service.d/a.conf",
                         "[Service]\nCacheDirectory=hardtack/x\n")), ""),
        (_chained(_on_disk("var/cache"), _fstab(_LATE.replace("nofail", "defaults"))), ""),
        (_chained(_on_disk("var/cache"),
                  _fstab(_LATE.replace("nofail", "nofail,x-systemd.automount"))), ""),
        (_chained(_on_disk(""), _fstab(_LATE)),
         "models lies on / now; the next start mounts /var/cache over it"),
        (_chained(_on_disk(""), _fstab(_LATE.replace("nofail", "noauto"))), ""),
        (_chained(_on_disk(""), _fstab("LABEL=c /var/cache/other ext4 nofail 0 2")), ""),
        (_chained(_on_disk("var/cache"), _fstab("LABEL=v /var ext4 defaults 0 2")), ""),
    ],
)  # fmt: skip
def test_the_disk_with_the_cache_is_there_in_time(
    tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    for name, started in _OURS.items():
        _write(UNITS / name, "[Service]\nExecStart=hardtack\n")(tmp_path)
        _write(_WANTS / started, "")(tmp_path)
    (tmp_path / _CACHE).mkdir(parents=True)
    damage(tmp_path)
    facts = read(tmp_path, [tmp_path / _CACHE], addresses=dict)
    rows = [row for row in box.rows(facts) if row.check is Check.BOX_MOUNTS]
    assert [said in row.detail for row in rows] == [True]
    assert (rows[0].state is State.READY) == (not said)


def test_a_mask_that_goes_is_told_and_counts_for_nothing(tmp_path: Path) -> None:
    write_root(tmp_path)
    _link("run/systemd/system/k3s.service", "/dev/null")(tmp_path)
    rows = box.rows(read(tmp_path, addresses=lambda: {"lo": frozenset({"127.0.0.1"})}))
    (row,) = (row for row in rows if row.check is Check.BOX_STARTS)
    assert row.state is State.READY
    said = "k3s.service: masked until the next start alone (/run/systemd/system)"
    assert row.detail == said


def test_full_disks() -> None:
    def said(space: Space) -> int:
        return len(list(box.disk(Facts(Network(), Clock(0.0), (space,), K3s()))))

    k3s, other = Path("/var/lib/rancher/k3s"), Path("/srv/cache")
    assert said(Space(k3s, 10**10, 10**11, 900, 1000)) == 0
    assert said(Space(k3s, 4 * 10**9, 10**11, 900, 1000)) == 1  # the kubelet evicts from 5 % on
    assert said(Space(other, 4 * 10**9, 10**11, 900, 1000)) == 0
    assert said(Space(other, 10**7, 10**11, 1, 1000)) == 2


def _issue(directory: Path, days: int, name: str = "box") -> tuple[Path, Path]:
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    issued = trustme.CA().issue_cert(name, not_after=expires)
    directory.mkdir(parents=True, exist_ok=True)
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


def test_certificates_of_the_endpoint(tmp_path: Path) -> None:
    def states(days: int, *, given: bool = False) -> list[State]:
        tls = Tls(tmp_path / "tls/certificate.pem", tmp_path / "tls/key.pem", given)
        return [r.state for r in certificates.rows(tmp_path, tls, time.time(), days * 86400)]

    assert states(30) == [State.READY]  # it makes its own
    assert states(30, given=True) == [State.WRONG]
    _issue(tmp_path / "tls", 20)
    assert states(10, given=True) == [State.READY]
    assert states(30) == [State.EXPIRES]
    _, other = _issue(tmp_path / "other", 20)
    (tmp_path / "tls/key.pem").write_bytes(other.read_bytes())
    assert states(10, given=True) == [State.WRONG]


_TLS = "HARDTACK_ENDPOINT_TLS_CERT=/etc/tls/certificate.pem\n"
_KEY = "HARDTACK_ENDPOINT_TLS_KEY=/etc/tls/key.pem\n"


@pytest.mark.parametrize(
    ("environment", "command", "days", "state"),
    [
        (_TLS + _KEY, "", 40, State.READY),
        (_TLS + _KEY, "", 20, State.EXPIRES),
        (_TLS + _KEY, "", -1, State.EXPIRES),
        (_TLS + _KEY, "", None, State.WRONG),
        (_TLS + _KEY.replace("/key", "/none"), "", 40, State.WRONG),
        (_TLS + _KEY, "--tls-cert /etc/none.pem", 40, State.WRONG),
        (_TLS.replace("/etc", "/none") + _KEY, "--tls-cert=/etc/tls/certificate.pem", 40,
         State.READY),
        ("# " + _TLS, "", None, State.READY),  # it makes its own
        (_TLS.replace("/etc", "/run") + _KEY, "", None, State.READY),
    ],
)  # fmt: skip
def test_the_certificate_that_the_endpoints_unit_names(
    tmp_path: Path, environment: str, command: str, days: int | None, state: State
) -> None:
    """`ready` isn't told of it; a unit that isn't started starts with none."""
    if days is not None:
        _issue(tmp_path / "etc/tls", days)
    _write(UNITS / "hardtack-endpoint.service", "[Service]\nEnvironmentFile=/etc/endpoint.env\n"
           f"ExecStart=hardtack endpoint serve {command}\n")(tmp_path)  # fmt: skip
    _write("etc/endpoint.env", environment)(tmp_path)
    own = Tls(tmp_path / "own.pem", tmp_path / "own.key", False)
    (row,) = certificates.rows(tmp_path, own, time.time(), 30 * 86400)
    assert row.state is State.READY
    _write(_WANTS / "hardtack-endpoint.service", "")(tmp_path)
    (row,) = certificates.rows(tmp_path, own, time.time(), 30 * 86400)
    assert row.state is state


def test_a_certificate_that_the_endpoints_unit_names_without_its_key(tmp_path: Path) -> None:
    _write(UNITS / "hardtack-endpoint.service", f"[Service]\nEnvironment={_TLS}")(tmp_path)
    _write(_WANTS / "hardtack-endpoint.service", "")(tmp_path)
    own = Tls(tmp_path / "own.pem", tmp_path / "own.key", False)
    with pytest.raises(ConfigError, match="names --tls-cert alone: the endpoint ends"):
        certificates.rows(tmp_path, own, time.time(), 30 * 86400)


def test_k3s_renews_its_certificates_but_not_its_authorities(tmp_path: Path) -> None:
    directory = tmp_path / "var/lib/rancher/k3s/server/tls"
    certificate, _ = _issue(directory, 2)
    certificate.rename(directory / "serving-kube-apiserver.crt")
    (directory / "server-ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
    tls = Tls(tmp_path / "c", tmp_path / "k", False)
    in_the_end = 2000 * 365 * 86400
    assert certificates.rows(tmp_path, tls, time.time(), 30 * 86400)[0].state is State.READY
    (row,) = certificates.rows(tmp_path, tls, time.time() + in_the_end, 30 * 86400)
    assert row.state is State.EXPIRES
    assert row.name.endswith("server-ca.crt")
    (directory / "client-ca.crt").write_text("nonsense")
    assert certificates.rows(tmp_path, tls, time.time(), 0)[0].state is State.WRONG


def test_a_clock_before_a_certificate_begins() -> None:
    one = Certificate(Path("c"), begins=1e9, ends=2e9, authority=True)
    (row,) = certificates.judged([one], now=1e6, horizon=0)
    assert row.state is State.WRONG
    assert "the clock says 1970-01-12" in row.detail
