"""The negative drill: each thing that `hardtack ready` checks is broken, and it must say so."""

from __future__ import annotations

import datetime
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

from drill import chart
from drill.hands import KEPT, LOCK, MANIFESTS, SOURCE
from drill.image import NEXT
from drill.network import BOX
from drill.site import REGISTRY
from drill.steps import expect
from drill.story import Story
from hardtack.demo.detectors import SAMPLES
from hardtack.deploy.facts import kubelet
from hardtack.deploy.prepare import route
from hardtack.deploy.ready.checks import Check

_K3S = "/etc/rancher/k3s/config.yaml.d/zzz-drill.yaml"
"""Read after those that `box prepare` wrote."""
_HELPERS = "/var/lib/rancher/credentialprovider"
_UNITS = "/etc/systemd/system"
_STATE = f"{chart.EDGE}/endpoint"
_TLS = f"{_STATE}/tls/certificate.pem"
_IMAGE = f"{REGISTRY}/hardtack/hardtack:{NEXT}"
_MODEL = f"models/{SAMPLES[4].id}/primary/1/model.onnx"


@dataclass
class Damage:
    """What `ready` is asked otherwise: more arguments, other environment, another source."""

    arguments: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    source: list[str] = field(default_factory=lambda: [SOURCE])


Break = Callable[[Story, ExitStack], Damage | None]
"""Breaks one thing; what mends it is left on the stack."""


def run(story: Story) -> None:
    """Raises Broken for a check that says nothing of what it is there for."""
    missing = set(Check) - set(BREAKS)
    expect(not missing, f"Nothing breaks {', '.join(sorted(missing))}.")
    unsaid: list[str] = []
    with story.record.step("break each thing that `hardtack ready` checks") as said:
        for check, damage in BREAKS.items():
            with ExitStack() as mending:
                asked = damage(story, mending) or Damage()
                said_of = _amiss(story, asked)
                if check not in said_of:
                    unsaid.append(f"{check} is broken; said: {said_of or 'READY'}")
        expect(not unsaid, "\n".join(unsaid))
        _until_ready(story)
        said.append(f"{len(BREAKS)} of {len(BREAKS)} named; READY again after")
    story.record.holds("`hardtack ready` says what is missing", said[0])


def _amiss(story: Story, asked: Damage) -> dict[str, str]:
    """Check → what is said of it, for each row that isn't ready."""
    report = story.is_ready(*asked.arguments, source=asked.source, env=asked.env)
    return {row["check"]: row["detail"] for row in report["rows"] if row["state"] != "ready"}


def _until_ready(story: Story) -> None:
    deadline = time.monotonic() + 600
    while not (report := story.is_ready())["ready"]:
        expect(time.monotonic() < deadline, f"Mended, it says: {report}")
        time.sleep(1)


# -- Ways of breaking


def _file(path: str, change: Callable[[str], str]) -> Break:
    """A text file of the box, changed for a while; one that isn't there is empty before."""

    def damage(story: Story, mending: ExitStack) -> None:
        mending.enter_context(_changed(story.box.path(path), change))

    return damage


@contextmanager
def _changed(file: Path, change: Callable[[str], str]) -> Iterator[None]:
    was = file.read_text() if file.exists() else None
    stat = file.stat() if was is not None else None
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(change(was or ""))
    try:
        yield
    finally:
        if was is None or stat is None:
            file.unlink()
        else:
            file.write_text(was)
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _away(path: str) -> Break:
    def damage(story: Story, mending: ExitStack) -> None:
        file = story.box.path(path)
        aside = file.with_name(file.name + ".aside")
        file.rename(aside)
        mending.callback(aside.rename, file)

    return damage


def _manifest(old: str, new: str) -> Break:
    return _file(f"{MANIFESTS}/hardtack.yaml", lambda text: text.replace(old, new))


def _kubelet(argument: str) -> Break:
    return _file(_K3S, lambda _: f"kubelet-arg+: [{argument}]\n")


def _drop_in(line: str) -> Break:
    return _file(f"/{kubelet.DROP_INS}/50-drill.conf", lambda _: f"{line}\n")


def _asked(**otherwise: Any) -> Break:
    return lambda _story, _mending: Damage(**otherwise)


def _certificate(first: int, last: int) -> Break:
    """One that is valid from so many days from now on, for so many days."""

    def text(_: str) -> str:
        now = datetime.datetime.now(datetime.UTC)
        issued = trustme.CA().issue_cert(
            "box", not_before=now + datetime.timedelta(days=first),
            not_after=now + datetime.timedelta(days=last),
        )  # fmt: skip
        return issued.cert_chain_pems[0].bytes().decode()

    return _file(_TLS, text)


def _ctr(*arguments: str) -> list[str]:
    return ["ctr", "-a", "/run/k3s/containerd/containerd.sock", "-n", "k8s.io", *arguments]


