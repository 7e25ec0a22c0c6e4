"""The Kubernetes backend against an API server that conflicts, refuses, forgets and goes away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from hardtack.core.errors import ClusterError, ConfigError
from hardtack.endpoint.backends.kubernetes import manifests
from hardtack.endpoint.backends.kubernetes.access import Access, from_kubeconfig, from_pod
from hardtack.endpoint.backends.kubernetes.client import DEPLOYMENTS, PODS, SERVICES, Cluster
from tests.endpoint import test_programs as programs
from tests.endpoint.test_bad_servers import golden_version
from tests.endpoint.test_rollout import DIGIT, Load, publish, server, serves
from tests.support.cluster import ENDPOINT, ApiServer, Fault, Kubelet, kubernetes
from tests.support.endpoints import Endpoint, endpoint, write_detectors, write_models
from tests.support.waiting import until

NAME = manifests.deployment_name(DIGIT.id)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_models(tmp_path, [DIGIT])


@contextmanager
def serving(
    tmp_path: Path, models: Path, api: ApiServer, *options: str, ready: bool = True, twin: str = ""
) -> Iterator[Endpoint]:
    """`twin` is a second detector's id, whose models are there too."""
    detectors = write_detectors(tmp_path / "detectors.yaml", [DIGIT])
    if twin:
        named = [*json.loads(detectors.read_text())["detectors"], {"id": twin, "name": "twin"}]
        detectors.write_text(json.dumps({"detectors": named}))
    with deployed(tmp_path, models, api, detectors, *options, ready=ready) as served:
        yield served


@contextmanager
def deployed(
    tmp_path: Path, models: Path, api: ApiServer, detectors: Path, *options: str, ready: bool = True
) -> Iterator[Endpoint]:
    config = api.kubeconfig(tmp_path / "kubeconfig")
    given = (
        "--backend", "kubernetes", "--kubeconfig", str(config), "--inference-image", "img:1",
        "--model-refresh", "200ms", "--probation", "1s", *options,
    )  # fmt: skip
    with endpoint(tmp_path, models, detectors, *given, ready=ready) as served:
        yield served


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[ApiServer, Kubelet]]:
    with kubernetes(tmp_path / "kubelet") as both:
        yield both


def test_answers_roll_and_go_on_after_the_endpoint(
    tmp_path: Path, models: Path, cluster: tuple[ApiServer, Kubelet]
) -> None:
    api, kubelet = cluster
    with serving(tmp_path, models, api) as served:
        assert served.submit(DIGIT).json()["result"]["label"] == "7"
        with Load(served).on() as load:
            publish(models, 2, "7")
            serves(served, "2")
            until(lambda: len(kubelet.runs) == 1, lambda: kubelet.runs)
            seen = load.answers
            until(lambda: load.answers > seen + 5, lambda: load.failures)
        assert load.failures == []
        assert kubelet.most[NAME] == 2
    (pid,) = [run.process.pid for run in kubelet.runs.values()]
    # After a reboot with no network: what the cluster has is found, and nothing is made anew.
    made = len([s for s in api.emulator.seen if s[0] in ("POST", "PUT")])
    with serving(tmp_path, models, api) as served:
        assert served.submit(DIGIT).status == 200
        assert server(served)["version"] == "2"
    assert len([s for s in api.emulator.seen if s[0] in ("POST", "PUT")]) == made
    assert [run.process.pid for run in kubelet.runs.values()] == [pid]


def test_only_the_rights_that_it_asks_for_are_used(
    tmp_path: Path, models: Path, cluster: tuple[ApiServer, Kubelet]
) -> None:
    api, _ = cluster
    with serving(tmp_path, models, api) as served:
        publish(models, 2)
        serves(served, "2")
        off = {"detector_id": DIGIT.id, "edge_inference_config": "disabled"}
        config = {"detectors": [off]}
        assert served.ask("PUT", "/edge-config", json.dumps(config).encode()).status == 200
        with api.cluster("test") as asked:
            until(lambda: not asked.list(DEPLOYMENTS)[0] and not asked.list(SERVICES)[0],
                  lambda: asked.list(DEPLOYMENTS))  # fmt: skip
    verbs = {"POST": "create", "PUT": "update", "DELETE": "delete", "watch": "watch"}
    used = {(plural, verbs.get(method, "list")) for method, plural in api.emulator.seen}
    allowed = {
        (plural, verb)
        for rule in manifests.rules()
        for plural in rule["resources"]
        for verb in rule["verbs"]
    }
    assert used <= allowed
    # `get` is for what is there already when we create it: a conflict.
    assert {pair for pair in allowed - used if pair[1] != "get"} == {("services", "update")}


