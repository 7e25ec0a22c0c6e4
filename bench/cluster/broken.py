"""What a kubelet refuses to start with the cable out, and whether `hardtack ready` says so."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from drill.hands import KEPT, MANIFESTS
from drill.image import NEXT
from drill.site import REGISTRY
from drill.steps import expect

from bench.cluster import told
from bench.cluster.story import Proof
from hardtack.core.units import format_duration
from hardtack.deploy.facts import kubelet
from hardtack.deploy.ready.checks import Check
from hardtack.endpoint.backends.kubernetes import manifests

_IMAGE = f"{REGISTRY}/hardtack/hardtack:{NEXT}"
_POD = "proof"
_REFUSED = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull")
_BUNDLES = "/var/lib/rancher/k3s/agent/images"
_RECORDS = "/var/lib/rancher/kubelet/image_manager"
_PATIENCE = 90.0

Break = Callable[[Proof, ExitStack], str]
"""Breaks one thing, leaves on the stack what mends it; the pull policy of the pod that is tried."""


def run(proof: Proof) -> None:
    """Raises Broken where `ready` and the kubelet aren't of one mind."""
    with proof.record.step("break what starts pods, one thing at a time") as said:
        expect(_outcome(proof, "IfNotPresent") == "Running", "A pod of our image doesn't start.")
        for check, damage in BREAKS.items():
            with ExitStack() as mending:
                policy = damage(proof, mending)
                amiss = {r["check"] for r in proof.is_ready()["rows"] if r["state"] != "ready"}
                expect(check in amiss, f"{check} is broken; `ready` says {amiss or 'READY'}.")
                outcome = _outcome(proof, policy)
                expect(outcome in _REFUSED, f"{check} is broken; the pod is {outcome or 'new'}.")
            report = proof.is_ready()
            expect(report["ready"], f"Mended ({check}), `ready` says {report}")
            expect(_outcome(proof, "IfNotPresent") == "Running", f"{check} is mended, not the pod.")
        said.append(f"{', '.join(BREAKS)}: `ready` said so, and the kubelet started no pod")
    proof.record.holds("`hardtack ready` and the kubelet are of one mind", said[0])


def _outcome(proof: Proof, policy: str) -> str:
    """What becomes of a pod of our image: Running, or why it waits."""
    api = proof.kubernetes
    api.kubectl("-n", "edge", "run", _POD, "--image", _IMAGE, "--image-pull-policy", policy,
                "--command", "--", "sleep", "1000")  # fmt: skip
    deadline = time.monotonic() + _PATIENCE
    try:
        while time.monotonic() < deadline:
            pod = api.get("pod", _POD)
            outcome = "Running" if told.is_ready(pod) else told.waits_for(pod)
            if outcome == "Running" or outcome in _REFUSED:
                return outcome
            time.sleep(0.2)
        return told.waits_for(pod)
    finally:
        api.kubectl("-n", "edge", "delete", "pod", _POD, "--force", "--grace-period", "0")


def _ctr(*arguments: str) -> list[str]:
    return ["ctr", "-a", "/run/k3s/containerd/containerd.sock", "-n", "k8s.io", *arguments]


def _no_image(proof: Proof, mending: ExitStack) -> str:
    """Neither in containerd under its name, nor in a bundle."""
    box = proof.box
    (bundle,) = box.path(_BUNDLES).glob("images-*.tar")
    aside = bundle.with_name("aside")
    bundle.rename(aside)
    mending.callback(box.hardtack, "images", "install", f"{KEPT}/bundles", "--import")
    mending.callback(aside.rename, bundle)
    box.do(*_ctr("images", "rm", _IMAGE))
    return "IfNotPresent"


def _always(proof: Proof, mending: ExitStack) -> str:
    files = proof.box.path(MANIFESTS).glob("*.yaml")
    for file in files:
        text = file.read_text()
        mending.callback(file.write_text, text)
        file.write_text(text.replace("IfNotPresent", "Always"))
    return "Always"


