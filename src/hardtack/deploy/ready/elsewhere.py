"""What of a box lies elsewhere, or in memory: it is gone when the cable or the power is. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hardtack.deploy.facts.k3s import CONFIG, DATA
from hardtack.deploy.facts.kubelet import PODS, PODS_OF_A_SERVER
from hardtack.deploy.facts.model import Facts
from hardtack.deploy.ready.amiss import Amiss

_CONFIG = Path("/", CONFIG, "config.yaml")
_MEMORY = ("tmpfs", "ramfs")
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs")
_HERE = re.compile(
    r"^sqlite:|://([^/]*@)?(\[::1\]|127\.|localhost\b|/)|(tcp|unix)\((127\.|localhost\b|/)"
)
_FORCED = re.compile(r"enable-admission-plugins=[^=]*AlwaysPullImages")


def control_plane(facts: Facts) -> Iterable[Amiss]:
    """k3s that joins a server, or keeps its state in a database, needs that to start."""
    settings: Mapping[str, str] = facts.k3s.settings if facts.k3s else {}
    server = settings.get("server", "")
    if server and not _HERE.search(server):
        yield (
            f"k3s joins the server {server}, and starts no pod before it has reached it",
            "Make this box a server of its own; where that server's cable isn't the one that is "
            "pulled: --without box.control-plane.",
        )
    database = settings.get("datastore-endpoint", "")
    if database and not _HERE.search(database):
        kind = database.partition("://")[0]  # the rest may hold a password
        yield (
            f"k3s keeps its state in a database elsewhere ({kind}), and doesn't start without it",
            "Take datastore-endpoint out of k3s's configuration: it keeps its state here then.",
        )

    yield from _started_first(settings)
    pods = facts.k3s.kubelet.get(PODS_OF_A_SERVER, "") if facts.k3s else ""
    if pods and not _HERE.search(pods):
        yield (
            f"the kubelet reads pods to start from a server ({PODS_OF_A_SERVER}, staticPodURL), "
            "and starts none of them without it",
            f"Keep their manifests in a directory of this box ({PODS}, staticPodPath).",
        )


def _started_first(settings: Mapping[str, str]) -> Iterable[Amiss]:
    """What k3s asks of a network before it starts anything."""
    config = settings.get("config", "")
    if config.startswith(("http://", "https://")):
        yield (
            "k3s reads its configuration from a server, and doesn't start without it",
            f"Keep it in {_CONFIG} (--config, K3S_CONFIG_FILE).",
        )
    vpn = next((flag for flag in ("vpn-auth", "vpn-auth-file") if settings.get(flag)), None)
    if vpn is not None:
        yield (
            f"k3s joins a VPN before it starts ({vpn}), which it can't with no network",
            f"Take {vpn} out of k3s's configuration; the box may join the VPN itself.",
        )


def forced_pulls(facts: Facts) -> Iterable[Amiss]:
    """Admission that writes `Always` over the pull policy of every pod."""
    said = facts.k3s.settings.get("kube-apiserver-arg", "") if facts.k3s else ""
    if _FORCED.search(said):
        yield (
            "the admission plugin AlwaysPullImages has each start ask a registry, whatever the "
            "manifests say",
            "Take it out of k3s's kube-apiserver-arg.",
        )


def storage(facts: Facts) -> Iterable[Amiss]:
    """What must be there after a restart lies on a disk, of this box, that takes writes."""
    for space in facts.spaces:
        if space.kind in _MEMORY:
            yield (
                f"{space.path} lies in memory ({space.kind}): it is empty after a restart",
                "Keep it on a disk.",
            )
        elif space.kind in _NETWORK:
            yield (
                f"{space.path} lies on a server ({space.kind}): it goes when the cable does",
                "Keep it on a disk of this box.",
            )
        elif space.read_only:
            yield (
                f"the file system of {space.path} takes no writes",
                "See what the kernel says of it (dmesg): after errors it stays so until it was "
                "checked (fsck), and the disk may be dying.",
            )
    yield from _overlooked(facts.k3s.settings if facts.k3s else {})


def _overlooked(settings: Mapping[str, str]) -> Iterable[Amiss]:
    """Where k3s has what it needs, and nothing here looks."""
    data = settings.get("data-dir", "")
    if data and Path(data) != Path("/", DATA):
        yield (
            f"k3s keeps its data in {data}, where neither `ready` nor `box prepare` looks",
            f"Take data-dir out of k3s's configuration, and mount or link {data} at /{DATA}.",
        )
    config = settings.get("config", "")
    if config and Path(config) != _CONFIG and "://" not in config:
        yield (
            f"k3s reads its configuration from {config}, where neither `ready` nor `box prepare` "
            "looks",
            f"Move it to {_CONFIG}, and name it no more (--config, K3S_CONFIG_FILE).",
        )
    docker = settings.get("docker", "").lower() == "true"
    runtime = "docker" if docker else settings.get("container-runtime-endpoint", "")
    if runtime:
        yield (
            f"k3s has its pods run by {runtime}, whose images aren't those that k3s loads when it "
            "starts, and that `ready` looks at",
            "Take docker and container-runtime-endpoint out of k3s's configuration.",
        )
