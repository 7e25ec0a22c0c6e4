"""The cluster as the small jobs ask it: over the endpoint's own client."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from hardtack.endpoint.backends.kubernetes.access import Access
from hardtack.endpoint.backends.kubernetes.client import DEPLOYMENTS, Cluster, Kind


@dataclass(frozen=True)
class _Wide(Kind):
    """A kind that lies in no namespace."""

    def path(self, namespace: str, name: str = "") -> str:
        return f"/api/{self.version}/{self.plural}" + (f"/{name}" if name else "")


_NODES = _Wide("v1", "nodes", "Node")


def nodes(cluster: Cluster) -> int:
    """How many nodes the cluster has. Raises ClusterError."""
    return len(cluster.list(_NODES)[0])


def dns_ready(system: Cluster) -> bool:
    """Whether CoreDNS, in the namespace `kube-system`, has a pod that is ready. Raises
    ClusterError."""
    found = system.get(DEPLOYMENTS, "coredns")
    return bool(found and (found.get("status") or {}).get("readyReplicas"))


def address(access: Access) -> tuple[str, int]:
    """Host and port of the API server: in a pod, those of its service."""
    parts = urlsplit(access.server)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
