"""Objects of the cluster made as they are desired, whoever else has a hand in them."""

from __future__ import annotations

import copy

from hardtack.core.errors import ClusterError
from hardtack.endpoint.backends.kubernetes.client import SERVICES, Cluster, Object
from hardtack.endpoint.backends.kubernetes.manifests import HASH
from hardtack.endpoint.backends.kubernetes.mirror import Mirror


def ensure(cluster: Cluster, mirror: Mirror, desired: Object) -> None:
    """Create the object, or change it where it isn't as desired. Raises ClusterError."""
    kind, name = mirror.kind, desired["metadata"]["name"]
    existing = mirror.objects.get(name)
    if existing is None:
        try:
            mirror.put(cluster.create(kind, desired))
        except ClusterError as error:
            found = cluster.get(kind, name) if error.status == 409 else None
            if found is None:
                raise
            _check_ours(found, desired)  # the watch hasn't said so yet
            mirror.put(found)
        return
    _check_ours(existing, desired)
    if not differs(existing, desired):
        return
    try:
        mirror.put(cluster.update(kind, _merged(existing, desired)))
    except ClusterError as error:
        if error.status != 409:
            raise
        fresh = cluster.get(kind, name)  # somebody was faster: once more, on theirs
        if fresh is not None:
            mirror.put(cluster.update(kind, _merged(fresh, desired)))


def differs(existing: Object, desired: Object) -> bool:
    """Whether the existing object was made from another than the desired one."""
    return _hash(existing) != _hash(desired)


def _hash(body: Object) -> str:
    return str(body["metadata"].get("annotations", {}).get(HASH, ""))


def _check_ours(found: Object, desired: Object) -> None:
    """Raises ClusterError where an object of the name is somebody else's."""
    ours = desired["metadata"]["labels"]
    labels = found["metadata"].get("labels") or {}
    if any(labels.get(name) != value for name, value in ours.items()):
        raise ClusterError(
            f"The {desired['kind']} {desired['metadata']['name']} exists, and is not hardtack's "
            "for this detector.",
            remedy="Delete it; hardtack then makes its own.",
            status=409,
        )


def _merged(existing: Object, desired: Object) -> Object:
    """The existing object as desired; what the cluster wrote into its metadata stays."""
    body = copy.deepcopy(existing)
    body.pop("status", None)
    for part in ("labels", "annotations"):
        body["metadata"][part] = {
            **body["metadata"].get(part, {}),
            **desired["metadata"].get(part, {}),
        }
    spec = desired["spec"]
    service = desired["kind"] == SERVICES.name  # its address is the cluster's to give
    body["spec"] = {**existing["spec"], **spec} if service else spec
    return body
