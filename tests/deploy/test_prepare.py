"""What `ready` finds amiss and says is mended by `box prepare`, is; on a kernel's own tables."""

from __future__ import annotations

import contextlib
import os
import pty
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from hardtack.deploy.facts import k3s
from tests.support.boxes import CABLE, WAITER, KernelBox, kernel_box
from tests.support.cgroups import cgroup2, empty
from tests.support.commands import HARDTACK, clean_environment

pytestmark = pytest.mark.needs("netns", "iptables")
OURS = "etc/rancher/k3s/config.yaml.d/zz-hardtack-collection.yaml"
RAW = {
    "default route", "node address", "node name", "clock", "order of starts", "prepared at boot",
}  # fmt: skip
"""What is amiss with a box that was never prepared, while its disk isn't filling."""
_FILLING = 80  # per cent, from which images will be collected soon


@pytest.fixture
def box(tmp_path: Path) -> Iterator[KernelBox]:
    with kernel_box(tmp_path) as made:
        yield made


def _raw(box: KernelBox) -> set[str]:
    """What is amiss before anything is prepared: its disk is this machine's."""
    disk = os.statvfs(box.root)
    filling = 100 - 100 * disk.f_bavail // disk.f_blocks >= _FILLING
    return RAW | ({"image collection"} if filling else set())


def _routes(box: KernelBox) -> str:
    return box.ok("ip", "-4", "route", "show", "default")


def test_a_raw_box_is_prepared_once_and_back(box: KernelBox) -> None:
    assert box.amiss() == _raw(box)
    said = box.prepared("--dry-run")
    assert box.amiss() == _raw(box)  # nothing was touched
    assert not (box.root / "var/lib/hardtack").exists()
    assert said
    assert box.prepared()
    assert box.amiss() == set()
    assert box.prepared() == []
    assert "dev eth0" in _routes(box).splitlines()[0]  # the cable's route comes first
    box.ok("ip", "link", "delete", "eth0")
    assert box.amiss() == set()
    assert box.prepared() == []
    box.prepared("--undo")
    assert box.amiss() == _raw(box)
    assert box.prepared("--undo") == []


def test_a_broken_configuration_keeps_no_step_from_being_taken_back(box: KernelBox) -> None:
    box.write("var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50.conf", "imageMaximumGCAge: 24h\n")
    box.prepared()
    ours = [OURS, "var/lib/rancher/k3s/agent/etc/kubelet.conf.d/zz-hardtack-collection.conf"]
    assert [(box.root / name).is_file() for name in ours] == [True, True]
    box.write("etc/rancher/k3s/config.yaml", "node-ip: [")
    box.prepared("--undo")
    assert [(box.root / name).exists() for name in ours] == [False, False]