def _no_image(story: Story, mending: ExitStack) -> None:
    """Neither in containerd under its name, nor in a bundle."""
    mending.callback(
        story.box.hardtack, "images", "install", f"{KEPT}/bundles", "--import"
    )  # fmt: skip
    _no_bundle(story, mending)
    story.box.do(*_ctr("images", "rm", _IMAGE))


def _no_bundle(story: Story, mending: ExitStack) -> None:
    (bundle,) = story.box.path("/var/lib/rancher/k3s/agent/images").glob("images-*.tar")
    aside = bundle.with_name("aside")
    bundle.rename(aside)
    mending.callback(aside.rename, bundle)


def _collectable(story: Story, mending: ExitStack) -> None:
    """Kept by nothing in containerd, with no bundle from which k3s would load it again."""
    _no_bundle(story, mending)
    label = "io.cri-containerd.pinned"
    story.box.do(*_ctr("images", "label", _IMAGE, f"{label}="))
    mending.callback(story.box.do, *_ctr("images", "label", _IMAGE, f"{label}=pinned"))


def _unpublished(story: Story, mending: ExitStack) -> None:
    """A model's file is taken out of the bucket; the box sees it with the next listing."""
    story.site.s3.delete("weights", _MODEL)

    def mend() -> None:
        story.site.put({_MODEL: story.objects[_MODEL]})
        story.until_listed(_MODEL, there=True)
        story.fetch()

    mending.callback(mend)
    story.until_listed(_MODEL, there=False)


def _not_fetched(story: Story, mending: ExitStack) -> Damage:
    del mending
    key = f"extra/{time.monotonic_ns()}.bin"
    story.site.put({key: b"x" * 100_000})
    story.until_listed(key, there=True)
    return Damage(arguments=["--also", key])