def _verified(proof: Proof, mending: ExitStack) -> str:
    """The kubelet asks the registry for what it didn't pull itself."""
    file = proof.box.path(f"/{kubelet.DROP_INS}/50-proof.conf")
    file.write_text("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
                    f"{kubelet.CREDENTIALS}: AlwaysVerify\n")  # fmt: skip
    mending.callback(proof.kubernetes.restart_kubelet)
    mending.callback(file.unlink)
    proof.kubernetes.restart_kubelet()
    return "IfNotPresent"


BREAKS: dict[Check, Break] = {
    Check.IMAGES_HERE: _no_image,
    Check.IMAGES_POLICY: _always,
    Check.IMAGES_CREDENTIALS: _verified,
}
"""Check → what breaks that."""


def cut_short(proof: Proof) -> None:
    """The power goes while the kubelet pulls the image; then a bundle brings it. The kubelet takes
    it for one that it pulled itself, and asks the registry."""
    box, records = proof.box, proof.box.path(_RECORDS)
    with proof.record.step(
        "cut the power in the middle of a pull; a bundle brings the image"
    ) as said:
        proof.record.network = "up"
        proof.network.mend()
        with _no_answer(proof), ExitStack() as mending:
            _no_image(proof, mending)
            proof.kubernetes.kubectl("-n", "edge", "run", _POD, "--image", _IMAGE, "--command",
                                     "--", "sleep", "1000")  # fmt: skip
            proof._until(lambda: any((records / "pulling").iterdir()))
            proof.record.network = "cut"
            proof.network.cut()
            proof.power_off()
            box.boot()
        proof.power_on(booted=True)
        amiss = {r["check"] for r in proof.is_ready()["rows"] if r["state"] != "ready"}
        expect(Check.IMAGES_CREDENTIALS in amiss, f"`ready` says {amiss or 'READY'}.")
        proof._until(lambda: told.waits_for(proof.kubernetes.get("pod", _POD)) in _REFUSED)
        said.append("the image is here, its pods don't start, `ready` said so")
        proof.kubernetes.stop_part("kubelet")
        for file in records.glob("pull*/sha256-*"):
            file.unlink()
        began = time.monotonic()
        proof.kubernetes.start_kubelet()
        said.append(f"the kubelet's notes removed: {proof.nine()} "
                    f"{format_duration(time.monotonic() - began)} later")  # fmt: skip
        expect(proof.is_ready()["ready"], "Mended, `ready` says that it isn't.")
        proof.kubernetes.kubectl("-n", "edge", "delete", "pod", _POD)
    proof.record.holds("an image whose pull a power cut ended is found out", "; ".join(said))


@contextmanager
def _no_answer(proof: Proof) -> Iterator[None]:
    """The registry is there, and says nothing: a pull hangs."""
    rules = ("table inet silent {\n chain input {\n type filter hook input priority -20;\n"
             " tcp dport 5000 drop;\n }\n}\n")  # fmt: skip
    nft = proof.network.at_site("nft", "-f", "-")
    subprocess.run(nft, input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(nft, input="delete table inet silent\n", text=True, check=True)


def uninstall(proof: Proof) -> None:
    """Take it all away: nothing of it is mounted, nothing runs."""
    with proof.record.step("helm uninstall, and the inference servers") as said:
        proof.kubernetes.kubectl("-n", "edge", "delete", "deployment", "reader")
        proof.helm("uninstall", "edge", "--wait")
        proof.kubernetes.kubectl("-n", "edge", "delete", "deployment,service", "-l",
                                 manifests.OWNED, "--cascade=foreground")  # fmt: skip
        proof._until(lambda: not proof.kubernetes.listed("pods"))
        mounted = [line for line in proof.box.do("cat", "/proc/self/mountinfo").splitlines()
                   if "fuse.hardtack" in line]  # fmt: skip
        expect(not mounted, "\n".join(mounted))
        left = [one["metadata"]["name"] for one in proof.kubernetes.listed(
            "deployments,daemonsets,services,roles,rolebindings,networkpolicies")]  # fmt: skip
        expect(not left, f"These are left: {left}")
        said.append("no pod, no mount, no object is left")
    proof.record.holds("taken away, it leaves no mount", said[0])