def _told(box: KernelBox, answer: bytes, *more: str) -> tuple[int, str]:
    """What `box prepare` ends with and says on a terminal, where somebody types `answer`."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        box.enter(*box.preparing(*more)), env=clean_environment(),
        stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        os.write(ours, answer)
        said = b""
        with open(ours, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
            while piece := terminal.read(65536):
                said += piece  # until the last writer is gone, which a terminal tells by an error
    return process.returncode, said.decode()


def test_on_a_terminal_it_asks_first(box: KernelBox) -> None:
    code, said = _told(box, b"n\n")
    assert "boot: write " in said
    assert "Make these changes to this box? [y/N]" in said
    assert (code, "Nothing was changed." in said) == (1, True)
    assert box.amiss() == _raw(box)
    assert _told(box, b"y\n")[0] == 0
    assert box.amiss() == set()
    code, said = _told(box, b"")
    assert (code, "Nothing to do." in said, "?" in said) == (0, True, False)
    code, said = _told(box, b"", "--undo", "--yes")
    assert (code, "?" in said) == (0, False)
    assert "propagation stays until a restart" in said
    assert box.amiss() == _raw(box)


def test_the_node_has_its_address_though_another_default_route_stays(box: KernelBox) -> None:
    """A bridge that has no port, of somebody else: no interface is made for a route there."""
    box.ok("ip", "link", "add", "br9", "type", "bridge")
    box.ok("ip", "link", "set", "br9", "up")
    box.ok("ip", "address", "add", "10.9.0.1/24", "dev", "br9")
    box.ok("ip", "route", "add", "default", "via", "10.9.0.2", "dev", "br9", "metric", "50")
    box.prepared()
    assert box.amiss() == set()
    assert box.prepared() == []


def _drop(name: str) -> Callable[[KernelBox], object]:
    return lambda box: (box.root / name).unlink()


def _no_route(box: KernelBox) -> None:
    box.ok("ip", "route", "flush", "default")


def _no_interface(box: KernelBox) -> None:
    box.ok("ip", "link", "delete", "hardtack0")
    box.ok("ip", "link", "delete", "eth0")


def _another_address(box: KernelBox) -> None:
    """The node has the address of the cable, for k3s ran with it."""
    box.write("etc/rancher/k3s/config.yaml.d/zzz.yaml", f"node-ip: {CABLE}\n")


def _kubelet(argument: str) -> Callable[[KernelBox], object]:
    file = "etc/rancher/k3s/config.yaml.d/z.yaml"

    def write(box: KernelBox) -> None:
        (box.root / OURS).unlink()
        box.write(file, f"kubelet-arg+: [{argument}]\n")

    return write


def _late_disk(box: KernelBox) -> None:
    """k3s's data lies on a disk of its own, which may be late."""
    place = box.root / "var/lib/rancher"
    box.ok("mount", "--bind", place, place)
    box.write("etc/fstab", "LABEL=data /var/lib/rancher ext4 nofail 0 2\n")


