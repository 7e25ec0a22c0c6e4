"""The list of hosts and ports: whole, by time, from values and lock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hardtack.core.errors import ConfigError
from hardtack.deploy.requirements import (
    Direction,
    Requirement,
    Settings,
    When,
    not_at_run_time,
    requirements,
    s3_host,
    settings_of,
)
from tests.support.commands import run

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
LOCK = """\
version = 1
platforms = ["linux/amd64"]

[[image]]
name = "docker.io/rancher/mirrored-pause:3.6"
digest = "sha256:{0}"
[image.platforms]
"linux/amd64" = {{ digest = "sha256:{0}", size = 1 }}
""".format("a" * 64)


def hosts(found: tuple[Requirement, ...], when: When | None = None) -> set[str]:
    return {r.host for r in found if when is None or when in r.when}


def test_a_running_box_needs_nothing_without_saying_what_goes_on() -> None:
    settings = settings_of({"upstreamEndpoint": "https://api.groundlight.ai", "ecrRegistry": ECR})
    running = [
        r for r in requirements(settings) if When.RUN in r.when and r.direction is Direction.OUT
    ]
    assert running
    assert all(r.without for r in running)


def test_registries_of_the_lock_are_asked_by_the_build_and_not_by_a_running_box() -> None:
    found = requirements(settings_of({}, ["docker.io", "ghcr.io"]))
    assert {"registry-1.docker.io", "auth.docker.io", "ghcr.io"} <= hosts(found, When.BUILD)
    assert not [host for host in hosts(found, When.RUN) if "docker" in host or "ghcr" in host]
    pulled = [r for r in found if r.host == "registry-1.docker.io" and When.FIRST_BOOT in r.when]
    assert all(r.only_if for r in pulled)
    assert "Docker Hub" in dict(not_at_run_time(settings_of({}, ["docker.io"])))
    assert "ghcr.io" in dict(not_at_run_time(settings_of({}, ["ghcr.io"])))


def test_ecr_by_the_region_of_its_name() -> None:
    found = requirements(settings_of({"ecrRegistry": ECR, "awsRegion": "us-west-2"}))
    assert "api.ecr.eu-central-1.amazonaws.com" in hosts(found, When.RUN)
    assert ECR not in hosts(found, When.RUN)
    assert {ECR, "prod-eu-central-1-starport-layer-bucket.s3.eu-central-1.amazonaws.com"} <= hosts(
        found, When.FIRST_BOOT
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), ("pinamod-artifacts-public.s3.us-west-2.amazonaws.com", 443, "https")),
        (Settings(bucket="my.bucket"), ("s3.us-west-2.amazonaws.com", 443, "https")),
        (
            Settings(bucket="b", bucket_region="cn-north-1"),
            ("b.s3.cn-north-1.amazonaws.com.cn", 443, "https"),
        ),
        (Settings(endpoint_url="http://minio:9000"), ("minio", 9000, "http")),
        (Settings(endpoint_url="https://minio.example"), ("minio.example", 443, "https")),
    ],
)
def test_the_bucket_as_the_mount_asks_for_it(
    settings: Settings, expected: tuple[str, int, str]
) -> None:
    assert s3_host(settings) == expected


def test_each_region_whose_sts_is_asked() -> None:
    values = {"awsRegion": "us-west-2", "s3Mount": {"region": "eu-central-1"}}

    def asked(values: dict[str, Any]) -> set[str]:
        return {host for host in hosts(requirements(settings_of(values))) if "sts." in host}

    assert asked(values) == {"sts.eu-central-1.amazonaws.com"}
    both = {"sts.eu-central-1.amazonaws.com", "sts.us-west-2.amazonaws.com"}
    assert asked(values | {"ecrRegistry": ECR}) == both


def test_another_store_needs_nothing_of_amazon() -> None:
    found = requirements(settings_of({"s3Mount": {"endpointUrl": "https://minio.example"}}))
    assert not [host for host in hosts(found) if "amazonaws" in host]


def test_what_others_connect_to() -> None:
    def inbound(settings: Settings) -> set[tuple[int, str]]:
        found = requirements(settings)
        return {(r.port, r.transport) for r in found if r.direction is Direction.IN}

    assert inbound(Settings()) == {(30143, "tcp")}
    assert inbound(settings_of({"httpEnabled": True, "edgeEndpointHttpsPort": 31000})) == {
        (31000, "tcp"), (30101, "tcp"),
    }  # fmt: skip
    assert {(6443, "tcp"), (8472, "udp"), (10250, "tcp")} <= inbound(Settings(cluster=True))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"s3Mount": {"bucket": 7}}, "s3Mount.bucket"),
        ({"edgeEndpointHttpsPort": 0}, "edgeEndpointHttpsPort"),
        ({"edgeEndpointHttpsPort": True}, "edgeEndpointHttpsPort"),
        ({"upstreamEndpoint": "api.groundlight.ai"}, "upstreamEndpoint"),
        ({"s3Mount": {"endpointUrl": "minio:9000"}}, "s3Mount.endpointUrl"),
    ],
)
def test_values_that_mean_nothing_are_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        requirements(settings_of(values))


def test_a_proxy_and_a_cluster_by_their_values() -> None:
    values = {"proxy": "http://proxy.example:3128", "mount": {"kind": "DaemonSet"}}
    found = {(r.host, r.port) for r in requirements(settings_of(values))}
    plain = {(r.host, r.port) for r in requirements(settings_of({}))}
    assert ("proxy.example", 3128) in found
    assert {port for _, port in found - plain} >= {6443, 8472}


def test_hosts_that_can_be_asked() -> None:
    found = {r.host: r.named for r in requirements(Settings(balena=True, proxy="http://p:8080"))}
    assert not found["*.balena-cloud.com"]
    assert not found["the site's NTP server"]
    assert found["p"]


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("s3Mount: {bucket: one, region: eu-west-1}\n")
    (tmp_path / "b.yaml").write_text("s3Mount: {bucket: two}\n")
    (tmp_path / "images.lock").write_text(LOCK)
    arguments = ["--values", "a.yaml", "--values", "b.yaml", "--lock", "images.lock"]
    done = run("deploy", "requirements", *arguments, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    found = {r["host"]: r for r in document["requirements"]}
    assert "two.s3.eu-west-1.amazonaws.com" in found
    assert "api.groundlight.ai" in found  # the chart's own value, where they name none
    assert found["registry-1.docker.io"]["transport"] == "tcp"
    assert "Docker Hub" in {never["who"] for never in document["not_at_run_time"]}
    table = run("deploy", "requirements", *arguments, "--when", "run time", cwd=tmp_path)
    assert "two.s3.eu-west-1.amazonaws.com" in table.stdout
    assert "registry-1.docker.io" not in table.stdout
    (tmp_path / "b.yaml").write_text("- one\n")
    refused = run("deploy", "requirements", *arguments, cwd=tmp_path)
    assert refused.returncode == 11
    assert "b.yaml must hold values by name" in refused.stderr
