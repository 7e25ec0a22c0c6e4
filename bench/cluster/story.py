"""The proof's story: Helm installs the chart on a real Kubernetes, and the cable is pulled."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from drill.hands import ENDPOINT
from drill.image import NEXT, TAG
from drill.network import BOX
from drill.steps import expect

from bench.cluster import told
from bench.cluster.hands import INFERENCE, SELECTED, ClusterHands
from drill import chart
from hardtack.core.units import format_duration
from hardtack.demo.detectors import SAMPLES
from hardtack.deploy.prepare import route
from hardtack.endpoint.backends.kubernetes import manifests

_DIGIT = next(sample for sample in SAMPLES if sample.name == "digit")
_STARTING = 2
"""How many detectors the endpoint lets load at a time, unless told."""
_CONFLICT = "get"
"""Asked only where two change one object in the same moment."""


class Proof(ClusterHands):
    """The box's whole life, step by step; each step has its place in `run`."""

    def run(self) -> None:
        """Raises Broken or RuntimeError where something isn't as promised."""
        for step in (
            self.images, self.prepare, self.start, self.install, self.test, self.ask,
            self.ask_from_site, self.see, self.roll, self.evict, self.kill, self.replace,
            self.restart_kubelet, self.disable, self.upgrade, self.rights, self.prove,
            self.reboot, self.ask_offline,
        ):  # fmt: skip
            step()

    # -- From nothing to nine detectors

    def images(self) -> None:
        with self.record.step("lock what the chart names, pull it, load it into containerd"):
            self.install_images(TAG)

    def prepare(self) -> None:
        with self.record.step("prepare the box to come up alone") as said:
            done = self.box.json("box", "prepare", "--without", "cgroups")
            said.append(f"{done['changes']} changes")

    def start(self) -> None:
        with self.record.step("start Kubernetes: control plane, kube-proxy, kubelet") as said:
            self.kubernetes.install()
            self.kubernetes.start()
            self.kubernetes.serve_names(route.ADDRESS)
            node = self.kubernetes.get("node", "box")["status"]["nodeInfo"]
            said.append(f"{node['kubeletVersion']}, {node['containerRuntimeVersion']}")

    def install(self) -> None:
        with self.record.step("helm install; nine detectors ready") as said:
            self.kubernetes.kubectl("create", "namespace", "edge")
            self.kubernetes.apply(chart.SECRET)
            began = time.monotonic()
            self.release("install")
            said.append(f"the endpoint after {format_duration(time.monotonic() - began)}")
            said.append(self.nine())
            jobs = self.kubernetes.listed("jobs")
            expect(not jobs, f"These were to run first: {jobs}")
            said.append(f"{len(jobs)} Jobs")
            said.append(self.expect_no_pull())
        self.record.holds("the chart comes up on a real Kubernetes, without a pull",
                          "; ".join(said))  # fmt: skip

    def test(self) -> None:
        with self.record.step("helm test") as said:
            told_by_helm = self.helm("test", "edge")
            said.append(f"{told_by_helm.count('Succeeded')} of 2 succeeded")
            expect(told_by_helm.count("Succeeded") == 2, told_by_helm)
        self.record.holds("`helm test` asks by the Service's name", said[0])

    def ask(self) -> None:
        self.record.holds("the SDK's queries are answered on the box",
                          self._ask("the Groundlight SDK asks all nine"))  # fmt: skip

    def ask_from_site(self) -> None:
        """The node's address is one that no cable takes away; cameras know the cable's."""
        with self.record.step("a camera asks over the cable, by the box's address") as said:
            with self.network.visiting_site():
                asked = http.client.HTTPConnection(BOX, chart.PORT, timeout=10)
                asked.request("GET", "/health/ready")
                status = asked.getresponse().status
                asked.close()
            expect(status == 200, f"{BOX}:{chart.PORT} answers {status}.")
            said.append(f"{BOX}:{chart.PORT} answers; the node is {self.kubernetes.address}")
        self.record.holds("cameras reach the endpoint by the box's address", said[0])

    def see(self) -> None:
        find = ("find", chart.MOUNT, "-type", "f", "-not", "-name", ".hardtack*")
        with self.record.step("the host and other pods see the mount") as said:
            self.start_reader()
            host = self.box.do(*find).split()
            pod = self.kubernetes.kubectl("-n", "edge", "exec", "deployment/reader", "--",
                                          *find).split()  # fmt: skip
            expect(len(host) == len(self.objects) and sorted(host) == sorted(pod),
                   f"The host sees {host}, another pod {pod}.")  # fmt: skip
            self.reading().rounds(1)
            said.append(f"{len(host)} files on the host, the same in a pod")
        self.record.holds("the mount reaches the host and other pods", said[0])

    # -- What changes and breaks while it runs

    def roll(self) -> None:
        new = {
            key.replace("/primary/1/", "/primary/2/"): body
            for key, body in self.objects.items() if f"/{_DIGIT.id}/" in key
        }  # fmt: skip
        with self.record.step("a new version of a model, under load") as said:
            with self.under_load(said) as load:
                self.site.put(new)
                self._until(lambda: self._version() == "2" and self.rolled(_DIGIT))
            expect(not load.failed, f"{len(load.failed)} failed, such as {load.failed[:1]}")
        self.objects |= new
        self.record.holds("a new version of a model costs no answer", said[0])

    def _version(self) -> str:
        labels = self.of(_DIGIT)["spec"]["template"]["metadata"]["labels"]
        return str(labels[manifests.VERSION])

    def evict(self) -> None:
        selector = f"{manifests.DETECTOR}={_DIGIT.id}"
        with self.record.step("delete a server's pod, under load") as said:
            with self.under_load(said) as load:
                self.kubernetes.kubectl("-n", "edge", "delete", "pod", "-l", selector)
                self._until(lambda: self.is_alone(selector))
            expect(not load.failed, f"{len(load.failed)} failed, such as {load.failed[:1]}")
        self.record.holds("an evicted server costs no answer", said[0])

    def kill(self) -> None:
        selector = f"{manifests.DETECTOR}={_DIGIT.id}"
        with self.record.step("end a server's process, under load") as said:
            with self.under_load(said):
                (pod,) = self.pods(selector)
                self.kubernetes.kubectl("-n", "edge", "exec", pod["metadata"]["name"], "--", "sh",
                                        "-c", "kill 1")  # fmt: skip
                self._until(lambda: not self.is_alone(selector))
                self._until(lambda: self.is_alone(selector))
            said.append("those that weren't are the cloud's")

    def replace(self) -> None:
        with self.record.step("delete the endpoint's pod, and the mount in it") as said:
            with self.under_load(said):
                self.kubernetes.kubectl("-n", "edge", "delete", "pod", "-l", SELECTED)
                self._until(lambda: self.is_alone(SELECTED) and self._all_ready())
        self.record.holds("open files outlive the mount's pod", said[0])

    def restart_kubelet(self) -> None:
        with self.record.step("end the kubelet, start it 5 s later, under load") as said:
            before = told.lives(self.kubernetes.listed("pods"))
            with self.under_load(said, settle=30) as load:
                self.kubernetes.restart_kubelet(5)
            expect(not load.failed, f"{len(load.failed)} failed, such as {load.failed[:1]}")
            after = told.lives(self.kubernetes.listed("pods"))
            expect(before == after, f"{before}, and after it {after}")
            said.append(f"{len(after)} containers, none started anew")
        self.record.holds("a kubelet that is restarted disturbs nothing", "; ".join(said))

    def disable(self) -> None:
        off = {"detectors": [{"detector_id": _DIGIT.id, "edge_inference_config": "disabled"}]}
        name = manifests.deployment_name(_DIGIT.id)
        with self.record.step("disable a detector, change its neighbour's Service, and back"):
            self._request("PUT", "/edge-config", json.dumps(off).encode())
            self._until(lambda: name not in self._names("deployments"))
            other = next(s for s in SAMPLES if s is not _DIGIT)
            service = manifests.service_name(other.id)
            self.kubernetes.kubectl("-n", "edge", "annotate", "service", service, "--overwrite",
                                    f"{manifests.HASH}=another")  # fmt: skip
            self._until(lambda: "another" not in str(self.kubernetes.get("service", service)))
            self._request("PUT", "/edge-config", json.dumps({"detectors": []}).encode())
            self._until(lambda: name in self._names("deployments") and self.rolled(_DIGIT))

    def _names(self, kind: str) -> set[str]:
        return {one["metadata"]["name"] for one in self.kubernetes.listed(kind)}

    def upgrade(self) -> None:
        with self.record.step(f"lock, pull and install version {NEXT}"):
            self.install_images(NEXT)
        with self.record.step(f"helm upgrade to {NEXT}, under load") as said:
            before = self._identities()
            with self._crowd() as seen, self.under_load(said):
                self.release("upgrade")
                self._until(self._all_rolled)
            expect(self._identities() == before, f"{before}, and now {self._identities()}")
            said.append(f"{len(before)} names, ids and addresses as before")
            most = max(seen, key=len)
            said.append(
                f"{len(most) - len(SAMPLES)} servers beside the nine at most, "
                "those that are about to end too"
            )
            expect(len(most) <= len(SAMPLES) + _STARTING, f"{len(most)} servers at a time: {most}")
            served = json.loads(self.in_mount("cat", f"{chart.MOUNT}/.hardtack"))["version"]
            expect(served == NEXT, f"The mount is of version {served}.")
        self.record.holds("an upgrade keeps names and volumes, and takes its turn",
                          "; ".join(said))  # fmt: skip

    def _all_rolled(self) -> bool:
        image = self.values["image"]["tag"]
        return all(
            self.of(sample)["spec"]["template"]["spec"]["containers"][0]["image"].endswith(image)
            and self.rolled(sample)
            for sample in SAMPLES
        )

    def _identities(self) -> dict[str, tuple[str, str]]:
        """What the cluster has: its uid, and the address of a Service."""
        return {
            f"{one['kind']} {one['metadata']['name']}": (
                one["metadata"]["uid"], one["spec"].get("clusterIP", "")
            )
            for one in self.kubernetes.listed("deployments,daemonsets,services")
        }  # fmt: skip

    @contextmanager
    def _crowd(self) -> Iterator[list[list[str]]]:
        """What inference servers there are twice a second, those that are about to end too."""
        seen: list[list[str]] = []
        end = threading.Event()

        def look() -> None:
            while not end.wait(0.5):
                seen.append([told.in_short(p) for p in self.pods(INFERENCE) if not told.ended(p)])

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield seen
        finally:
            end.set()
            thread.join()

    def rights(self) -> None:
        with self.record.step("the rights that the endpoint used, by the API's audit log") as said:
            used, refused = told.used(self.kubernetes.audit, ENDPOINT)
            allowed = told.given(self.kubernetes.get("role", ENDPOINT))
            expect(not refused, f"It was refused {refused}.")
            unused = {right for right in allowed - used if right[1] != _CONFLICT}
            expect(used <= allowed and not unused, f"Used: {used}. Of no use: {unused}.")
            said.append(f"{len(used)} of {len(allowed)} used (`get` is for conflicts), 0 refused")
        self.record.holds("the endpoint's rights are those that it needs", said[0])

    # -- With no network

    def prove(self) -> None:
        with self.record.step("ask `hardtack ready`: would it come up?") as said:
            self.fetch()
            report = self.is_ready()
            amiss = [row for row in report["rows"] if row["state"] != "ready"]
            expect(report["ready"], f"Not ready: {json.dumps(amiss, indent=1)}")
            said.append(f"READY, {len(report['rows'])} rows")

    def reboot(self) -> None:
        self.record.network = "cut"
        with self.record.step("cut the cable, then the power"):
            self.network.cut()
            self.power_off()
        with self.record.step("power on, with no network") as said:
            began = time.monotonic()
            self.power_on()
            said.append(f"the node is ready after {format_duration(time.monotonic() - began)}")
            said.append(f"{self.nine()} after {format_duration(time.monotonic() - began)}")
            said.append(self.expect_no_pull())
        self.record.holds("the box comes up with the network cut, without a pull",
                          "; ".join(said))  # fmt: skip

    def power_off(self) -> None:
        self.box.power_off()
        self.network.no_lease()

    def power_on(self, *, booted: bool = False) -> None:
        if not booted:
            self.box.boot()
        self.box.json("box", "prepare", "--without", "cgroups")
        self.kubernetes.start()

    def ask_offline(self) -> None:
        answers = self._ask("the Groundlight SDK asks all nine")
        self._ready_again()
        self.record.holds("`hardtack ready` was right", f"READY, and after it {answers}")
