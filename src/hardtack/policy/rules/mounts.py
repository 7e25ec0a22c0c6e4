"""FUSE mounts that containers share: the sidecar that mounts, and those that read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from hardtack.manifests.grafts import untold_in
from hardtack.manifests.marks import is_told
from hardtack.manifests.place import Severity
from hardtack.manifests.yamlpos import Mapping, Node, Scalar, children, text_of
from hardtack.policy.deployment import Container, Deployment
from hardtack.policy.edits import beside
from hardtack.policy.rule import Found, Rule, example

_MOUNTER = re.compile(
    r"mount-s3|mountpoint-s3|s3fs|goofys|geesefs|gcsfuse|blobfuse|juicefs|sshfs"
    r"|rclone\s+mount|hardtack\s+mount"
)
_SHARES = ("Bidirectional",)
_RECEIVES = ("HostToContainer", "Bidirectional")
_PATHS = ("MOUNT_PATH", "HARDTACK_MOUNTPOINT", "MOUNTPOINT")


@dataclass(frozen=True)
class _Mount:
    """One volumeMount of a container: `host` is the host's path, None for other volumes."""

    container: Container
    node: Node
    volume: str
    path: str
    host: str | None
    propagation: str


def mounters(deployment: Deployment) -> Iterator[Container]:
    """The containers that mount a FUSE file system."""
    for container in deployment.containers:
        command = " ".join(map(text_of, _words(container)))
        named = f"{text_of(container.node.get('name'))} {container.image}"
        shares = any(mount.propagation in _SHARES for mount in _mounts(container))
        if shares or _MOUNTER.search(command) or _MOUNTER.search(named):
            yield container


def _words(container: Container) -> tuple[Node, ...]:
    node = container.node
    return *children(node.get("command")), *children(node.get("args"))


def _no_propagation(container: Container) -> bool:
    return all(m.propagation not in _SHARES and is_told(m.propagation) for m in _mounts(container))


def _not_privileged(container: Container) -> bool:
    context = container.node.get("securityContext")
    privileged = text_of(context.get("privileged")) if context else ""
    return not (context and untold_in(context)) and privileged != "true" and is_told(privileged)


def _no_memory(container: Container) -> bool:
    resources = container.node.get("resources")
    if container.document.template and (
        isinstance(resources, Scalar) or (resources and untold_in(resources))
    ):
        return False  # a template's `resources: {{ … }}`, judged where it is rendered
    return not (resources and resources.get("requests", "memory"))


def _no_liveness(container: Container) -> bool:
    return not container.node.get("livenessProbe")


def _sidecar_rule(
    name: str,
    severity: Severity,
    title: str,
    explanation: str,
    part: str,
    lacks: Callable[[Container], bool],
    so: str,
) -> Rule:
    """A rule about each container that mounts: `part` of the right example it `lacks`, `so` what
    the finding says of it."""

    def check(deployment: Deployment) -> Iterator[Found]:
        for container in mounters(deployment):
            if lacks(container):
                message = f"{container.way} mounts a file system{so}{container.caveat}"
                yield Found(container.place, message)

    wrong, right = example(pod_yaml=_pod(without=part)), example(pod_yaml=_pod())
    return Rule(name, severity, f"A FUSE sidecar {title}", explanation, wrong, right, check)


def _consumers(deployment: Deployment) -> Iterator[Found]:
    mounting = list(mounters(deployment))
    places = {place for one in mounting for place in _mounted_on_host(one) if is_told(place[0])}
    exact = {path for path, is_exact in places if is_exact}
    # A bind that may be mounted upon anywhere is, where another container tells exactly, there.
    hosts = exact | {
        path for path, is_exact in places
        if not is_exact and not any(PurePosixPath(one).is_relative_to(path) for one in exact)
    }  # fmt: skip
    within = {
        (id(container.pod), mount.volume)
        for container in mounting
        for mount in _mounts(container)
        if mount.propagation in _SHARES
    }
    for container in deployment.containers:
        if container in mounting:
            continue
        for mount in _mounts(container):
            shared = (id(container.pod), mount.volume) in within or (
                mount.host is not None
                and is_told(mount.host)
                and any(_touches(mount.host, host) for host in hosts)
            )
            if shared and mount.propagation not in _RECEIVES and is_told(mount.propagation):
                at = mount.node.get("mountPath") or mount.node
                place = container.document.place(at)
                yield Found(
                    place,
                    f"{container.way} reads a mount at {mount.path} without mountPropagation: "
                    "HostToContainer: a mount that is made anew never reaches it",
                    None
                    if mount.propagation
                    else beside(
                        deployment, place, "mountPath", "mountPropagation: HostToContainer"
                    ),
                )


def _mounts(container: Container) -> list[_Mount]:
    hosts = {
        text_of(volume.get("name")): text_of(volume.get("hostPath", "path"))
        for volume in children(container.pod.get("volumes"))
        if volume.get("hostPath")
    }
    return [
        _Mount(
            container,
            node,
            text_of(node.get("name")),
            text_of(node.get("mountPath")),
            hosts.get(text_of(node.get("name"))),
            text_of(node.get("mountPropagation")),
        )
        for node in children(container.node.get("volumeMounts"))
        if isinstance(node, Mapping)
    ]


