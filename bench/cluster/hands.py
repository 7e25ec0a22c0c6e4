"""What the proof's steps have in common: Helm, pods, cameras and a reader on a real cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from drill.ground import Ground
from drill.hands import ENDPOINT, KEPT, LOCK, MANIFESTS, Questions
from drill.image import TAG
from drill.load import Load, cameras
from drill.site import PAUSE, REGISTRY
from drill.steps import Record, expect
from tests.support.chart import CHART
from tests.support.helm import helm

from bench.cluster import told
from bench.cluster.control import Kubernetes, said_by
from bench.cluster.told import Object
from drill import chart, reader
from hardtack.core.units import format_duration
from hardtack.demo.detectors import SAMPLES, Sample
from hardtack.endpoint.backends.kubernetes import manifests

SELECTED = "app.kubernetes.io/component=endpoint"
INFERENCE = manifests.OWNED
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_REPORT = "/var/lib/rancher/kubelet/pods/{}/volumes/kubernetes.io~empty-dir/report/seen"


def values(tag: str) -> Object:
    """The drill's values, and an ECR that can't be reached: its pull secret is never made."""
    return {**chart.values(tag), "ecrRegistry": "123456789012.dkr.ecr.us-west-2.amazonaws.com"}


class ClusterHands(Questions):
    """A box with a Kubernetes on it; `values` are Helm's."""

    def __init__(self, record: Record, ground: Ground, kubernetes: Kubernetes) -> None:
        super().__init__(record, ground)
        self.kubernetes = kubernetes
        self.values = values(TAG)

    @property
    def url(self) -> str:
        return f"http://{self.kubernetes.address}:{chart.PORT}"

    # -- Images and manifests

    def install_images(self, tag: str) -> None:
        """Values and manifests with our image at `tag`; it is locked, pulled, and loaded."""
        self.values = values(tag)
        self.box.path(f"{KEPT}/values.yaml").write_text(yaml.safe_dump(self.values))
        self.box.hardtack(
            "deploy", "render", "--values", f"{KEPT}/values.yaml", "--output", MANIFESTS,
            "--kubernetes", self.kubernetes.version, env={"PATH": f"{helm(3).parent}:{_PATH}"},
        )  # fmt: skip
        given = yaml.safe_dump({"detectors": self.values["detectors"]})
        self.box.path(f"{KEPT}/detectors.yaml").write_text(given)
        self.box.path(f"{KEPT}/k3s-images.txt").write_text(f"{PAUSE}\n")
        self.box.hardtack("images", "lock", MANIFESTS, "--lock", LOCK, "--k3s-images",
                          f"{KEPT}/k3s-images.txt", env=self._registry)  # fmt: skip
        self.box.hardtack("images", "pull", "--lock", LOCK, "--out", f"{KEPT}/bundles",
                          env=self._registry)  # fmt: skip
        self.box.hardtack("images", "install", f"{KEPT}/bundles", "--import")

    def helm(self, *arguments: str, given: Object | None = None) -> str:
        """Its output; `given` are values."""
        values = yaml.safe_dump(given) if given else None
        return said_by(
            str(helm(3)), "--kubeconfig", str(self.kubernetes.kubeconfig), "-n", "edge",
            *arguments, *(("--values", "-") if given else ()), given=values,
            env={"HOME": str(self.kubernetes.logs), "PATH": _PATH},
        )  # fmt: skip

    def release(self, verb: str) -> None:
        """`helm install` or `upgrade`, until the endpoint's new pod is ready."""
        self.helm(verb, "edge", str(CHART), given=self.values)
        self.kubernetes.kubectl("-n", "edge", "rollout", "status", f"deployment/{ENDPOINT}",
                                "--timeout", "300s")  # fmt: skip

    # -- Pods

    def pods(self, selector: str) -> list[Object]:
        return self.kubernetes.listed("pods", "-l", selector)

    def is_alone(self, selector: str) -> bool:
        """Whether there is one pod of it, ready."""
        found = self.pods(selector)
        return len(found) == 1 and told.is_ready(found[0])

    def of(self, sample: Sample) -> Object:
        """A detector's Deployment."""
        found: Object = self.kubernetes.get("deployment", manifests.deployment_name(sample.id))
        return found

    def rolled(self, sample: Sample) -> bool:
        """Whether its one pod is what its Deployment says."""
        found = self.of(sample)
        status = found.get("status", {})
        return status.get("observedGeneration") == found["metadata"]["generation"] and all(
            status.get(name) == 1 for name in ("replicas", "updatedReplicas", "readyReplicas")
        )

    def in_mount(self, *command: str) -> str:
        return self.kubernetes.kubectl("-n", "edge", "exec", f"deployment/{ENDPOINT}", "-c",
                                       "mount", "--", *command)  # fmt: skip

    def nine(self) -> str:
        self._until(self._all_ready, 600)
        ready = [pod for pod in self.pods(INFERENCE) if told.is_ready(pod)]
        expect(len(ready) >= len(SAMPLES), f"{len(ready)} of {len(SAMPLES)} servers are ready.")
        return f"{len(SAMPLES)} of {len(SAMPLES)} detectors ready, each by its own server"

    def expect_no_pull(self) -> str:
        """No event of the cluster's last hour is of a pull."""
        events = self.kubernetes.listed("events")
        found = told.pulls(events)
        expect(not found, "\n".join(found))
        return f"no pull in {len(events)} events"

    # -- A reader and cameras

    def start_reader(self) -> None:
        largest = max(self.objects, key=lambda key: len(self.objects[key]))
        image = f"{REGISTRY}/hardtack/hardtack:{TAG}"
        labels = {"app": "reader"}
        self.kubernetes.apply({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "reader", "namespace": "edge"},
            "spec": {"selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": reader.spec(image, f"{chart.MOUNT}/{largest}", chart.EDGE)}},
        })  # fmt: skip
        self.kubernetes.kubectl("-n", "edge", "rollout", "status", "deployment/reader",
                                "--timeout", "120s")  # fmt: skip

    def reading(self) -> reader.Reader:
        (pod,) = self.pods("app=reader")
        return reader.Reader(self.box.path(_REPORT.format(pod["metadata"]["uid"])))

    @contextmanager
    def under_load(self, said: list[str], settle: float = 5.0) -> Iterator[Load]:
        """Cameras ask and a reader reads meanwhile and `settle` seconds longer; no read fails."""
        watch = self.reading()
        watch.anew()
        began = time.monotonic()
        with cameras(self.url) as load:
            yield load
            took = time.monotonic() - began
            time.sleep(settle)
        seen = watch.rounds(1)
        expect(not (seen["held_failed"] or seen["opened_failed"] or seen["wrong"]),
               f"The reader saw {seen}.")  # fmt: skip
        said.append(f"{format_duration(took)}; {load.answered} answers of the box, "
                    f"{len(load.failed)} others; a read waited {seen['waited']:.1f} s at "
                    "most")  # fmt: skip
