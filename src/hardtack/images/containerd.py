"""containerd's gRPC API: images, content, leases. Field numbers are those of containerd's
`api/services/*/v1/*.proto`, unchanged since 1.0."""

from __future__ import annotations

import datetime
import errno
import os
import socket as sockets
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hardtack.core.errors import ContainerdError
from hardtack.images.manifest import Descriptor
from hardtack.images.wire import Message, decode, encode, encode_map

if TYPE_CHECKING:
    import grpc

SOCKETS = (Path("/run/k3s/containerd/containerd.sock"), Path("/run/containerd/containerd.sock"))
OLDEST = (1, 4)
PINNED = "io.cri-containerd.pinned"
_SERVICES = "/containerd.services."
_SNAPSHOTTER = "io.containerd.snapshotter.v1."
_STEP = 1 << 20
_SLOW = 1800.0
"""Seconds that a layer may take to be laid out, on a slow disk."""


@dataclass(frozen=True, slots=True)
class Record:
    """An image record: a name, what it points at, and labels."""

    name: str
    media_type: str
    digest: str
    size: int
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


def find_socket() -> Path | None:
    """k3s's socket, else containerd's own, if there is one."""
    for socket in SOCKETS:
        try:
            if there(socket):
                return socket
        except ContainerdError:
            return socket  # who opens it is told
    return None


def there(socket: Path) -> bool:
    """Whether there is a `socket`. Raises ContainerdError where we may not look."""
    try:
        return socket.exists()
    except PermissionError:
        raise ContainerdError(
            f"containerd's socket {socket} may not be looked at by user {os.geteuid()}.",
            remedy="Run it as root.",
        ) from None