BREAKS: dict[str, tuple[Callable[[KernelBox], object], set[str]]] = {
    "no route": (_no_route, {"default route"}),
    "no interface": (_no_interface, {"default route", "node address"}),
    "the address of the cable": (_another_address, {"node address"}),
    "nobody keeps the time": (_drop("var/lib/hardtack/clock"), {"clock"}),
    "localhost not named": (
        lambda box: box.write("etc/hosts", "127.0.0.1 box"), {"names without DNS"},
    ),
    "images collected": (_kubelet("image-gc-high-threshold=1"), {"image collection"}),
    "an earlier file of ours": (
        lambda box: box.write(OURS, "kubelet-arg+:\n  - image-gc-high-threshold=100\n"
                              "  - image-maximum-gc-age=0s\n"), {"image collection"},
    ),
    "old images collected": (
        lambda box: box.write("var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50-site.conf",
                              "imageMaximumGCAge: 24h\n"), {"image collection"},
    ),
    "a start that waits": (
        _drop(f"etc/systemd/system/{WAITER}.d/zz-hardtack.conf"), {"order of starts"},
    ),
    "a start that waits for ever": (
        lambda box: box.write(f"etc/systemd/system/{WAITER}.d/zz-hardtack.conf",
                              "[Service]\nTimeoutStartSec=infinity\n"), {"order of starts"},
    ),
    "a start that waits for the time": (
        lambda box: [
            box.write(f"etc/systemd/system/{name}", text) for name, text in {
                "k3s.service.d/site.conf": "[Unit]\nAfter=time-sync.target\n",
                "chrony-wait.service": "[Unit]\nBefore=time-sync.target\n[Service]\n"
                "TimeoutStartSec=180\n",
                "multi-user.target.wants/chrony-wait.service": "",
            }.items()
        ], {"order of starts"},
    ),
    "a disk that k3s doesn't await": (_late_disk, {"mounts"}),
    "a network manager that takes all": (
        lambda box: [
            box.write("etc/systemd/network/90.network", "[Match]\nName=*\n[Network]\nDHCP=yes\n"),
            box.write("etc/systemd/system/multi-user.target.wants/systemd-networkd.service", ""),
        ], {"default route"},
    ),
    "not at boot": (
        _drop("etc/systemd/system/multi-user.target.wants/hardtack-prepare.service"),
        {"prepared at boot"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_mended(box: KernelBox, name: str) -> None:
    damage, checks = BREAKS[name]
    box.prepared()
    assert box.amiss() == set()
    damage(box)
    assert box.amiss() == checks
    assert box.prepared()
    assert box.amiss() == set()
    assert box.prepared() == []


def test_a_way_out_through_a_pair_is_a_cable(box: KernelBox) -> None:
    """As a container has it: it leads nowhere once the host's cable is out, or the host's end."""
    box.ok("ip", "link", "delete", "eth0")
    box.ok("ip", "address", "add", "10.9.0.1/24", "dev", "cable")
    box.ok("ip", "route", "replace", "default", "via", "10.9.0.2", "dev", "cable")
    assert "default route" in box.amiss()
    box.prepared()
    assert box.amiss() == set()
    box.ok("ip", "link", "delete", "cable")
    assert box.amiss() == set()


def test_a_full_disk_loses_what_nobody_misses(box: KernelBox) -> None:
    """Packages, and the oldest journals; what is written to, and the newest, stay."""
    box.prepared()
    journal = box.root / "var/log/journal/abc"
    names = {
        "system@1.journal": 3,
        "system@2.journal": 2,
        "user-1@3.journal": 1,
        "system.journal": 0,
    }
    for name, age in names.items():
        with box.write(f"var/log/journal/abc/{name}", "").open("wb") as file:
            file.truncate(40_000_000)
        at = time.time() - age * 86400
        os.utime(journal / name, (at, at))
    package = box.write("var/cache/apt/archives/curl.deb", "x")
    keep = box.write("var/cache/apt/archives/lock", "")
    assert box.prepared() == []
    full = "kubelet-arg+: [eviction-hard=nodefs.available<100%]\n"
    box.write("etc/rancher/k3s/config.yaml.d/zzz.yaml", full)
    (box.root / "var/lib/hardtack/clock").unlink()
    assert box.amiss() == {"disk space", "clock"}
    *said, last = box.prepared()
    assert last.startswith("note the time")  # where there was no room for it
    assert [words.split()[1] for words in said] == [
        str(package), str(journal / "system@1.journal"), str(journal / "system@2.journal"),
        str(journal / "user-1@3.journal"),
    ]  # fmt: skip
    assert os.listdir(journal) == ["system.journal"]
    assert keep.exists() and not package.exists()


def test_a_node_that_ran_keeps_its_address(box: KernelBox) -> None:
    """k3s took the cable's address when there was nothing else: the node has it for good."""
    (box.root / "var/lib/rancher/k3s/server/tls").mkdir()
    box.prepared()
    box.ok("ip", "link", "delete", "eth0")
    assert box.amiss() == set()
    assert f"{CABLE}/32" in box.ok("ip", "-4", "address", "show", "dev", "hardtack0")
    file = box.root / "etc/rancher/k3s/config.yaml.d/zz-hardtack-address.yaml"
    assert file.read_text() == f"node-ip: {CABLE}\n"
    box.ok("ip", "link", "delete", "hardtack0")  # a restart without a cable
    box.prepared()
    assert box.amiss() == set()


def test_the_node_reaches_itself_with_every_cable_out(box: KernelBox) -> None:
    box.prepared()
    box.ok("ip", "link", "delete", "eth0")
    assert "local 203.0.113.254" in box.ok("ip", "route", "get", "203.0.113.254")
    assert "dev hardtack0" in box.ok("ip", "route", "get", "198.51.100.1")


@pytest.mark.parametrize(("said", "opened"), [
    ("proxy-mode=nftables", True), ("--proxy-mode=nftables", True), ("proxy-mode=iptables", False),
    ("proxy-mode=nftables, nodeport-addresses=primary", False),
])  # fmt: skip
def test_cameras_reach_node_ports_by_the_address_of_the_cable(
    box: KernelBox, said: str, opened: bool
) -> None:
    """kube-proxy with nftables opens them at the node's address alone, which no camera knows."""
    box.write("etc/rancher/k3s/config.yaml.d/10-proxy.yaml", f"kube-proxy-arg: [{said}]\n")
    box.prepared()
    file = box.root / "etc/rancher/k3s/config.yaml.d/zz-hardtack-node-ports.yaml"
    assert file.exists() == opened
    if opened:
        found = k3s.read(box.root)
        assert found is not None
        assert found.settings["kube-proxy-arg"] == f"{said},nodeport-addresses=0.0.0.0/0"
    assert box.prepared() == []
    box.prepared("--undo")
    assert not file.exists()


def test_a_new_container_keeps_the_old_address(box: KernelBox) -> None:
    """Its configuration and interfaces are gone, its volumes are there, and so is the cable."""
    box.prepared()
    (box.root / "var/lib/rancher/k3s/server/tls").mkdir()
    (box.root / "etc/rancher/k3s/config.yaml.d/zz-hardtack-address.yaml").unlink()
    box.ok("ip", "link", "delete", "hardtack0")
    box.prepared()
    file = box.root / "etc/rancher/k3s/config.yaml.d/zz-hardtack-address.yaml"
    assert file.read_text() == "node-ip: 203.0.113.254\n"
    assert box.amiss() == set()


def test_a_node_keeps_its_name(box: KernelBox) -> None:
    """k3s ran under the name of a lease; another one, or the box's own, comes after that."""
    issued = trustme.CA().issue_cert("x.test", common_name="system:node:lease-7")
    file = box.write("var/lib/rancher/k3s/agent/client-kubelet.crt", "")
    issued.cert_chain_pems[0].write_to_path(file)
    ours = box.root / "etc/rancher/k3s/config.yaml.d/zz-hardtack-name.yaml"
    for name in (None, "vision-3\n"):
        if name is not None:
            box.write("etc/hostname", name)
        assert "node name" in box.amiss()
        assert f"write {ours}" in box.prepared("--dry-run")
        assert not ours.exists()
        box.prepared()
        assert ours.read_text() == "node-name: 'lease-7'\n"
        assert box.amiss() == set()
        assert box.prepared() == []
        box.prepared("--undo")
        assert not ours.exists()


def test_a_node_that_never_ran_gets_the_name_that_the_box_has_now(box: KernelBox) -> None:
    box.prepared()
    ours = box.root / "etc/rancher/k3s/config.yaml.d/zz-hardtack-name.yaml"
    assert ours.read_text() == f"node-name: '{socket.gethostname().lower()}'\n"


STALE = """
iptables-{0} -t nat -N CNI-HOSTPORT-DNAT
iptables-{0} -t nat -N CNI-DN-0123456789abcdef01234
iptables-{0} -t nat -N CNI-HOSTPORT-SETMARK
iptables-{0} -t nat -N KEEP-ME
iptables-{0} -t nat -A KEEP-ME -p tcp --dport 80 -j RETURN
iptables-{0} -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
iptables-{0} -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
iptables-{0} -t nat -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment 'a "pod" of old' \
    -m multiport --dports 30143 -j CNI-DN-0123456789abcdef01234
iptables-{0} -t nat -A CNI-DN-0123456789abcdef01234 -p tcp --dport 30143 \
    -j DNAT --to-destination 10.42.0.9:443
"""


@pytest.mark.parametrize("flavour", ["legacy", "nft"])
def test_stale_rules_of_host_ports(box: KernelBox, flavour: str) -> None:
    box.ok("sh", "-e", "-c", STALE.format(flavour))
    said = box.prepared("--only", "portmap")
    assert said
    rules = box.ok(f"iptables-{flavour}-save", "-t", "nat")
    assert "CNI-" not in rules
    assert "KEEP-ME" in rules
    assert box.prepared("--only", "portmap") == []


def test_rules_of_living_pods_stay(box: KernelBox) -> None:
    """k3s's containerd answers: what is there is in use."""
    box.ok("sh", "-e", "-c", STALE.format("nft"))
    path = box.root / "run/k3s/containerd/containerd.sock"
    path.parent.mkdir(parents=True)
    directory = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{directory}/{path.name}")  # its name is too long else
        listening.listen()
        assert box.prepared("--only", "portmap") == []
    os.close(directory)
    assert "CNI-DN" in box.ok("iptables-nft-save", "-t", "nat")
    assert box.prepared("--only", "portmap")  # it listens no more


@pytest.mark.parametrize("top", ["DOCKER-USER", "FORWARD"])
def test_pods_pass_the_legacy_forward_chain(box: KernelBox, top: str) -> None:
    step = ("--only", "forward")
    assert box.prepared(*step) == []  # no legacy table, nothing that drops
    if top == "FORWARD":
        box.ok("iptables-legacy", "-P", "FORWARD", "DROP")
    else:
        box.ok("iptables-legacy", "-N", "DOCKER-USER")
        box.ok("iptables-legacy", "-A", "FORWARD", "-j", "DOCKER-USER")
    box.write("etc/rancher/k3s/config.yaml.d/a.yaml", "cluster-cidr: 10.52.0.0/16,fd00::/56\n")
    assert len(box.prepared(*step)) == 6
    rules = box.ok("iptables-legacy-save", "-t", "filter")
    assert f"-A {top} -j EDGE-FORWARD" in rules
    for network in ("10.52.0.0/16", "10.43.0.0/16"):
        for option in ("-s", "-d"):
            assert f"-A EDGE-FORWARD {option} {network} -j ACCEPT" in rules
    assert box.prepared(*step) == []
    box.prepared(*step, "--undo")
    assert "EDGE-FORWARD" not in box.ok("iptables-legacy-save", "-t", "filter")


def test_mounts_reach_the_host(box: KernelBox) -> None:
    step = ("--only", "propagation")
    assert len(box.prepared(*step)) == 1
    assert box.ok("findmnt", "-n", "-o", "PROPAGATION", "/") == "shared\n"
    assert box.prepared(*step) == []


def test_a_step_that_fails_ends_it(box: KernelBox) -> None:
    """And says which: those after it aren't begun."""
    box.write("etc/rancher/k3s/config.yaml", "node-ip: [")
    done = box.prepare()
    assert done.returncode == 95
    assert "Stopped at the step space: " in done.stderr
    assert "config.yaml:1:11: malformed YAML" in done.stderr
    assert not (box.root / "var/lib/hardtack/INFERENCE_FLAVOR").exists()


def test_the_noted_time_never_goes_back(box: KernelBox) -> None:
    path = box.root / "var/lib/hardtack/clock"
    box.ok(*HARDTACK, "box", "clock", "--root", box.root)
    assert abs(path.stat().st_mtime - time.time()) < 60
    later = time.time() + 3600
    os.utime(path, (later, later))
    done = box.call(*HARDTACK, "box", "clock", "--root", box.root)
    assert "later time" in done.stderr
    assert path.stat().st_mtime == pytest.approx(later, abs=1)


_INSIDE = """
set -e
mount -t cgroup2 none "$0/sys/fs/cgroup"
sleep 60 & other=$!
"$@"
test "$(cat "$0/sys/fs/cgroup/cgroup.procs")" = ""
cat "$0/sys/fs/cgroup/cgroup.subtree_control"
mkdir "$0/sys/fs/cgroup/kubepods"
cat "$0/sys/fs/cgroup/kubepods/cgroup.controllers"
kill "$other"
"""


@pytest.mark.needs("cgroup2")
def test_the_kubelet_gets_controllers_in_a_cgroup_of_ours(box: KernelBox) -> None:
    """In a cgroup namespace, as in a container: processes in its root, no controller passed on."""
    top = cgroup2()
    assert top is not None
    offered = (top / "cgroup.controllers").read_text().split()
    before = (top / "cgroup.subtree_control").read_text().split()
    (top / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in offered))
    ours = top / f"hardtack-{os.getpid()}"
    ours.mkdir()
    try:
        prepare = [*HARDTACK, "box", "prepare", "--root", box.root, "--only", "cgroups"]
        inside = ["unshare", "--cgroup", "--mount", "--", "sh", "-c", _INSIDE, str(box.root)]
        enter = f'echo $$ > {ours}/cgroup.procs; exec "$@"'
        said = box.ok("sh", "-c", enter, "sh", *inside, *map(str, prepare)).splitlines()
        assert set(said[-2].split()) == set(said[-1].split()) == set(offered)
    finally:
        empty(ours)
        for name in set(offered) - set(before):
            (top / "cgroup.subtree_control").write_text(f"-{name}")