def _mounted_on_host(container: Container) -> Iterator[tuple[str, bool]]:
    """The host's paths at which a container mounts, as far as its settings tell: (path, exact).

    A mount path in its environment tells exactly, where it lies below a bind: what is beside it
    isn't the mount. A whole host root that is bound says nothing by itself: there words of the
    command that lie below the bind do too. Of any other bind it may be all.
    """
    given = container.environment()
    for mount in _mounts(container):
        if mount.propagation not in _SHARES or mount.host is None:
            continue
        named = [given[name] for name in _PATHS if given.get(name, "").startswith("/")]
        if mount.host != "/":
            below = [path for path in named if PurePosixPath(path).is_relative_to(mount.path)]
            if not below or not all(map(is_told, below)):
                yield mount.host, False
            for path in below:
                inside = PurePosixPath(path).relative_to(mount.path)
                yield str(PurePosixPath(mount.host) / inside), True
            continue
        for path in named:
            yield path.removeprefix(mount.path) or "/", True
        for word in _words(container):
            text = text_of(word)
            if mount.path != "/" and text.startswith(mount.path.rstrip("/") + "/"):
                yield text.removeprefix(mount.path.rstrip("/")), True


def _touches(path: str, mounted: str) -> bool:
    """Whether a bind of `path` shows what is mounted at `mounted`: itself, above, or below."""
    one, other = PurePosixPath(path), PurePosixPath(mounted)
    return one.is_relative_to(other) or (str(one) != "/" and other.is_relative_to(one))


_SIDECAR = (
    "      securityContext:\n        privileged: true\n",
    "      resources:\n        requests:\n          memory: 64Mi\n",
    "      livenessProbe:\n        exec:\n          command: [hardtack, health, /opt/models]\n",
    "          mountPropagation: Bidirectional\n",
)


def _pod(*, without: str = "", reader: str = "") -> str:
    privileged, memory, liveness, propagation = (
        "" if without and without in part else part for part in _SIDECAR
    )
    return f"""\
apiVersion: v1
kind: Pod
metadata:
  name: inference
spec:
  containers:
    - name: weights
      image: quay.io/cameras/hardtack:1.0.0
      imagePullPolicy: IfNotPresent
      command: [hardtack mount, s3://weights, /opt/models]
{privileged}{memory}{liveness}      volumeMounts:
        - name: models
          mountPath: /opt/models
{propagation}{reader}  volumes:
    - name: models
      hostPath:
        path: /opt/models
"""


def _reader(propagation: str = "") -> str:
    return f"""\
    - name: server
      image: quay.io/cameras/server:1.4.2
      imagePullPolicy: IfNotPresent
      volumeMounts:
        - name: models
          mountPath: /models
{propagation}"""


RULES = (
    _sidecar_rule(
        "sidecar-propagation",
        Severity.ERROR,
        "without Bidirectional propagation",
        "A mount made in a container stays in it, unless the volume it lies on is shared with "
        "`mountPropagation: Bidirectional`.",
        "Bidirectional",
        _no_propagation,
        ", but none of its volumeMounts has mountPropagation: Bidirectional: no other container "
        "sees what it mounts",
    ),
    _sidecar_rule(
        "sidecar-privileged",
        Severity.ERROR,
        "that is not privileged",
        "Kubernetes refuses Bidirectional propagation to a container that isn't privileged.",
        "privileged",
        _not_privileged,
        " without securityContext.privileged: true, which Bidirectional propagation and /dev/fuse "
        "need",
    ),
    _sidecar_rule(
        "sidecar-memory",
        Severity.WARNING,
        "without a memory request",
        "Under memory pressure the kernel kills first what asked for nothing; with the sidecar "
        "goes every open file of the mount.",
        "memory",
        _no_memory,
        " without a memory request: it is among the first to be killed, and every reader hangs or "
        "fails with it",
    ),
    _sidecar_rule(
        "sidecar-liveness",
        Severity.WARNING,
        "without a liveness probe",
        "A mount whose server hangs looks alive from outside. `hardtack health MOUNTPOINT` reads "
        "through it within a deadline, and needs no network.",
        "livenessProbe",
        _no_liveness,
        " without a livenessProbe: a mount that no longer answers stays so",
    ),
    Rule(
        "consumer-propagation",
        Severity.ERROR,
        "A reader of a mount without HostToContainer propagation",
        "Without it the container keeps the mount that was there when it started. After the "
        "sidecar has mounted anew it sees a dead one, or an empty directory, until it is "
        "restarted.",
        example(pod_yaml=_pod(reader=_reader())),
        example(pod_yaml=_pod(reader=_reader("          mountPropagation: HostToContainer\n"))),
        _consumers,
        fix="adds `mountPropagation: HostToContainer` below the mountPath",
    ),
)