def _rotten(story: Story, mending: ExitStack) -> None:
    size = len(story.objects[_MODEL])
    content = story.box.path(chart.CACHE) / "content"
    file = next(f for f in content.glob("??/*.data") if f.stat().st_size == size)
    body = bytearray(file.read_bytes())
    body[size // 2] ^= 1

    def mend() -> None:
        body[size // 2] ^= 1
        with file.open("r+b") as open_file:
            open_file.write(body)
        story.box.hardtack("verify", SOURCE, "--repair", env=story.weights, codes=(0, 1))

    with file.open("r+b") as open_file:
        open_file.write(body)
    mending.callback(mend)


def _unpinned(story: Story, mending: ExitStack) -> None:
    names = story.releases
    for name in names:
        story.box.hardtack("unpin", SOURCE, name, env=story.weights)
    mending.callback(story.fetch)
    story.releases = []


def _no_route(story: Story, mending: ExitStack) -> None:
    way = ["default", "via", route.GATEWAY, "dev", route.INTERFACE, "metric", route.METRIC]
    story.box.do("ip", "route", "del", *way)
    mending.callback(story.box.do, "ip", "route", "add", *way)


def _no_localhost(story: Story, mending: ExitStack) -> None:
    story.box.do(
        "sh", "-c", "cp /etc/hosts /etc/hosts.aside; sed -i s/localhost/elsewhere/ /etc/hosts"
    )
    mending.callback(story.box.do, "sh", "-c", "cat /etc/hosts.aside > /etc/hosts")


def _bucket_first(story: Story, mending: ExitStack) -> None:
    """A mount that must succeed before anything starts, and can't without a network."""
    line = "weights /mnt/weights fuse.s3fs defaults 0 0"
    story.box.do("sh", "-c", f"touch /etc/fstab; cp -a /etc/fstab /etc/fstab.aside; "
                 f"echo '{line}' >> /etc/fstab")  # fmt: skip
    mending.callback(story.box.do, "mv", "/etc/fstab.aside", "/etc/fstab")


def _half_a_kernel(story: Story, mending: ExitStack) -> None:
    """A newer one, whose installation was broken off."""
    story.box.do("mount", "-t", "tmpfs", "none", "/boot")
    mending.callback(story.box.do, "umount", "/boot")
    story.box.do("touch", "/boot/vmlinuz-99.0.0-drill")


def _clock_behind(story: Story, mending: ExitStack) -> None:
    file = story.box.path(f"{KEPT}/clock")
    stat = file.stat()
    later = time.time() + 7200
    os.utime(file, (later, later))
    mending.callback(os.utime, file, (stat.st_atime, stat.st_mtime))


def _in_memory(story: Story, mending: ExitStack) -> Damage:
    """The endpoint's state lies where a power cut takes it."""
    place = "/var/lib/hardtack/memory"
    story.box.do("mkdir", "-p", place)
    story.box.do("mount", "-t", "tmpfs", "none", place)
    mending.callback(story.box.do, "umount", place)
    return Damage(arguments=["--state", place])


def _unit(story: Story, mending: ExitStack) -> None:
    unit = "[Unit]\nRequires=systemd-networkd-wait-online.service\n"
    mending.enter_context(_changed(story.box.path(f"{_UNITS}/hardtack-drill.service"),
                                   lambda _: unit))  # fmt: skip


def _not_at_boot(story: Story, mending: ExitStack) -> None:
    for link in story.box.path(_UNITS).glob("*.wants/hardtack-prepare.service"):
        target = os.readlink(link)
        link.unlink()
        mending.callback(link.symlink_to, target)


def _another_node(_: str) -> str:
    """What k3s leaves of a node that it ran under another name."""
    issued = trustme.CA().issue_cert("x.test", common_name="system:node:another")
    return issued.cert_chain_pems[0].bytes().decode()


_PROVIDER = "providers: [{name: token, apiVersion: v1, args: [get]}]"
_UNKNOWN = json.dumps({"detectors": [
    {"detector_id": "det_" + "z" * 27, "edge_inference_config": "default"}]})  # fmt: skip

BREAKS: dict[Check, Break] = {
    Check.IMAGES_READ: _away(LOCK),
    Check.IMAGES_HERE: _no_image,
    Check.IMAGES_PINNED: _collectable,
    Check.IMAGES_LOCKED: _manifest(_IMAGE, f"{REGISTRY}/hardtack/hardtack:9.9"),
    Check.IMAGES_NAMED: _manifest(_IMAGE, "'{{ image }}'"),
    Check.IMAGES_POLICY: _manifest("IfNotPresent", "Always"),
    Check.IMAGES_PAUSE: _file(
        _K3S, lambda _: f"pause-image: {REGISTRY}/rancher/mirrored-pause:9.9\n"
    ),
    Check.IMAGES_CREDENTIALS: _drop_in(f"{kubelet.CREDENTIALS}: AlwaysVerify"),
    Check.WEIGHTS_SOURCE: _asked(source=[]),
    Check.WEIGHTS_READ: _asked(env={"HARDTACK_CACHE": f"{LOCK}/cache"}),
    Check.WEIGHTS_LISTED: _asked(env={"HARDTACK_CACHE": f"{KEPT}/no-cache"}),
    Check.WEIGHTS_PUBLISHED: _unpublished,
    Check.WEIGHTS_HERE: _not_fetched,
    Check.WEIGHTS_VERIFIED: _rotten,
    Check.WEIGHTS_PINNED: _unpinned,
    Check.CONFIGURATION_READ: _file(f"{KEPT}/detectors.yaml", lambda _: "detectors: 3\n"),
    Check.CONFIGURATION_NAMED: _file(f"{KEPT}/detectors.yaml", lambda _: "detectors: []\n"),
    Check.CONFIGURATION_KNOWN: _file(f"{_STATE}/edge-config.yaml", lambda _: _UNKNOWN),
    Check.CERTIFICATES_READ: _file(_TLS, lambda _: "none\n"),
    Check.CERTIFICATES_KEY: _asked(arguments=["--tls-cert", _TLS, "--tls-key", LOCK]),
    Check.CERTIFICATES_BEGUN: _certificate(1, 400),
    Check.CERTIFICATES_LAST: _certificate(-1, 20),
    Check.BOX_READ: _file(_K3S, lambda _: "node-ip: ["),
    Check.BOX_ROUTE: _no_route,
    Check.BOX_ADDRESS: _file(_K3S, lambda _: f"node-ip: {BOX}\n"),
    Check.BOX_NODE: _file("/var/lib/rancher/k3s/agent/client-kubelet.crt", _another_node),
    Check.BOX_CLOCK: _clock_behind,
    Check.BOX_NAMES: _no_localhost,
    Check.BOX_COLLECTION: _drop_in(f"{kubelet.MAXIMUM_AGE}: 24h"),
    Check.BOX_DISK: _kubelet('"eviction-hard=nodefs.available<100%"'),
    Check.BOX_HELPERS: _file(f"{_HELPERS}/config.yaml", lambda _: _PROVIDER),
    Check.BOX_ORDER: _unit,
    Check.BOX_BOOT: _not_at_boot,
    Check.BOX_STARTS: _file(f"{_UNITS}/k3s.service", lambda _: "[Service]\n"),
    Check.BOX_UPCOMING: _half_a_kernel,
    Check.BOX_STORAGE: _in_memory,
    Check.BOX_MOUNTS: _bucket_first,
    Check.BOX_CONTROL: _file(_K3S, lambda _: "server: https://203.0.113.9:6443\n"),
    Check.BOX_PULLS: _file(
        _K3S, lambda _: "kube-apiserver-arg: enable-admission-plugins=AlwaysPullImages\n"
    ),
}
"""Check → what breaks that, and nothing else if it can be helped."""