def test_ids_that_differ_by_case_alone_are_refused_by_name_and_harm_nobody(
    tmp_path: Path, models: Path, cluster: tuple[ApiServer, Kubelet]
) -> None:
    api, _ = cluster
    twin = DIGIT.id[:4] + DIGIT.id[4:].swapcase()
    first, second = sorted((DIGIT.id, twin))
    shutil.copytree(models / DIGIT.id, models / twin)
    with serving(tmp_path, models, api, twin=twin, ready=False) as served:
        serves(served, "1", first)
        told = until(lambda: server(served, second)["note"], lambda: server(served, second))
        assert f"The ids {first} and {second} differ by upper and lower case alone" in told
        assert told in served.ask("GET", "/health/ready").json()["waiting"][second]
        assert served.post(first, DIGIT.picture()).status == 200
        with api.cluster("test") as asked:
            assert len(asked.list(DEPLOYMENTS)[0]) == 1


def test_a_bad_version_is_taken_back(
    tmp_path: Path, models: Path, cluster: tuple[ApiServer, Kubelet]
) -> None:
    api, _ = cluster
    with serving(tmp_path, models, api) as served:
        with Load(served).on() as load:
            publish(models, 2, "1")  # its golden picture shows a seven
            until(lambda: server(served)["refused"] == ["2"], lambda: server(served))
            assert "expected '1', it says '7'" in server(served)["note"]
            with api.cluster("test") as asked:
                until(lambda: len(asked.list(PODS)[0]) == 1, lambda: asked.list(PODS))
            assert server(served)["version"] == "1"
            publish(models, 3, "7")
            serves(served, "3")
        assert load.failures == []


def test_a_version_that_keeps_crashing_after_the_swap_is_taken_back(
    tmp_path: Path, models: Path, cluster: tuple[ApiServer, Kubelet]
) -> None:
    api, kubelet = cluster
    with serving(tmp_path, models, api, "--probation", "10m") as served:
        publish(models, 2)
        serves(served, "2")
        until(lambda: len(kubelet.runs) == 1, lambda: kubelet.runs)

        def crash() -> bool:
            for name, run in list(kubelet.runs.items()):
                if f"{NAME}-2-" in name and run.process.poll() is None:
                    os.kill(run.process.pid, signal.SIGKILL)
            return bool(server(served)["refused"] == ["2"])

        until(crash, lambda: server(served))
        serves(served, "1")


FAULTS = [
    Fault("POST", "deployments", 429, 2, {"Retry-After": "1"}),
    Fault("POST", "services", 500, 2),
    Fault("PUT", "deployments", 409, 1),
    Fault("GET", "pods", 410, 3, watch=True),
    Fault("GET", "deployments", 410, 3, watch=True),
    Fault("GET", "deployments", 429, 3, {"Retry-After": "1"}, watch=True),
    Fault("GET", "services", 503, 2),
]


def test_conflicts_429_and_watches_that_expire_cost_nothing(
    tmp_path: Path, models: Path, cluster: tuple[ApiServer, Kubelet]
) -> None:
    api, _ = cluster
    api.emulator.faults = list(FAULTS)
    with serving(tmp_path, models, api) as served, Load(served).on() as load:
        publish(models, 2)
        serves(served, "2")
        until(lambda: not api.emulator.faults, lambda: api.emulator.faults)
    assert load.failures == []


def test_an_api_server_that_is_away_stops_no_answer(
    tmp_path: Path, models: Path, cluster: tuple[ApiServer, Kubelet]
) -> None:
    api, _ = cluster
    with serving(tmp_path, models, api) as served:
        api.go()
        until(lambda: "can't be reached" in server(served)["note"] or "broke off" in
              server(served)["note"], lambda: server(served))  # fmt: skip
        for _ in range(5):
            assert served.submit(DIGIT).status == 200
        publish(models, 2)
        api.come()
        serves(served, "2")
        assert served.submit(DIGIT).status == 200


def test_an_endpoint_that_starts_with_no_api_server_waits_for_it(
    tmp_path: Path, models: Path, cluster: tuple[ApiServer, Kubelet]
) -> None:
    api, _ = cluster
    api.go()
    with serving(tmp_path, models, api, ready=False) as served:
        until(lambda: "can't be reached" in server(served)["note"], lambda: server(served))
        assert server(served)["phase"] == "waiting"
        assert served.submit(DIGIT).status == 503
        api.come()
        served.wait_ready()


def test_what_another_maker_has_by_the_name_is_left_alone(
    tmp_path: Path, models: Path, cluster: tuple[ApiServer, Kubelet]
) -> None:
    api, kubelet = cluster
    kubelet.close()
    labels = {"app": "inference-server"}
    body = {"kind": "Deployment", "metadata": {"name": NAME, "labels": labels}, "spec": {}}
    with api.cluster("test") as other:
        other.create(DEPLOYMENTS, body)
        with serving(tmp_path, models, api, ready=False) as served:
            until(lambda: "not hardtack's" in server(served)["note"], lambda: server(served))
        left = other.get(DEPLOYMENTS, NAME)
    assert left is not None and left["metadata"]["labels"] == labels


