"""Every host and port that a deployment uses, when, and what goes on without it.

Made from the chart's values and from images.lock, so that the list is that of the deployment at
hand: the page in the docs, `hardtack deploy requirements`, and what `hardtack doctor` tries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from hardtack.core.errors import ConfigError
from hardtack.core.proxy import Proxy
from hardtack.deploy import registry_hosts
from hardtack.deploy.valuefiles import at, text
from hardtack.source.http import Host

BUCKET, REGION = "pinamod-artifacts-public", "us-west-2"


class When(StrEnum):
    """BUILD concerns the machine that builds and pulls, the others the box."""

    BUILD = "build"
    FIRST_BOOT = "first boot"
    RUN = "run time"
    UPGRADE = "upgrade"


class Direction(StrEnum):
    """Who opens the connection: OUT the box (or the machine that builds), IN somebody else."""

    OUT = "out"
    IN = "in"


@dataclass(frozen=True)
class Requirement:
    """One host and port. A host of `*.example.com` stands for names that change.

    `only_if` is empty, or says in which deployments alone it is used; `without` says what happens
    while it can't be reached.
    """

    host: str
    port: int
    protocol: str
    purpose: str
    when: tuple[When, ...]
    direction: Direction = Direction.OUT
    only_if: str = ""
    without: str = ""

    @property
    def transport(self) -> str:
        """`udp` or `tcp`."""
        return "udp" if self.protocol in ("ntp", "dns", "vxlan") else "tcp"

    @property
    def named(self) -> bool:
        """Whether `host` is one that can be asked, no wildcard and no description."""
        return "*" not in self.host and " " not in self.host


@dataclass(frozen=True)
class Settings:
    """What of a deployment decides whom it talks to; empty texts where it doesn't.

    `endpoint_url`: another store in place of Amazon's; `registries`: of the images in the lock;
    `ecr`: registries for which the box refreshes pull credentials; `region`: of those
    credentials' STS (the mount asks the one of `bucket_region`);
    `http_port` is None where plain HTTP isn't offered.
    """

    bucket: str = BUCKET
    bucket_region: str = REGION
    endpoint_url: str = ""
    region: str = REGION
    upstream: str = ""
    registries: tuple[str, ...] = ()
    ecr: tuple[str, ...] = ()
    balena: bool = False
    cluster: bool = False
    https_port: int = 30143
    http_port: int | None = None
    proxy: str = ""
    builds_image: bool = True
    further: tuple[Requirement, ...] = field(default=())


def settings_of(values: Mapping[str, Any], registries: Iterable[str] = ()) -> Settings:
    """What the chart's `values` say; `registries`: of the images in the lock. Raises ConfigError
    for a value of the wrong kind."""
    region = text(values, "awsRegion") or REGION
    ecr = _texts(values, "ecrRegistry")
    return Settings(
        bucket=text(values, "s3Mount.bucket") or BUCKET,
        bucket_region=text(values, "s3Mount.region") or region,
        endpoint_url=text(values, "s3Mount.endpointUrl"),
        region=region,
        upstream=text(values, "upstreamEndpoint"),
        registries=tuple(sorted({*registries, *ecr})),
        ecr=ecr,
        balena=bool(text(values, "balena.deviceUuid")),
        cluster=at(values, "mount.kind") == "DaemonSet",
        proxy=text(values, "proxy"),
        https_port=_port(values, "edgeEndpointHttpsPort", 30143),
        http_port=_port(values, "edgeEndpointPort", 30101) if at(values, "httpEnabled") else None,
    )  # fmt: skip


def requirements(settings: Settings) -> tuple[Requirement, ...]:
    """All of them, those of the build first, none twice."""
    found = [
        *_build(settings), *_weights(settings), *_images(settings), *_cloud(settings),
        *_services(settings), *_inbound(settings), *settings.further,
    ]  # fmt: skip
    return tuple(dict.fromkeys(found))


def not_at_run_time(settings: Settings) -> tuple[tuple[str, str], ...]:
    """(who is never asked by a running box, why not)."""
    never = [
        ("Docker Hub", "every image is in the bundle, locked by digest, and never pulled again"),
        (
            "Hugging Face",
            "HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE are 1; caches are read from the mount",
        ),
        ("PyPI, GitHub, download.pytorch.org", "nothing is installed or downloaded at a start"),
        ("telemetry", "hardtack sends none"),
    ]
    others = sorted(set(settings.registries) - set(settings.ecr) - {"docker.io"})
    return (*never, *((registry, never[0][1]) for registry in others))


def s3_host(settings: Settings) -> tuple[str, int, str]:
    """(host, port, protocol) of the weights, as the mount asks for them."""
    if settings.endpoint_url:
        try:
            host = Host.of(settings.endpoint_url)
        except ConfigError as error:
            raise ConfigError(
                f"s3Mount.endpointUrl: {error.message}", remedy=error.remedy
            ) from error
        return host.name, host.port, host.scheme
    regional = f"s3.{settings.bucket_region}.{_domain(settings.bucket_region)}"
    dotted = "." in settings.bucket  # which no wildcard certificate covers
    return (regional if dotted else f"{settings.bucket}.{regional}"), 443, "https"


_PULLS = "the box pulls images itself, and isn't brought a bundle"
_ROLES = "credentials come from a role, a web identity or SSO"


def _build(settings: Settings) -> Iterator[Requirement]:
    build = (When.BUILD,)
    for registry in settings.registries:
        for host, what in registry_hosts.hosts(registry):
            yield Requirement(
                host, 443, "https", f"{what} of images in {registry}", build,
                without="no bundle can be pulled; one that is there stays good",
            )  # fmt: skip
    if settings.builds_image:
        ours = "hardtack's own image is built from its source"
        for host, port, what in (
            ("apt's configured mirror", 80, "packages of the base"),
            ("pip's configured index", 443, "Python packages"),
        ):
            yield Requirement(
                host, port, "https" if port == 443 else "http", what, build, only_if=ours,
                without="the image can't be built",
            )  # fmt: skip
    if settings.balena:
        yield Requirement(
            "*.balena-cloud.com", 443, "https", "pushing a release of the fleet", build,
            without="no release can be pushed",
        )  # fmt: skip


def _weights(settings: Settings) -> Iterator[Requirement]:
    host, port, protocol = s3_host(settings)
    yield Requirement(
        host, port, protocol, f"weights: listing and reading {settings.bucket}",
        (When.FIRST_BOOT, When.RUN, When.UPGRADE),
        without="what is on the box is served; new generations wait",
    )  # fmt: skip
    if settings.endpoint_url:
        return
    yield Requirement(
        f"sts.{settings.bucket_region}.{_domain(settings.bucket_region)}", 443, "https",
        "temporary credentials, regional endpoint", (When.FIRST_BOOT, When.RUN),
        only_if=_ROLES, without="what is on the box is served; nothing new is fetched",
    )  # fmt: skip


def _images(settings: Settings) -> Iterator[Requirement]:
    for registry in settings.registries:
        for host, what in registry_hosts.hosts(registry):
            yield Requirement(
                host, 443, "https", f"{what} of images in {registry}",
                (When.FIRST_BOOT, When.UPGRADE), only_if=_PULLS,
                without="images come as a bundle; those of the version that runs are there",
            )  # fmt: skip
    for registry in settings.ecr:
        region = registry_hosts.region_of(registry) or settings.region
        yield Requirement(
            f"api.ecr.{region}.{_domain(region)}", 443, "https",
            f"pull credentials of {registry}, renewed before their 12 hours end", (When.RUN,),
            without="the secret stays as it is; pods start from images on the box",
        )  # fmt: skip
    if settings.ecr:
        yield Requirement(
            f"sts.{settings.region}.{_domain(settings.region)}", 443, "https",
            "temporary credentials to ask for pull credentials", (When.RUN,), only_if=_ROLES,
            without="the secret stays as it is; pods start from images on the box",
        )  # fmt: skip


def _cloud(settings: Settings) -> Iterator[Requirement]:
    if not settings.upstream:
        return
    parts = urlsplit(settings.upstream)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"upstreamEndpoint: {settings.upstream!r} is not an address.",
            remedy="Write it like https://api.groundlight.ai/device-api.",
        )
    yield Requirement(
        parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), parts.scheme,
        "detectors' metadata, escalations, audits", (When.FIRST_BOOT, When.RUN),
        without="the box answers by itself; escalations wait in its queue",
    )  # fmt: skip


def _services(settings: Settings) -> Iterator[Requirement]:
    box = (When.FIRST_BOOT, When.RUN, When.UPGRADE)
    yield Requirement(
        "the site's DNS server", 53, "dns", "names of the hosts above (UDP, and TCP for long "
        "answers)", box, without="as if those hosts were away",
    )  # fmt: skip
    yield Requirement(
        "the site's NTP server", 123, "ntp", "the clock", box,
        without="the last time known is kept over a reboot",
    )  # fmt: skip
    if settings.proxy:
        proxy = Proxy.parse(settings.proxy)
        yield Requirement(
            proxy.host, proxy.port, "tcp",
            "the proxy, in place of the hosts above", box, without="as if those hosts were away",
        )  # fmt: skip
    if settings.balena:
        yield Requirement(
            "*.balena-cloud.com", 443, "https", "Balena: supervisor, remote access, releases", box,
            without="the release on the box runs on; it can't be managed",
        )  # fmt: skip


def _inbound(settings: Settings) -> Iterator[Requirement]:
    use = (When.FIRST_BOOT, When.RUN, When.UPGRADE)
    clients = "the Groundlight SDK's clients: image queries, the status page"
    yield Requirement("this box", settings.https_port, "https", clients, use, Direction.IN)
    if settings.http_port is not None:
        yield Requirement("this box", settings.http_port, "http", clients, use, Direction.IN)
    if settings.cluster:
        for port, protocol, what in (
            (6443, "https", "Kubernetes' API, from the other nodes"),
            (8472, "vxlan", "pods' network between nodes (flannel, UDP)"),
            (10250, "https", "kubelet, from the other nodes"),
        ):
            yield Requirement("each node", port, protocol, what, use, Direction.IN)


def _domain(region: str) -> str:
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def _texts(values: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """One text, several with commas between them, or a list."""
    found = at(values, path)
    if isinstance(found, list):
        return tuple(str(one).strip() for one in found if str(one).strip())
    return tuple(one.strip() for one in text(values, path).split(",") if one.strip())


def _port(values: Mapping[str, Any], path: str, default: int) -> int:
    found = at(values, path)
    if found is None:
        return default
    if isinstance(found, bool) or not isinstance(found, int) or not 0 < found < 65536:
        raise ConfigError(f"{path}: expected a port from 1 to 65535, found {found!r}.")
    return found
