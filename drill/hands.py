"""What the drill's steps have in common: asking the box, its pods and its endpoint."""

from __future__ import annotations

import http.client
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drill import chart, reader
from drill.cluster import Cluster
from drill.ground import Ground
from drill.image import TAG
from drill.load import cameras
from drill.site import BUCKET, REGISTRY
from drill.steps import Record, expect
from hardtack.core.units import format_duration
from hardtack.demo import detectors
from hardtack.demo.detectors import SAMPLES, Sample
from hardtack.endpoint.backends.kubernetes.manifests import deployment_name

SOURCE = f"s3://{BUCKET}"
KEPT = "/var/lib/hardtack"
LOCK = f"{KEPT}/images.lock"
MANIFESTS = "/var/lib/rancher/k3s/server/manifests"
ENDPOINT = "edge-endpoint"
TOKEN = "api_" + "d" * 60


@dataclass(frozen=True)
class Lengths:
    """How long the parts last that could last for ever, in seconds."""

    flap: float = 60.0
    load: float = 5.0


class Questions:
    """A box, and what is asked of it and its endpoint, whatever runs its pods."""

    def __init__(self, record: Record, ground: Ground) -> None:
        self.record = record
        self.network, self.site, self.box = ground.network, ground.site, ground.box
        self.objects = detectors.objects()
        self.releases: list[str] = []

    @property
    def url(self) -> str:
        """The endpoint's, by plain HTTP."""
        raise NotImplementedError

    def is_ready(
        self, *more: str, source: Sequence[str] = (SOURCE,), env: Mapping[str, str] | None = None
    ) -> Any:
        """What `hardtack ready` says on the box."""
        report = self.box.json(
            "ready", *source, "--lock", LOCK, "--deployment", MANIFESTS,
            "--detectors", f"{KEPT}/detectors.yaml", "--state", f"{chart.EDGE}/endpoint",
            "--horizon", "30d", *more, env=self.weights | dict(env or {}), codes=(0, 1),
        )  # fmt: skip
        expect(isinstance(report, dict), "It says nothing.")
        return report

    def fetch(self) -> None:
        """Have all that is listed now fetched, verified, and kept as a release."""
        self.releases.append(f"drill-{len(self.releases) + 1}-{time.monotonic_ns()}")
        self.box.hardtack("pin", SOURCE, self.releases[-1], env=self.weights)
        self.box.hardtack("prefetch", SOURCE, env=self.weights)

    def until_listed(self, key: str, *, there: bool) -> None:
        """Until the mount shows the key, or no longer."""
        self._until(lambda: self.box.tried("test", "-e", f"{chart.MOUNT}/{key}") == there)

    @property
    def _registry(self) -> dict[str, str]:
        return {"HARDTACK_INSECURE_REGISTRY": REGISTRY}

    @property
    def weights(self) -> dict[str, str]:
        return {"HARDTACK_CACHE": chart.CACHE, "HARDTACK_KEEP_FREE": "0",
                **self.site.s3.env}  # fmt: skip

    def _all_ready(self) -> bool:
        try:
            return bool(self._get("/health/ready")["ready"])
        except (OSError, http.client.HTTPException):
            return False

    def _told(self) -> Any:
        return self._get("/status/metrics.json")

    def _get(self, path: str) -> Any:
        return self._request("GET", path, None)

    def _post(self, sample: Sample, **parameters: str) -> Any:
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        path = f"/device-api/v1/image-queries?detector_id={sample.id}&{query}"
        return self._request("POST", path, sample.picture())

    def _request(self, method: str, path: str, body: bytes | None) -> Any:
        host = self.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            headers = {"content-type": "image/png", "x-api-token": TOKEN}
            connection.request(method, path, body, headers)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def _ask(self, what: str) -> str:
        from groundlight import Groundlight

        logging.getLogger("groundlight").setLevel(logging.ERROR)  # of no use: its token doesn't age
        with self.record.step(what) as said:
            client = Groundlight(endpoint=f"{self.url}/", api_token=TOKEN)
            right = 0
            for sample in SAMPLES:
                query = client.submit_image_query(sample.id, sample.picture(), wait=0)
                found = _said(sample, query)
                expect(query.result.from_edge is True, f"{sample.name} came from the cloud.")
                expect(found == sample.shows, f"{sample.name} shows {sample.shows}: {found}.")
                right += 1
            said.append(f"{right} of {len(SAMPLES)} right, from_edge: true")
        return said[0]

    def _ready_again(self) -> None:
        with self.record.step("ask `hardtack ready` again, with no network") as said:
            report = self.is_ready()
            expect(report["ready"], f"`hardtack ready` says now: {report}")
            said.append(f"READY, {len(report['rows'])} rows")

    def _until(self, true: Callable[[], object], seconds: float = 600) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            expect(time.monotonic() < deadline,
                   f"It doesn't become so in {format_duration(seconds)}.")  # fmt: skip
            time.sleep(0.1)


