"""The drill's story: a box from nothing to READY, broken, cut off, and brought up again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from drill import chart
from drill.cluster import write
from drill.hands import ENDPOINT, KEPT, LOCK, MANIFESTS, Hands
from drill.image import NEXT
from drill.load import cameras
from drill.site import PAUSE
from drill.steps import expect
from hardtack.core.units import format_duration, format_size
from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint.backends.kubernetes.manifests import deployment_name

_NEW = f"models/{SAMPLES[0].id}/notes.txt"
_PARTS = next(s for s in SAMPLES if s.name == "parts")
_FILE = f"models/{_PARTS.id}/primary/1/model.onnx"
"""The weights of the object detection."""


class Story(Hands):
    """The box's whole life, step by step; each step has its place in `run`."""

    def run(self) -> None:
        """Raises Broken, PodError or RuntimeError where something isn't as promised."""
        for step in (
            self.lock, self.bundle, self.install, self.prepare, self.start, self.see, self.ready,
            self.ask_online, self.count, self.kill_worker, self.replace_worker, self.evict,
            self.upgrade, self.prove, self.cut, self.reboot, self.ask_offline, self.flap,
            self.restore, self.new_generation, self.count_again,
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
            self._locked = len(self._lock())
            said.append(f"{self._locked} images by digest")

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
            whole = [row for row in rows if row["state"] == "ok"]
            expect(len(whole) == len(rows), f"The audit says {rows}")
            said.append(f"{len(whole)} names of {self._locked} images whole in containerd")
        self.record.holds("every image is on the box before a pod asks for it", said[0])

    def prepare(self) -> None:
        with self.record.step("prepare the box to come up alone") as said:
            said.append(f"{self._prepare()} changes")

    def _prepare(self) -> int:
        """How much `hardtack box prepare` had to change (of cgroups the drill has no say)."""
        done = self.box.json("box", "prepare", "--without", "cgroups")
        return int(done["changes"])

    def start(self) -> None:
        with self.record.step("start the pods of the chart") as said:
            content = self.box.path(chart.CACHE) / "content"
            expect(not any(content.rglob("*")), f"There are weights in {content} already.")
            self.cluster.apply(self.manifests)
            self.cluster.up()
            said.append(", ".join(key[1] for key in self.cluster.pods))

    def see(self) -> None:
        wanted = {key: len(body) for key, body in self.objects.items()}
        with self.record.step("the host and other pods see the mount") as said:
            self.cluster.apply([self._reader()])
            self.cluster.wait([("Deployment", "reader")])
            find = ("find", chart.MOUNT, "-type", "f", "-printf", "%P %s\n")
            host = _listed(self.box.do(*find))
            expect(host == wanted, f"The host sees {host}, the bucket has {wanted}.")
            pod = self.cluster.pods["Deployment", "reader"]
            code, output = self.cluster.kubelet.execute(pod, "reader", *find)
            expect(code == 0 and _listed(output) == wanted, f"Another pod sees {output}")
            self._watch().rounds(1)
            said.append(f"{len(host)} files on the host, {len(_listed(output))} in a pod, "
                        "names and sizes as in the bucket")  # fmt: skip
        self.record.holds("the host and other pods see the mount", said[0])

    def ready(self) -> None:
        with self.record.step("nine detectors ready, with no warm-up") as said:
            said.append(self._nine())
            jobs = [name for kind, name in self.cluster.objects if kind == "Job"]
            expect(not jobs, f"These are to run first: {', '.join(jobs)}")
            said.append(f"{len(jobs)} Jobs")
        self.record.holds("nine detectors come up with no warm-up", "; ".join(said))

    def ask_online(self) -> None:
        answers = self._ask("the Groundlight SDK asks all nine")
        self.record.holds("the SDK's queries are answered on the box", answers)
        with self.record.step("the object detection's weights came from the mount") as said:
            state = self.box.state_of(f"{chart.MOUNT}/{_FILE}")
            expect(state == "complete", f"{_FILE} is {state}.")
            pod = self.cluster.pods["Deployment", deployment_name(_PARTS.id)]
            code, line = self.cluster.kubelet.execute(
                pod, pod.spec["containers"][0]["name"], "cat", "/proc/1/cmdline"
            )
            model = next((w for w in line.split("\0") if w.startswith(f"{chart.MOUNT}/")), "")
            expect(code == 0 and f"{chart.MOUNT}/{_FILE}".startswith(f"{model or '?'}/"),
                   f"Its server runs as {line}")  # fmt: skip
            said.append(f"its server loads {model}")
            said.append(f"{format_size(len(self.objects[_FILE]))} on the box: none before the "
                        f"pods, {state} now")  # fmt: skip
        self.record.holds("weights are loaded from the mount", "; ".join(said))

    def count(self) -> None:
        with self.record.step("count bytes and packets") as said:
            status = self._status()
            unique = sum(map(len, set(self.objects.values())))
            fetched = status["fetched_bytes_total"]
            expect(fetched <= 1.02 * unique, f"{fetched} bytes were fetched of {unique}.")
            said.append(f"{format_size(fetched)} fetched of {format_size(unique)}")
            said.append(self._packets())
        self.record.holds("the cache fills on first read, each byte once",
                          f"{fetched} bytes fetched, {unique} in the bucket")  # fmt: skip

    def count_again(self) -> None:
        with self.record.step("count the packets of the box's whole life") as said:
            said.append(self._packets())
        self.record.holds("nobody but the registry, the bucket and its cloud is asked", said[0])

    def _packets(self) -> str:
        counted = {name: self.network.packets(name) for name in ("site", "cloud", "elsewhere")}
        expect(not counted["elsewhere"],
               f"Packets went to {', '.join(self.network.strangers())}.")  # fmt: skip
        return (f"{counted['site']} packets to registry and bucket, {counted['cloud']} to the "
                f"cloud, {counted['elsewhere']} elsewhere")  # fmt: skip

    # -- What breaks while it runs

    def kill_worker(self) -> None:
        self._under_load("kill -9 the mount's worker under load", self._kill)

    def replace_worker(self) -> None:
        self._under_load("replace the worker under load: mount --replace", lambda: self._in_mount(
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
        self._replaced(f"replace the worker by version {NEXT}: upgrade the chart", self._roll)

    def _roll(self) -> str:
        before = self._served()["version"]
        self.cluster.apply(self.manifests)
        self.cluster.wait([("Deployment", ENDPOINT)])
        self._until(lambda: self._served()["version"] == NEXT)
        return f"version {before} served, now {NEXT}"

    def evict(self) -> None:
        self._replaced("evict the mount's pod, and another comes",
                       lambda: self.cluster.evict(ENDPOINT))  # fmt: skip

    def _replaced(self, what: str, replace: Callable[[], str]) -> None:
        with self.record.step(what) as said:
            watch = self._watch()
            watch.anew()
            began = time.monotonic()
            said.append(replace())
            new = time.monotonic() - began
            self._nine()
            answers = time.monotonic() - began
            seen = watch.rounds(3)
            expect(not seen["wrong"] and not seen["held_failed"] and not seen["opened_failed"],
                   f"The reader saw {seen}.")  # fmt: skip
            said.append(f"a new pod after {format_duration(new)}")
            said.append(f"all detectors ready after {format_duration(answers)}")
            said.append(f"a reader with an open file waited {seen['waited']:.1f} s at most, "
                        f"{seen['held_failed'] + seen['opened_failed']} reads failed")  # fmt: skip
        self.record.holds(what, "; ".join(said))

    # -- With no network

    def prove(self) -> None:
        with self.record.step(
            "ask `hardtack ready`: would it come up with the cable pulled?"
        ) as said:
            self.fetch()
            report = self.is_ready()
            amiss = [row for row in report["rows"] if row["state"] != "ready"]
            expect(report["ready"], f"Not ready: {json.dumps(amiss, indent=1)}")
            self._proved = f"READY, {len(report['rows'])} rows"
            said.append(self._proved)

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
            ready = self._nine()
            said.append(f"{ready} {format_duration(time.monotonic() - began)} after power on")
        self.record.holds("the box comes up with the network cut", said[0])

    def ask_offline(self) -> None:
        answers = self._ask("the Groundlight SDK asks all nine")
        self._ready_again()
        self.record.holds("`hardtack ready` was right",
                          f"{self._proved} before the cut; after it {answers}")  # fmt: skip

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
            said.append(f"{times} times; {load.answered} answers, {len(load.failed)} failed, "
                        f"the slowest in {load.longest:.2f} s")  # fmt: skip
        self.record.holds("a flapping link costs no answer", said[0])
        self.record.network = "cut"

    def restore(self) -> None:
        sample = next(s for s in SAMPLES if s.name == "shape")
        with self.record.step("ask what the box is unsure of") as said:
            asked = [self._post(sample, confidence_threshold="1.0") for _ in range(3)]
            own = [query["id"] for query in asked if query["result"]["from_edge"]]
            expect(len(own) == len(asked), f"The cloud is away, and {asked}")
            queued = self._told()["cloud"]["queue"]["size"]
            said.append(f"{len(own)} answers of the box, queue: {queued} for the cloud")
            expect(queued >= len(own), f"The queue holds {queued}.")
        self.record.network = "up"
        with self.record.step("plug the cable in: the queue is delivered") as said:
            self.network.mend()
            self._until(lambda: not self._told()["cloud"]["queue"]["size"])
            there = [identity for identity in own if identity in self.site.cloud.received]
            expect(there == own, f"The cloud has {list(self.site.cloud.received)}, not {own}.")
            said.append(f"{len(there)} of {len(own)} image queries in the cloud")
        self.record.holds("what the box was unsure of reaches the cloud later", said[0])

    def new_generation(self) -> None:
        with self.record.step("put an object: a new generation is seen") as said:
            before = self._served()["generation"]
            self.site.put({_NEW: b"a new model is being tried\n"})
            path = f"{chart.MOUNT}/{_NEW}"
            self._until(lambda: self.box.tried("test", "-s", path))
            expect(self.box.do("cat", path) == "a new model is being tried\n", "It reads wrong.")
            said.append(f"generation {before}, then {self._served()['generation']}")
            said.append(f"{_NEW} put, and read on the box")
        self.record.holds("new weights appear by themselves", "; ".join(said))


def _listed(text: str) -> dict[str, int]:
    """Name → size, of lines with both; what the mount says of itself left out."""
    pairs = (line.rsplit(" ", 1) for line in text.splitlines())
    return {name: int(size) for name, size in pairs if not name.startswith(".hardtack")}
