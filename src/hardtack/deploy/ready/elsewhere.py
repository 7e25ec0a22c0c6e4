"""What of a box lies elsewhere, or in memory: it is gone when the cable or the power is. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hardtack.deploy.facts.k3s import DATA
from hardtack.deploy.facts.model import Facts
from hardtack.deploy.ready.amiss import Amiss

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
    data = facts.k3s.settings.get("data-dir", "") if facts.k3s else ""
    if data and Path(data) != Path("/", DATA):
        yield (
            f"k3s keeps its data in {data}, where neither `ready` nor `box prepare` looks",
            f"Take data-dir out of k3s's configuration, and mount or link {data} at /{DATA}.",
        )