def test_403_names_the_rights(tmp_path: Path, cluster: tuple[ApiServer, Kubelet]) -> None:
    api, _ = cluster
    api.emulator.faults = [Fault("GET", "pods", 403)]
    with api.cluster(ENDPOINT) as asked, pytest.raises(ClusterError, match="403") as caught:
        asked.list(PODS)
    assert "service account" in caught.value.remedy


def test_access_of_a_pod(tmp_path: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(ConfigError, match=r"ca\.crt.*can't be read"):
        from_pod(environment, tmp_path)
    with pytest.raises(ConfigError, match="no pod"):
        from_pod({}, tmp_path)
    for name, text in (("ca.crt", "x"), ("namespace", "edge\n"), ("token", "first\n")):
        (tmp_path / name).write_text(text)
    access = from_pod(environment, tmp_path)
    assert (access.server, access.namespace) == ("https://[fd00::1]:443", "edge")
    assert access.bearer() == "first"
    (tmp_path / "token").write_text("second")  # it is renewed while we run
    assert access.bearer() == "second"
    with pytest.raises(ConfigError, match="certificates can't be used"):
        Cluster(access)
    assert "second" not in repr(Access("https://x", token="second"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"users": [{"name": "u", "user": {"exec": {"command": "aws"}}}]}, "needs a network"),
        ({"current-context": "other"}, "no kubeconfig that can be used"),
        ({"clusters": [{"name": "k", "cluster": {"server": "https://x",
          "insecure-skip-tls-verify": True}}]}, "switches TLS verification off"),
        ({"clusters": [{"name": "k", "cluster": {"server": "https://x",
          "certificate-authority": "gone"}}]}, "certificate-authority can't be read"),
    ],
)  # fmt: skip
def test_a_kubeconfig_that_is_no_use_is_named(
    tmp_path: Path, cluster: tuple[ApiServer, Kubelet], change: dict[str, object], said: str
) -> None:
    path = cluster[0].kubeconfig(tmp_path / "kubeconfig")
    assert from_kubeconfig(path).token == ENDPOINT
    path.write_text(yaml.safe_dump(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=said):
        from_kubeconfig(path)


def test_a_kubeconfig_that_is_no_yaml_is_told_with_its_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text("apiVersion: v1\nclusters: ]\nusers: []\n")
    with pytest.raises(ConfigError, match=r"kubeconfig:2:11: malformed YAML: ") as said:
        from_kubeconfig(path)
    assert "kubeconfig" in said.value.remedy


def test_a_version_taken_away_before_it_had_loaded_holds_nothing_up(
    tmp_path: Path, models: Path, cluster: tuple[ApiServer, Kubelet]
) -> None:
    api, _ = cluster
    with serving(tmp_path, models, api) as served:
        made = publish(models, 2)
        serves(served, "2")
        shutil.rmtree(made)
        serves(served, "1")


def test_another_programs_version_that_fails_its_golden_picture_is_taken_back(
    tmp_path: Path, cluster: tuple[ApiServer, Kubelet]
) -> None:
    api, kubelet = cluster
    models, other = tmp_path / "models", programs.ID
    picture = models / other / "primary/2: it fails its golden picture golden.png"
    programs.publish(models, 1, 0.8)
    server_of_it = {"image": "other:1", "command": [sys.executable, programs.SCRIPT]}
    detectors = programs.detectors(tmp_path, server_of_it)
    with deployed(tmp_path, models, api, detectors) as served:

        def confidence() -> float:
            return float(served.post(other, b"any picture").json()["result"]["confidence"])

        def told(*said: str) -> bool:
            """The version from before answers as long as it is looked for."""
            assert confidence() == 0.8
            return all(part in server(served, other)["note"] for part in said)

        golden_version(models, 2, "NO", "")  # it says YES, 0.9
        wrong = f"{picture}: expected 'NO', it says 'YES'"
        until(lambda: told("Version 2 loads beside it.", wrong), lambda: server(served, other))
        until(lambda: told(f"Version 2 is refused: {wrong}"), lambda: server(served, other))
        assert server(served, other)["refused"] == ["2"]
        golden_version(models, 3, "YES", "")
        serves(served, "3", other)
        assert confidence() == 0.9  # and no connection from before leads to the old pod
        until(lambda: len(kubelet.runs) == 1, lambda: kubelet.runs)
        (run,) = kubelet.runs.values()
        run.server.process.kill()
        examiner = run.containers["examiner"]
        until(
            lambda: examiner.log.read_text().count(" version 3 passed") == 2, examiner.log.read_text
        )
        serves(served, "3", other)
        assert examiner.restarts == 0