class Hands(Questions):
    """A box under drill, and what is done to it again and again."""

    def __init__(self, record: Record, ground: Ground, cluster: Cluster, lengths: Lengths) -> None:
        super().__init__(record, ground)
        self.cluster = cluster
        self.lengths = lengths
        self.manifests = chart.rendered(TAG)
        self._locked = 0
        self._proved = ""

    @property
    def url(self) -> str:
        return f"http://{self.cluster.address('edge-endpoint-service')}:{chart.PORT}"

    def _reader(self) -> dict[str, Any]:
        largest = max(self.objects, key=lambda key: len(self.objects[key]))
        image = f"{REGISTRY}/hardtack/hardtack:{TAG}"
        spec = reader.spec(image, f"{chart.MOUNT}/{largest}", chart.EDGE)
        labels = {"app": "reader"}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "reader"},
                "spec": {"selector": {"matchLabels": labels},
                         "template": {"metadata": {"labels": labels}, "spec": spec}}}  # fmt: skip

    def _watch(self) -> reader.Reader:
        pod = self.cluster.pods["Deployment", "reader"]
        place: Path = self.box.directory / "kubelet" / pod.name / "volumes/report/seen"
        return reader.Reader(place)

    def _under_load(self, what: str, do: Callable[[], object]) -> None:
        with self.record.step(what) as said:
            watch = self._watch()
            watch.anew()
            with cameras(self.url) as load:
                watch.rounds(2)
                do()
                watch.rounds(5)
                time.sleep(self.lengths.load)
            seen = watch.rounds(1)
            expect(not load.failed, f"{len(load.failed)} failed, such as {load.failed[:1]}")
            expect(not (seen["held_failed"] or seen["opened_failed"] or seen["wrong"]),
                   f"The reader saw {seen}.")  # fmt: skip
            failed = len(load.failed) + seen["held_failed"] + seen["opened_failed"]
            said.append(f"{load.answered} answers and {seen['held'] + seen['opened']} reads, "
                        f"{failed} failed; the longest read {seen['waited']:.2f} s")  # fmt: skip
        self.record.holds(what, said[0])

    def _kill(self) -> None:
        before = self._served()["worker"]
        self._in_mount("sh", "-c", f"kill -9 {before}")
        self._until(lambda: self._served()["worker"] != before)

    def _served(self) -> Any:
        return json.loads(self._in_mount("cat", f"{chart.MOUNT}/.hardtack"))

    def _status(self) -> Any:
        return json.loads(self._in_mount("hardtack", "status", chart.MOUNT, "--json"))[chart.MOUNT]

    def _in_mount(self, *command: str) -> str:
        pod = self.cluster.pods["Deployment", ENDPOINT]
        code, output = self.cluster.kubelet.execute(pod, "mount", *command)
        expect(code == 0, f"In the mount's container, {' '.join(command)}: {output}")
        return output

    def _nine(self) -> str:
        """How many detectors are ready: all, or it raises Broken in the end."""
        self._until(self._all_ready)
        servers = [self.cluster.pods.get(("Deployment", deployment_name(s.id))) for s in SAMPLES]
        count = len([pod for pod in servers if pod is not None])
        expect(count == len(SAMPLES), f"{count} of {len(SAMPLES)} servers have a pod.")
        return f"{count} of {len(SAMPLES)} detectors ready, each by its own server"


def _said(sample: Sample, query: Any) -> str | int:
    """What the SDK's image query says, as the sample has it."""
    if sample.task == "boxes":
        return len(query.rois or ())
    for name in ("count", "text"):
        if (found := getattr(query.result, name, None)) is not None:
            return found  # type: ignore[no-any-return]
    return str(getattr(query.result.label, "value", query.result.label))
