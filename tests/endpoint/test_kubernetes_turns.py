"""The Kubernetes backend where many detectors start, change, fail or are moved at a time."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint.backends.kubernetes import manifests
from hardtack.endpoint.backends.kubernetes.access import Access
from hardtack.endpoint.backends.kubernetes.backend import Kubernetes, Settings
from hardtack.endpoint.backends.kubernetes.client import SERVICES, Cluster, Object
from hardtack.endpoint.backends.kubernetes.mirror import Mirror
from hardtack.endpoint.backends.kubernetes.pods import Holding
from hardtack.endpoint.backends.versions import look
from tests.endpoint.test_rollout import DIGIT, server, serves
from tests.support.cluster import ApiServer, kubernetes
from tests.support.endpoints import endpoint, write_detectors, write_models
from tests.support.waiting import until

FEW = SAMPLES[4:8]


def options(config: Path) -> tuple[str, ...]:
    return (
        "--backend", "kubernetes", "--kubeconfig", str(config), "--inference-image", "img:1",
        "--model-refresh", "200ms", "--probation", "1s", "--starting", "1",
    )  # fmt: skip


def test_what_serves_is_changed_in_turn(tmp_path: Path) -> None:
    models = write_models(tmp_path, FEW)
    detectors = write_detectors(tmp_path / "detectors.yaml", FEW)
    with kubernetes(tmp_path / "kubelet") as (api, kubelet):
        given = options(api.kubeconfig(tmp_path / "kubeconfig"))
        with endpoint(tmp_path, models, detectors, *given) as served:
            assert kubelet.crowd == len(FEW)
            for sample in FEW:
                shutil.copytree(models / sample.id / "primary/1", tmp_path / sample.id)
            for sample in FEW:  # all at once, as with a new image
                (tmp_path / sample.id).rename(models / sample.id / "primary/2")
            for sample in FEW:
                serves(served, "2", sample.id)
            until(lambda: len(kubelet.runs) == len(FEW), lambda: kubelet.runs)
        # With those that were deleted, and answer on for a while: they hold their memory too.
        assert kubelet.crowd == len(FEW) + 1


def test_a_version_that_follows_at_once_waits_until_the_server_before_has_ended(
    tmp_path: Path,
) -> None:
    models = write_models(tmp_path, [DIGIT])
    detectors = write_detectors(tmp_path / "detectors.yaml", [DIGIT])
    with kubernetes(tmp_path / "kubelet") as (api, kubelet):
        given = options(api.kubeconfig(tmp_path / "kubeconfig"))
        with endpoint(tmp_path, models, detectors, *given) as served:
            for number in (2, 3):
                _publish(models, DIGIT.id, number)
                serves(served, str(number), DIGIT.id)
            until(lambda: len(kubelet.runs) == 1, lambda: kubelet.runs)
        assert kubelet.crowd == 2


def test_the_servers_of_one_that_is_wanted_no_more_are_counted_until_they_have_ended(
    tmp_path: Path,
) -> None:
    gone, stays = FEW[:2]
    models = write_models(tmp_path, [gone, stays])
    detectors = write_detectors(tmp_path / "detectors.yaml", [gone, stays])
    with kubernetes(tmp_path / "kubelet") as (api, kubelet):
        given = options(api.kubeconfig(tmp_path / "kubeconfig"))
        with endpoint(tmp_path, models, detectors, *given) as served:
            off = {"detector_id": gone.id, "edge_inference_config": "disabled"}
            config = json.dumps({"detectors": [off]}).encode()
            assert served.ask("PUT", "/edge-config", config).status == 200
            _publish(models, stays.id, 2)
            serves(served, "2", stays.id)
            until(lambda: len(kubelet.runs) == 1, lambda: kubelet.runs)
        assert kubelet.crowd == 2


def _publish(models: Path, detector: str, number: int) -> None:
    versions = models / detector / "primary"
    shutil.copytree(versions / "1", versions / "coming")
    (versions / "coming").rename(versions / str(number))


def test_a_watch_that_is_late_takes_nothing_back_that_a_reply_said() -> None:
    with contextlib.closing(ApiServer()) as api, api.cluster("test") as cluster:
        api.emulator.late = 0.5
        service = cluster.create(SERVICES, manifests.service(DIGIT.id))
        name, seen = service["metadata"]["name"], [0]
        mirror = Mirror(cluster, SERVICES, manifests.OWNED, lambda: seen.append(held()))

        def held() -> int:
            return int(mirror.objects[name]["metadata"]["resourceVersion"])

        mirror.start()
        until(lambda: mirror.synced, lambda: mirror.problem)
        until(lambda: len(seen) > 2, lambda: seen)  # the watch is on, and told what there is
        for _ in range(3):
            service = cluster.update(SERVICES, service)
        mirror.put(service)
        seen.append(held())
        another = manifests.service(next(s.id for s in SAMPLES if s is not DIGIT))
        cluster.create(SERVICES, another)  # told last
        until(lambda: another["metadata"]["name"] in mirror.objects, lambda: seen)
        mirror.end()
    assert seen == sorted(seen)
    assert seen[-1] == int(service["metadata"]["resourceVersion"])


def test_one_that_keeps_failing_holds_up_nobody(tmp_path: Path) -> None:
    pair = FEW[:2]
    models = write_models(tmp_path, pair)
    weights = [models / sample.id / "primary/1/model.onnx" for sample in pair]
    # The smallest is the first to be started.
    bad, good = sorted(pair, key=lambda s: weights[pair.index(s)].stat().st_size)
    harmed = bytearray(weights[pair.index(bad)].read_bytes())
    harmed[len(harmed) // 2] ^= 0xFF
    weights[pair.index(bad)].write_bytes(harmed)
    detectors = write_detectors(tmp_path / "detectors.yaml", pair)
    with kubernetes(tmp_path / "kubelet") as (api, _):
        given = options(api.kubeconfig(tmp_path / "kubeconfig"))
        with endpoint(tmp_path, models, detectors, *given, ready=False) as served:
            serves(served, "1", good.id)
            until(lambda: server(served, bad.id)["phase"] == "failed", lambda: server(served))


def test_a_pod_holds_memory_until_it_has_ended_or_never_will() -> None:
    labels = {manifests.DETECTOR: "mine"}
    deleted = {"labels": labels, "deletionTimestamp": "2026-11-28T12:00:00Z"}
    objects: dict[str, Object] = {
        "serves": {"metadata": {"labels": labels}, "status": {"phase": "Running"}},
        "going": {"metadata": deleted, "status": {"phase": "Running"}},
        "evicted": {"metadata": {"labels": labels}, "status": {"phase": "Failed"}},
        "other": {"metadata": {"labels": {manifests.DETECTOR: "other"}}},
    }
    holding = Holding(patience=3600.0)
    assert holding.count("mine", objects) == 2
    assert holding.count("other", objects) == 1
    assert (holding.ending("mine", objects), holding.ending("other", objects)) == (1, 0)
    assert holding.left({"mine"}, objects) == 1
    assert holding.left({"mine", "other"}, objects) == 0
    assert Holding(patience=0.0).left({"mine"}, objects) == 0
    del objects["going"]
    assert holding.count("mine", objects) == 1
    objects["on a node that is gone"] = {"metadata": deleted}
    assert Holding(patience=0.0).count("mine", objects) == 1


def test_a_pod_that_is_about_to_go_is_asked_until_another_is_ready(tmp_path: Path) -> None:
    models = write_models(tmp_path, [DIGIT])
    (version,) = look(models / DIGIT.id).whole
    pods = manifests.Pods("img:1", tmp_path / "mount")
    backend = Kubernetes(
        Cluster(Access("http://127.0.0.1:1", "edge")), Settings(tmp_path, tmp_path, pods)
    )
    backend.want(frozenset({DIGIT.id}))
    service = manifests.service(DIGIT.id)
    service["spec"]["clusterIP"] = "10.43.0.7"
    deployment = manifests.deployment(DIGIT.id, version, pods)

    def pod(name: str, *, ready: bool, **metadata: str) -> Object:
        status = {"conditions": [{"type": "Ready", "status": str(ready)}]}
        template = deployment["spec"]["template"]["metadata"]
        return {"metadata": {**template, "name": name, **metadata}, "status": status}

    backend._services.put(service)
    backend._deployments.put(deployment)
    backend._pods.put(pod("old", ready=True, deletionTimestamp="2026-11-28T12:00:00Z"))
    backend._pods.put(pod("new", ready=False))
    address = backend.address(DIGIT.id)
    assert address is not None and address.host == "10.43.0.7"
    assert backend.state(DIGIT.id).phase == "ready"
    backend._pods.put(pod("old", ready=False, deletionTimestamp="2026-11-28T12:00:00Z"))
    assert backend.address(DIGIT.id) is None
    assert backend.state(DIGIT.id).phase == "loading"