def listens(socket: Path) -> bool:
    """Whether somebody listens at `socket`, which outlives a containerd that has ended. Raises
    ContainerdError where we may not look."""
    if not there(socket):
        return False
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as asked:
        asked.setblocking(False)
        directory = os.open(socket.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:  # a socket's name has a limit of 108 bytes, a path has not
            refused = asked.connect_ex(f"/proc/self/fd/{directory}/{socket.name}")
        finally:
            os.close(directory)
    return refused not in (errno.ECONNREFUSED, errno.ENOENT) or not socket.is_socket()


class Containerd:
    """A connection to one namespace of containerd (`k8s.io`: what the kubelet sees).

    Every method raises ContainerdError when containerd doesn't answer as it should within
    `timeout` seconds.
    """

    def __init__(self, socket: Path, namespace: str = "k8s.io", *, timeout: float = 30.0) -> None:
        self.socket = socket
        try:
            if not stat.S_ISSOCK(os.stat(socket).st_mode):
                raise ContainerdError(
                    f"{socket} is not a socket.",
                    remedy=f"Name containerd's with --socket (k3s: {SOCKETS[0]}).",
                )
        except FileNotFoundError:
            raise ContainerdError(
                f"No containerd at {socket}.", remedy="Start it, or name its socket with --socket."
            ) from None
        except PermissionError as error:
            raise ContainerdError(
                f"{socket} can't be reached: {error.strerror}.", remedy="Run the command as root."
            ) from error
        import grpc  # late: what finds the socket, or does without containerd, needs none

        self._timeout = timeout
        self._metadata: tuple[tuple[str, str], ...] = (("containerd-namespace", namespace),)
        self._channel = grpc.insecure_channel(
            f"unix://{socket.absolute()}", options=[("grpc.enable_http_proxy", 0)]
        )

    def close(self) -> None:
        self._channel.close()

    def version(self) -> str:
        """containerd's version; ContainerdError for one that is too old."""
        version = self._call("version.v1.Version/Version", b"").text(1)
        numbers = tuple(int(p) for p in version.lstrip("v").split(".")[:2] if p.isdigit())
        if len(numbers) == 2 and numbers < OLDEST:
            raise ContainerdError(
                f"containerd at {self.socket} is {version}; at least 1.4 is needed."
            )
        return version

    def images(self) -> dict[str, Record]:
        """All image records by name."""
        answer = self._call("images.v1.Images/List", b"")
        return {r.name: r for r in (_record(m) for m in answer.messages(1))}

    def put_image(self, record: Record, *, exists: bool) -> None:
        """Create or replace an image record."""
        target = encode([(1, record.media_type), (2, record.digest), (3, record.size)])
        image = encode([(1, record.name), *encode_map(2, record.labels), (3, target)])
        self._call(f"images.v1.Images/{'Update' if exists else 'Create'}", encode([(1, image)]))

    def size_of(self, digest: str) -> int | None:
        """The size that containerd has noted for a blob; None if it has no such blob."""
        try:
            return self._call("content.v1.Content/Info", encode([(1, digest)])).message(1).number(2)
        except _Absent:
            return None

    def complete(self, digest: str, size: int) -> str:
        """What is wrong with a blob (empty: nothing). containerd's own note of a size outlives the
        file, so that the last byte is read as well."""
        noted = self.size_of(digest)
        if noted is None:
            return "missing"
        if noted != size:
            return f"{noted} bytes, expected {size}"
        if size == 0:
            return ""
        try:
            there = sum(map(len, self.read(digest, size - 1, 1)))
        except _Absent:
            return "its file is gone"
        except _OutOfRange:
            return "its file is short"
        return "" if there == 1 else "its file is short"

    def read(self, digest: str, offset: int = 0, size: int = 0) -> Iterator[bytes]:
        """`size` bytes of a blob from `offset` on (0: all that follow), in pieces."""
        import grpc

        request = encode([(1, digest), (2, offset), (3, size)])
        call = self._channel.unary_stream(f"{_SERVICES}content.v1.Content/Read", None, None)
        try:
            for raw in call(
                request, metadata=self._metadata, timeout=None if size == 0 else self._timeout
            ):
                yield decode(raw).data(2)
        except grpc.RpcError as error:
            raise self._failed("reading content", error) from error

    def write(
        self, digest: str, size: int, data: Iterable[bytes], labels: Mapping[str, str], lease: str
    ) -> None:
        """Store a blob, unless it is there; containerd checks the digest."""
        import grpc

        reference = f"hardtack-{digest}"
        try:
            self._call("content.v1.Content/Abort", encode([(1, reference)]), lease)
        except _Absent:
            pass

        def requests() -> Iterator[bytes]:
            offset = 0
            head: list[tuple[int, int | str | bytes]] = [(2, reference), (3, size), (4, digest)]
            for piece in data:
                for start in range(0, len(piece), _STEP):
                    part = piece[start : start + _STEP]
                    yield encode([(1, 1), *head, (5, offset), (6, part)])
                    offset += len(part)
            yield encode([(1, 2), *head, (5, offset), *encode_map(7, labels)])

        call = self._channel.stream_stream(f"{_SERVICES}content.v1.Content/Write", None, None)
        try:
            for _ in call(requests(), metadata=(*self._metadata, ("containerd-lease", lease))):
                pass
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise self._failed(f"storing {digest}", error) from error

    def label(self, digest: str, labels: Mapping[str, str]) -> None:
        """Add `labels` to a blob."""
        info = encode([(1, digest), *encode_map(5, labels)])
        mask = encode([(1, f"labels.{key}") for key in sorted(labels)])
        self._call("content.v1.Content/Update", encode([(1, info), (2, mask)]))

    def drop(self, digest: str) -> None:
        """Forget a blob, and have its file removed at once if nothing else holds it."""
        try:
            self._call("content.v1.Content/Delete", encode([(1, digest)]))
        except _Absent:
            return
        with self.lease():
            pass  # a lease that ends synchronously runs the garbage collection

    def snapshotter(self) -> str:
        """The name of what lays out the files of the kubelet's pods; empty where that isn't told,
        as by a containerd that serves no kubelet."""
        import grpc

        call = self._channel.unary_unary("/runtime.v1.ImageService/ImageFsInfo", None, None)
        try:
            told = decode(call(b"", timeout=self._timeout))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return ""
            raise self._failed("where images are laid out", error) from error
        place = Path(told.message(1).message(2).text(1)).name
        return place.removeprefix(_SNAPSHOTTER) if place.startswith(_SNAPSHOTTER) else ""

    def has_snapshot(self, snapshotter: str, name: str) -> bool:
        """Whether layers are laid out by that name."""
        try:
            self._call("snapshots.v1.Snapshots/Stat", encode([(1, snapshotter), (2, name)]))
        except _Absent:
            return False
        return True

    def apply(
        self, snapshotter: str, layer: Descriptor, name: str, parent: str, lease: str
    ) -> None:
        """Lay out a layer on top of `parent` (empty: of nothing) as `name`. That another does so
        at the same time is fine."""
        key = f"hardtack-{uuid.uuid4()} {name}"
        prepared = self._call(
            "snapshots.v1.Snapshots/Prepare",
            encode([(1, snapshotter), (2, key), (3, parent)]), lease,
        )  # fmt: skip
        mounts = [(2, raw) for raw in prepared.fields.get(1, [])]
        diff = encode([(1, layer.media_type), (2, layer.digest), (3, layer.size)])
        try:
            self._call("diff.v1.Diff/Apply", encode([(1, diff), *mounts]), lease, slow=True)
            self._call(
                "snapshots.v1.Snapshots/Commit",
                encode([(1, snapshotter), (2, name), (3, key)]), lease,
            )  # fmt: skip
        except ContainerdError as error:
            with suppress(ContainerdError):  # what is left over goes with the lease
                self._call("snapshots.v1.Snapshots/Remove", encode([(1, snapshotter), (2, key)]))
            if not isinstance(error, _There):
                raise

    @contextmanager
    def lease(self) -> Iterator[str]:
        """Keeps what is written under it from garbage collection until the end."""
        name = f"hardtack-{uuid.uuid4()}"
        self._call(
            "leases.v1.Leases/Create",
            encode([(1, name), *encode_map(3, {"containerd.io/gc.expire": _in_a_day()})]),
        )
        try:
            yield name
        finally:
            self._call("leases.v1.Leases/Delete", encode([(1, name), (2, 1)]))

    def hold(self, digest: str, lease: str) -> None:
        """Keep a blob that is there from garbage collection while the lease lasts."""
        resource = encode([(1, digest), (2, "content")])
        self._call("leases.v1.Leases/AddResource", encode([(1, lease), (2, resource)]))

    def _call(self, method: str, request: bytes, lease: str = "", *, slow: bool = False) -> Message:
        import grpc

        metadata = (*self._metadata, ("containerd-lease", lease)) if lease else self._metadata
        try:
            return decode(
                self._channel.unary_unary(_SERVICES + method, None, None)(
                    request, metadata=metadata, timeout=_SLOW if slow else self._timeout
                )
            )
        except grpc.RpcError as error:
            raise self._failed(method.rpartition("/")[2], error) from error

    def _failed(self, what: str, error: grpc.RpcError) -> ContainerdError:
        import grpc

        code, details = error.code(), error.details()
        kind = {
            grpc.StatusCode.NOT_FOUND: _Absent,
            grpc.StatusCode.OUT_OF_RANGE: _OutOfRange,
            grpc.StatusCode.ALREADY_EXISTS: _There,
        }.get(code, ContainerdError)
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return ContainerdError(
                f"What listens at {self.socket} is not containerd, or is too old: {details}."
            )
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            refused = os.strerror(errno.ECONNREFUSED) in str(details)
            denied = os.strerror(errno.EACCES) in str(details)
            why = "nobody listens there" if refused else "it is root's" if denied else details
            return ContainerdError(
                f"containerd at {self.socket} doesn't answer ({what}): {why}.",
                remedy="Run it as root." if denied else "Start it (k3s: systemctl start k3s).",
            )
        return kind(f"containerd at {self.socket}: {what}: {details}.")


class _Absent(ContainerdError):
    """containerd has no such thing."""


class _There(ContainerdError):
    """containerd has such a thing already."""


class _OutOfRange(ContainerdError):
    """A read beyond the end of a file."""


def _record(message: Message) -> Record:
    target = message.message(3)
    return Record(message.text(1), target.text(1), target.text(2), target.number(3), message.map(2))


def _in_a_day() -> str:
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
