"""The drill's story: a box from nothing to READY, broken, cut off, and brought up again."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drill import chart, reader
from drill.box import Box
from drill.cluster import Cluster, write
from drill.load import cameras
from drill.network import Network
from drill.site import BUCKET, PAUSE, REGISTRY, Site
from drill.steps import Record, expect
from hardtack.core.units import format_duration, format_size
from hardtack.demo import detectors
from hardtack.demo.detectors import SAMPLES, Sample

TAG = "1.0"
NEXT = "1.1"
SOURCE = f"s3://{BUCKET}"
KEPT = "/var/lib/hardtack"
LOCK = f"{KEPT}/images.lock"
MANIFESTS = "/var/lib/rancher/k3s/server/manifests"
ENDPOINT = "edge-endpoint"
TOKEN = "api_" + "d" * 60
_NEW = f"models/{SAMPLES[0].id}/notes.txt"


@dataclass(frozen=True)
class Lengths:
    """How long the parts last that could last for ever, in seconds."""

    flap: float = 60.0
    load: float = 5.0


class Story:
    """The box's whole life, step by step; each step has its place in `run`."""

    def __init__(
        self, record: Record, network: Network, site: Site, box: Box, cluster: Cluster,
        lengths: Lengths,
    ) -> None:  # fmt: skip
        self.record = record
        self.network = network
        self.site = site
        self.box = box
        self.cluster = cluster
        self.lengths = lengths
        self.objects = detectors.objects()
        self.manifests = chart.rendered(TAG)
        self.releases: list[str] = []

    def run(self) -> None:
        """Raises Broken, PodError or RuntimeError where something isn't as promised."""
        for step in (
            self.lock, self.bundle, self.install, self.prepare, self.start, self.see, self.ready,
            self.ask_online, self.count, self.kill_worker, self.replace_worker, self.evict,
            self.upgrade, self.prove, self.cut, self.reboot, self.ask_offline, self.flap,
            self.restore, self.new_generation,
        ):  # fmt: skip
            step()

    def run_to_ready(self) -> None:
        """As much of it as `hardtack ready` needs."""
        for step in (
            self.lock, self.bundle, self.install, self.prepare, self.start, self.see, self.ready,
            self.upgrade, self.prove,
        ):  # fmt: skip
            step()

    # -- From nothing to ready

    def lock(self) -> None:
        with self.record.step("lock what the chart names") as said:
            self._write()
            locked = self._lock()
            said.append(f"{len(locked)} images by digest")

    def _lock(self) -> Any:
        return self.box.json(
            "images", "lock", MANIFESTS, "--lock", LOCK,
            "--k3s-images", f"{KEPT}/k3s-images.txt", env=self._registry,
        )  # fmt: skip

    def _write(self) -> None:
        """The deployment's files on the box's disk, where k3s and `ready` find them."""
        write(self.manifests, self.box.path(MANIFESTS))
        maps = (m["data"] for m in self.manifests if m["kind"] == "ConfigMap")
        given = next(data["detectors.yaml"] for data in maps if "detectors.yaml" in data)
        self.box.path(f"{KEPT}/detectors.yaml").write_text(given)
        self.box.path(f"{KEPT}/k3s-images.txt").write_text(f"{PAUSE}\n")

    def bundle(self) -> None:
        with self.record.step("pull the bundle") as said:
            done = self.box.json("images", "pull", "--lock", LOCK, "--out", f"{KEPT}/bundles",
                                 env=self._registry)  # fmt: skip
            said.append(format_size(done["fetched_bytes"]))

    def install(self) -> None:
        with self.record.step("install it, load it into containerd") as said:
            self.box.hardtack("images", "install", f"{KEPT}/bundles", "--import")
            rows = self.box.json("images", "audit", "--lock", LOCK)
            said.append(f"{len(rows)} names of images audited")
        self.record.holds("every image is on the box before a pod asks for it",
                          f"{len(rows)} names of 2 images whole in containerd")  # fmt: skip

    def prepare(self) -> None:
        with self.record.step("prepare the box to come up alone") as said:
            said.append(f"{self._prepare()} changes")

    def _prepare(self) -> int:
        """How much `hardtack box prepare` had to change (of cgroups the drill has no say)."""
        done = self.box.json("box", "prepare", "--without", "cgroups")
        return int(done["changes"])

    def start(self) -> None:
        with self.record.step("start the pods of the chart") as said:
            self.cluster.apply(self.manifests)
            self.cluster.up()
            said.append(", ".join(key[1] for key in self.cluster.pods))

    def see(self) -> None:
        wanted = {key: len(body) for key, body in self.objects.items()}
        with self.record.step("the host and other pods see the mount") as said:
            self.cluster.apply([self._reader()])
            self.cluster.wait([("Deployment", "reader")])
            listed = self.box.do("find", chart.MOUNT, "-type", "f", "-printf", "%P %s\n")
            pairs = (line.rsplit(" ", 1) for line in listed.splitlines())
            seen = {name: int(size) for name, size in pairs if not name.startswith(".hardtack")}
            expect(seen == wanted, f"The host sees {seen}, the bucket has {wanted}.")
            code, said_there = self.cluster.kubelet.execute(
                self.cluster.pods["Deployment", "reader"], "reader", "find", chart.MOUNT,
                "-type", "f",
            )  # fmt: skip
            there = [line for line in said_there.splitlines() if "/.hardtack" not in line]
            expect(code == 0 and len(there) == len(wanted), f"Another pod sees {said_there}")
            self._watch().rounds(1)
            said.append(f"{len(wanted)} files in both")
        self.record.holds("the host and other pods see the mount",
                          f"{len(wanted)} files, names and sizes as in the bucket")  # fmt: skip

    def ready(self) -> None:
        with self.record.step("nine detectors ready, with no warm-up") as said:
            self._until(self._all_ready)
            said.append(f"{len(SAMPLES)} of {len(SAMPLES)}")
        self.record.holds("nine detectors come up with no warm-up", self.record.steps[-1].result)

    def ask_online(self) -> None:
        self._ask("the Groundlight SDK asks all nine")
        self.record.holds("the SDK's queries are answered on the box",
                          "from_edge: true from all nine")  # fmt: skip
        with self.record.step("the object detection's weights came from the mount") as said:
            sample = next(s for s in SAMPLES if s.name == "parts")
            path = f"{chart.MOUNT}/models/{sample.id}/primary/1/model.onnx"
            state = self.box.state_of(path)
            expect(state == "complete", f"{path} is {state}.")
            size = len(self.objects[path.removeprefix(f"{chart.MOUNT}/")])
            said.append(f"{format_size(size)}, absent before, {state} now")
        self.record.holds("weights are loaded from the mount", self.record.steps[-1].result)

    def count(self) -> None:
        with self.record.step("count bytes and packets") as said:
            status = self._status()
            unique = sum(map(len, set(self.objects.values())))
            fetched = status["fetched_bytes_total"]
            expect(fetched <= 1.02 * unique, f"{fetched} bytes were fetched of {unique}.")
            packets = {name: self.network.packets(name) for name in ("site", "cloud", "elsewhere")}
            expect(not packets["elsewhere"],
                   f"Packets went to {', '.join(self.network.strangers())}.")  # fmt: skip
            said.append(f"{format_size(fetched)} fetched of {format_size(unique)}")
            said.append(", ".join(f"{n} packets to {name}" for name, n in packets.items()))
        self.record.holds("the cache fills on first read, each byte once",
                          f"{fetched} bytes fetched, {unique} in the bucket")  # fmt: skip
        self.record.holds("nobody but the registry and the bucket is asked",
                          f"{packets['site']} packets to them, 0 elsewhere")  # fmt: skip

    # -- What breaks while it runs

    def kill_worker(self) -> None:
        self._under_load("kill -9 the mount's worker under load", self._kill)

    def replace_worker(self) -> None:
        self._under_load("replace the worker: mount --replace", lambda: self._in_mount(
            "hardtack", "mount", "--replace", chart.MOUNT))  # fmt: skip

    def upgrade(self) -> None:
        """Another version of everything, carried to the box before its pods are replaced."""
        with self.record.step(f"lock, pull and install version {NEXT}") as said:
            self.manifests = chart.rendered(NEXT)
            self._write()
            self._lock()
            done = self.box.json("images", "pull", "--lock", LOCK, "--out", f"{KEPT}/bundles",
                                 env=self._registry)  # fmt: skip
            self.box.hardtack("images", "install", f"{KEPT}/bundles", "--import")
            said.append(f"{format_size(done['fetched_bytes'])} fetched")
        self._replaced(f"replace the mount by version {NEXT}: upgrade the chart", self._roll)

    def _roll(self) -> None:
        self.cluster.apply(self.manifests)
        self.cluster.wait([("Deployment", ENDPOINT)])

    def evict(self) -> None:
        self._replaced("evict the mount's pod, and another comes",
                       lambda: self.cluster.evict(ENDPOINT))  # fmt: skip

    def _replaced(self, what: str, replace: Callable[[], object]) -> None:
        with self.record.step(what) as said:
            watch = self._watch()
            watch.anew()
            began = time.monotonic()
            replace()
            new = time.monotonic() - began
            self._until(self._all_ready)
            answers = time.monotonic() - began
            seen = watch.rounds(3)
            expect(not seen["wrong"] and not seen["held_failed"] and not seen["opened_failed"],
                   f"The reader saw {seen}.")  # fmt: skip
            said.append(f"a new pod after {format_duration(new)}")
            said.append(f"nine detectors after {format_duration(answers)}")
            said.append(f"a reader with an open file waited {seen['waited']:.1f} s at most, "
                        "no read failed")  # fmt: skip
        self.record.holds(what, "; ".join(said[1:]))

    # -- With no network

    def prove(self) -> None:
        with self.record.step(
            "ask `hardtack ready`: would it come up with the cable pulled?"
        ) as said:
            self.fetch()
            report = self.is_ready()
            amiss = [row for row in report["rows"] if row["state"] != "ready"]
            expect(report["ready"], f"Not ready: {json.dumps(amiss, indent=1)}")
            said.append(f"READY, {len(report['rows'])} rows")

    def cut(self) -> None:
        self.record.network = "cut"
        self.network.cut()

    def reboot(self) -> None:
        with self.record.step("cut the power; the kernel forgets what it read"):
            self.cluster.down()
            self.box.power_off()
            self.network.no_lease()
        with self.record.step("power on, with no network") as said:
            began = time.monotonic()
            self.box.boot()
            self._prepare()
            self.cluster.up()
            self._until(self._all_ready)
            took = format_duration(time.monotonic() - began)
            said.append("nine detectors ready")
        self.record.holds("the box comes up with the network cut",
                          f"nine detectors ready {took} after power on")  # fmt: skip

    def ask_offline(self) -> None:
        self._ask("the Groundlight SDK asks all nine")
        report = self.is_ready()
        expect(report["ready"], f"`hardtack ready` says now: {report}")
        self.record.holds("`hardtack ready` was right",
                          "READY before the cut, and up after it; READY offline too")  # fmt: skip

    def flap(self) -> None:
        self.record.network = "flap"
        seconds = self.lengths.flap
        with self.record.step(f"flap the link for {seconds:.0f} s under load") as said:
            with cameras(self.url) as load:
                end = time.monotonic() + seconds
                times = 0
                while time.monotonic() < end:
                    for change, wait in ((self.network.mend, 1.5), (self.network.cut, 1.0)):
                        change()
                        time.sleep(wait)
                    times += 1
            expect(not load.failed, f"{len(load.failed)} failed, such as {load.failed[:1]}")
            said.append(f"{times} times; {load.answered} answers, none failed, "
                        f"the slowest in {load.longest:.2f} s")  # fmt: skip
        self.record.holds("a flapping link costs no answer", said[0])
        self.record.network = "cut"

    def restore(self) -> None:
        sample = next(s for s in SAMPLES if s.name == "shape")
        with self.record.step("ask what the box is unsure of") as said:
            for _ in range(3):
                query = self._post(sample, confidence_threshold="1.0")
                expect(query["result"]["from_edge"], f"The cloud is away, and {query}")
            queued = self._told()["cloud"]["queue"]
            said.append(f"3 answers of the box, queue: {queued['size']} for the cloud")
            expect(queued["size"] >= 3, f"The queue holds {queued}.")
        self.record.network = "up"
        with self.record.step("plug the cable in: the queue is delivered") as said:
            self.network.mend()
            self.site.cloud.wait_for(3, 120)
            self._until(lambda: not self._told()["cloud"]["queue"]["size"])
            said.append(f"{len(self.site.cloud.received)} image queries in the cloud")
        self.record.holds("what the box was unsure of reaches the cloud later", said[0])

    def new_generation(self) -> None:
        with self.record.step("put an object: a new generation is seen") as said:
            self.site.put({_NEW: b"a new model is being tried\n"})
            path = f"{chart.MOUNT}/{_NEW}"
            self._until(lambda: self.box.tried("test", "-s", path))
            expect(self.box.do("cat", path) == "a new model is being tried\n", "It reads wrong.")
            said.append(_NEW)
        self.record.holds("new weights appear by themselves", f"{_NEW} put, and read on the box")

    # -- What the steps have in common

    @property
    def url(self) -> str:
        return f"http://{self.cluster.address('edge-endpoint-service')}:{chart.PORT}"

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
            said.append(f"{load.answered} answers and {seen['held'] + seen['opened']} reads, "
                        f"none failed; the longest read {seen['waited']:.2f} s")  # fmt: skip
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

    def _ask(self, what: str) -> None:
        from groundlight import Groundlight

        with self.record.step(what) as said:
            client = Groundlight(endpoint=f"{self.url}/", api_token=TOKEN)
            for sample in SAMPLES:
                query = client.submit_image_query(sample.id, sample.picture(), wait=0)
                found = _said(sample, query)
                expect(query.result.from_edge is True, f"{sample.name} came from the cloud.")
                expect(found == sample.shows, f"{sample.name} shows {sample.shows}: {found}.")
            said.append(f"{len(SAMPLES)} of {len(SAMPLES)} right, from_edge: true")

    def _until(self, true: Callable[[], object], seconds: float = 600) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            expect(time.monotonic() < deadline, "It doesn't become so in ten minutes.")
            time.sleep(0.1)


def _said(sample: Sample, query: Any) -> str | int:
    """What the SDK's image query says, as the sample has it."""
    if sample.task == "boxes":
        return len(query.rois or ())
    for name in ("count", "text"):
        if (found := getattr(query.result, name, None)) is not None:
            return found  # type: ignore[no-any-return]
    return str(getattr(query.result.label, "value", query.result.label))
