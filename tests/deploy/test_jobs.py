"""The small jobs that touch files alone: edge configuration, k3s's memory, the check of values."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardtack.core.errors import ConfigError
from hardtack.deploy.facts import k3s as k3s_facts
from hardtack.deploy.jobs import check_values, edge_config, k3s_memory
from hardtack.deploy.jobs.edge_config import Outcome
from hardtack.deploy.jobs.k3s_memory import Thresholds
from hardtack.endpoint.edgeconfig import KEPT_CONFIG
from tests.support.commands import run

ROOT = Path(__file__).parents[2]
DETECTOR = "det_2J5kQH0YkVrpGNFRnX7dPoUoEgb"
CONFIG = f"detectors: [{{detector_id: {DETECTOR}, edge_inference_config: no_cloud}}]\n"


class Chart:
    """The chart's ConfigMap, as it is mounted, and the endpoint's state."""

    def __init__(self, directory: Path) -> None:
        self.given, self.state = directory / "given", directory / "state"
        self.given.mkdir()

    def release(self, revision: int, text: str) -> Outcome:
        (self.given / "revision").write_text(str(revision))
        (self.given / "edge-config.yaml").write_text(text)
        return edge_config.apply(self.given, self.state)

    @property
    def kept(self) -> Path:
        return self.state / KEPT_CONFIG


@pytest.fixture
def chart(tmp_path: Path) -> Chart:
    return Chart(tmp_path)


def test_a_configuration_set_through_the_sdk_survives_restarts(chart: Chart) -> None:
    assert chart.release(1, CONFIG) is Outcome.APPLIED
    assert chart.kept.read_text() == CONFIG
    chart.kept.write_text("detectors: []\n")  # as the endpoint does when the SDK sets it
    assert chart.release(1, CONFIG) is Outcome.SAME
    assert chart.kept.read_text() == "detectors: []\n"
    assert chart.release(2, "{}\n") is Outcome.NONE
    assert chart.release(3, " \n") is Outcome.NONE
    assert chart.kept.read_text() == "detectors: []\n"
    assert chart.release(4, CONFIG) is Outcome.APPLIED
    assert chart.kept.read_text() == CONFIG


def test_a_configuration_that_the_endpoint_would_not_take_changes_nothing(chart: Chart) -> None:
    chart.release(1, CONFIG)
    with pytest.raises(ConfigError, match=r"edge-config\.yaml.*no_clout"):
        chart.release(2, CONFIG.replace("no_cloud", "no_clout"))
    assert chart.kept.read_text() == CONFIG
    assert chart.release(2, CONFIG) is Outcome.APPLIED


def test_what_is_no_revision_is_said(chart: Chart) -> None:
    (chart.given / "revision").write_text("new")
    with pytest.raises(ConfigError, match="expected the number of the Helm revision"):
        edge_config.apply(chart.given, chart.state)


def test_the_edge_config_command(chart: Chart) -> None:
    (chart.given / "revision").write_text("7")
    env = {
        "HARDTACK_JOB_EDGE_CONFIG_GIVEN": str(chart.given),
        "HARDTACK_JOB_EDGE_CONFIG_STATE": str(chart.state),
    }
    refused = run("job", "edge-config", env=env)
    assert refused.returncode == 11
    assert "Mount the chart's ConfigMap there" in refused.stderr
    (chart.given / "edge-config.yaml").write_text(CONFIG)
    done = run("job", "edge-config", env=env)
    assert done.returncode == 0, done.stderr
    assert 'is in force: 1 detectors, ["no_cloud"]' in done.stderr


def host(root: Path, gigabytes: float = 32, config: str = "") -> Path:
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text(
        f"MemTotal:  {int(gigabytes * 1e9 / 1024)} kB\nMemFree: 1 kB\n"
    )
    (root / "etc/rancher/k3s").mkdir(parents=True)
    (root / "etc/rancher/k3s/config.yaml").write_text(config)
    return root


def arguments(root: Path) -> dict[str, str]:
    found = k3s_facts.read(root)
    assert found is not None
    return dict(found.kubelet)


@pytest.mark.parametrize(
    ("gigabytes", "hard", "soft"),
    [
        (64, 3815, 7630),  # 4 GB and 8 GB are less than 15 % and 25 %
        (8, 1145, 1908),  # 15 % and 25 % are less
        (28, 3815, 6676),  # of each the smaller
    ],
)
def test_thresholds_are_the_smaller_of_percentage_and_amount(
    tmp_path: Path, gigabytes: float, hard: int, soft: int
) -> None:
    root = host(
        tmp_path, gigabytes, "kubelet-arg: ['max-pods=50', 'eviction-hard=memory.available<1Mi']"
    )
    assert k3s_memory.configure(root, Thresholds()).outcome is k3s_memory.Outcome.WRITTEN
    assert arguments(root) == {
        "max-pods": "50",
        "eviction-hard": f"memory.available<{hard}Mi,imagefs.available<5%,nodefs.available<5%",
        "eviction-soft": f"memory.available<{soft}Mi",
        "eviction-soft-grace-period": "memory.available=10s",
    }


def test_it_says_when_k3s_must_restart(tmp_path: Path) -> None:
    root = host(tmp_path)
    assert not k3s_memory.configure(root, Thresholds()).restart  # k3s isn't running
    started = root / "run/k3s/containerd/containerd.sock"
    started.parent.mkdir(parents=True)
    started.touch()
    written = (root / k3s_memory.FILE).stat().st_mtime
    os.utime(started, (written + 5, written + 5))
    result = k3s_memory.configure(root, Thresholds())
    assert (result.outcome, result.restart) == (k3s_memory.Outcome.SAME, False)
    os.utime(started, (written - 5, written - 5))
    assert k3s_memory.configure(root, Thresholds()).restart  # not read yet
    result = k3s_memory.configure(root, Thresholds(grace=30, reserved=1 << 30))
    assert (result.outcome, result.restart) == (k3s_memory.Outcome.WRITTEN, True)
    assert arguments(root)["system-reserved"] == "memory=1024Mi"
    assert k3s_memory.remove(root) == k3s_memory.Result(k3s_memory.Outcome.REMOVED, True)
    assert arguments(root) == {}
    assert not k3s_memory.remove(root).restart


def test_only_a_k3s_that_is_alone_is_configured(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert (
        k3s_memory.configure(tmp_path / "none", Thresholds()).outcome is k3s_memory.Outcome.NO_K3S
    )
    (tmp_path / "joined").mkdir()
    joined = host(tmp_path / "joined", config="server: https://10.0.0.1:6443")
    (tmp_path / "alone").mkdir()
    alone = host(tmp_path / "alone")
    for root, nodes in ((joined, None), (alone, 2)):
        result = k3s_memory.configure(root, Thresholds(), nodes=nodes)
        assert result.outcome is k3s_memory.Outcome.NOT_ALONE
        assert not (root / k3s_memory.FILE).exists()
    assert k3s_memory.configure(alone, Thresholds(), nodes=1).outcome is k3s_memory.Outcome.WRITTEN


def test_thresholds_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    root = host(tmp_path)
    with pytest.raises(ConfigError, match="Soft must come first"):
        k3s_memory.configure(root, Thresholds(soft_gb=2))
    with pytest.raises(ConfigError, match="between 0 and 100, found 0"):
        Thresholds(hard_percent=0)
    with pytest.raises(ConfigError, match="Reserve less"):
        k3s_memory.configure(root, Thresholds(reserved=31 << 30))


def test_the_memory_command(tmp_path: Path) -> None:
    root = host(tmp_path)
    env = {
        "HARDTACK_JOB_K3S_MEMORY_ROOT": str(root),
        "HARDTACK_JOB_K3S_MEMORY_EVICTION_HARD_PERCENT": "10",
    }
    done = run("job", "k3s-memory", "--json", env=env)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["outcome"] == "written"
    assert "memory.available<3052Mi" in document["text"]
    again = run("job", "k3s-memory", env=env)
    assert again.stdout.endswith(": as it was\nk3s need not be restarted\n")


def values(**changed: Any) -> dict[str, Any]:
    given: dict[str, Any] = yaml.safe_load((ROOT / "charts/hardtack/values.yaml").read_text())
    for path, value in changed.items():
        *tables, name = path.split("__")
        table = given
        for one in tables:
            table = table.setdefault(one, {})
        table[name] = value
    return given


def test_the_charts_own_values_are_right() -> None:
    assert check_values.check(values()) == ()
    assert check_values.check({}) == ()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"s3Mount__bucket": ""}, "s3Mount.bucket"),
        ({"s3Mount__bucket": "s3://weights"}, "s3Mount.bucket"),
        ({"s3Mount__bucket": "10.0.0.1"}, "s3Mount.bucket"),
        ({"s3Mount__region": "us_west_2"}, "s3Mount.region"),
        ({"s3Mount__release": "2026 11"}, "s3Mount.release"),
        ({"s3Mount__mountPath": "opt/models"}, "s3Mount.mountPath"),
        ({"s3Mount__mountPath": "/opt/../models"}, "s3Mount.mountPath"),
        ({"s3Mount__mountPath": "/models"}, "s3Mount.mountPath"),
        (
            {"s3Mount__cachePath": "/opt/groundlight/edge/pinamod-mount/cache"},
            "s3Mount.cachePath",
        ),
        ({"s3Mount__endpointUrl": "minio:9000"}, "s3Mount.endpointUrl"),
        ({"s3Mount__endpointUrl": "https://me:secret@minio"}, "s3Mount.endpointUrl"),
        ({"s3Mount__cacheSize": "40 gigs"}, "s3Mount.cacheSize"),
        ({"s3Mount__cacheSize": "40"}, "s3Mount.cacheSize"),
        ({"s3Mount__refreshInterval": "0s"}, "s3Mount.refreshInterval"),
        ({"upstreamEndpoint": "api.groundlight.ai"}, "upstreamEndpoint"),
        ({"ecrRegistry": "docker.io"}, "ecrRegistry"),
        ({"ecrCredentials__interval": "12h"}, "ecrCredentials.interval"),
        ({"imagePullPolicy": "Sometimes"}, "imagePullPolicy"),
        ({"inferenceFlavor": "tpu"}, "inferenceFlavor"),
        ({"logLevel": "loud"}, "logLevel"),
        ({"edgeEndpointHttpsPort": 443}, "edgeEndpointHttpsPort"),
        ({"edgeEndpointPort": 30143}, "edgeEndpointPort"),
        ({"inferenceDeployment__cpuThreads": 0}, "inferenceDeployment.cpuThreads"),
        ({"inferenceDeployment__cpuThreads": "4"}, "inferenceDeployment.cpuThreads"),
        ({"replicas": 2}, "replicas"),
        ({"k3sConfig__evictionHardPercent": 0}, "k3sConfig.evictionHardPercent"),
        ({"k3sConfig__evictionSoftPercent": 10}, "k3sConfig.evictionSoftPercent"),
        ({"k3sConfig__evictionSoftMinGB": 2}, "k3sConfig.evictionSoftMinGB"),
        ({"networkHealer__checkIntervalSeconds": 0}, "networkHealer.checkIntervalSeconds"),
        ({"mount__startupProbe__failureThreshold": 0}, "mount.startupProbe.failureThreshold"),
        ({"configFile": "detectors: {}"}, "configFile"),
        ({"detectors": [{"id": "dog"}]}, "detectors[0].id"),
        ({"detectors": [{"id": DETECTOR}, {"id": DETECTOR}]}, "detectors[1].id"),
        (
            {"detectors": [{"id": DETECTOR, "confidence_threshold": 2}]},
            "detectors[0].confidence_threshold",
        ),
    ],
)
def test_each_value_that_is_wrong_is_named(changed: dict[str, Any], named: str) -> None:
    (finding,) = check_values.check(values(**changed))
    assert finding.value == named
    assert finding.expected
    assert finding.found
    assert "secret@" not in str(finding)


def test_the_check_command(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("s3Mount: {bucket: weights, mountPath: models}\n")
    file = {"HARDTACK_JOB_CHECK_VALUES_FILE": str(tmp_path / "values.yaml")}
    done = run("job", "check-values", "--json", env=file)
    assert done.returncode == 1
    assert [finding["value"] for finding in json.loads(done.stdout)] == ["s3Mount.mountPath"]
    mended = {"HARDTACK_JOB_CHECK_VALUES_VALUES": '{"s3Mount": {"mountPath": "/srv/models/mount"}}'}
    assert run("job", "check-values", env=file | mended).returncode == 0
    assert run("job", "check-values").returncode == 2
    # What the file doesn't say is as the chart has it: the mount is a sidecar.
    done = run("job", "check-values", "--values", "replicas: 2", "--json")
    assert [finding["value"] for finding in json.loads(done.stdout)] == ["replicas"]
    two = "{replicas: 2, mount: {kind: DaemonSet}}"
    assert run("job", "check-values", "--values", two).returncode == 0


@pytest.mark.parametrize(
    ("given", "name", "remedy"),
    [
        ({"nosuch": 1}, "nosuch", "Nothing reads it: remove it."),
        ({"s3mount": {"bucket": "w"}}, "s3mount", "Did you mean 's3Mount'?"),
        (
            {"s3Mount": {"buckt": "w"}, "mount": {"env": {"ANY": "1"}}, "nodeSelector": {"a": "b"}},
            "s3Mount.buckt", "Did you mean 's3Mount.bucket'?",
        ),
    ],
)  # fmt: skip
def test_a_value_that_the_chart_does_not_have_is_refused_by_name(
    tmp_path: Path, given: dict[str, Any], name: str, remedy: str
) -> None:
    done = run("job", "check-values", "--values", json.dumps(given), "--json")
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)
    assert (finding["value"], finding["remedy"]) == (name, remedy)
    in_pod = {"KUBERNETES_SERVICE_HOST": "10.43.0.1"}  # Helm has checked them there
    assert run("job", "check-values", "--values", json.dumps(given), env=in_pod).returncode == 0
    (tmp_path / "values.yaml").write_text(json.dumps(given))
    refused = run("deploy", "requirements", "--values", tmp_path / "values.yaml")
    assert (refused.returncode, refused.stdout) == (11, "")
    assert f"The chart has no value {name}." in refused.stderr


def test_malformed_values_are_told_by_line(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("s3Mount:\n  bucket: [}\n")
    done = run("job", "check-values", "--file", "values.yaml", cwd=tmp_path)
    assert done.returncode == 11
    assert "values.yaml:2:12: malformed YAML: " in done.stderr
    assert "unicode string" not in done.stderr
