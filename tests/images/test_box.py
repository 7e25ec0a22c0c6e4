"""The whole way on real parts: registry → lock → bundle → containerd → a running pod."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from hardtack.core.errors import ContainerdError
from hardtack.images.audit import State, audit
from hardtack.images.bundle import read_blob, verify
from hardtack.images.containerd import PINNED, Containerd, Record, listens
from hardtack.images.install import install
from hardtack.images.load import load
from hardtack.images.lock import lock
from hardtack.images.lockfile import Lock
from hardtack.images.manifest import DOCKER_INDEX
from hardtack.images.platforms import Platform
from hardtack.images.pull import Pulled, pull
from hardtack.images.registry import Registry
from hardtack.images.wire import encode
from hardtack.manifests.reference import Reference
from tests.support import oci
from tests.support.containerd import PAUSE, Cri, containerd
from tests.support.registry import registry

AMD64 = Platform.here()
EMPTY = oci.index({}, docker=True)
pytestmark = pytest.mark.needs("registry", "containerd", "root")


@pytest.fixture(scope="module")
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ht-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def pulled(short: Path) -> tuple[Lock, Pulled]:
    """A bundle with an application and a pause image; its registry has gone away since."""
    busybox = Path("/bin/busybox").read_bytes()
    shell = oci.layer({"bin/busybox": busybox}, links={"bin/sh": "busybox"})
    hello = oci.layer({"hello": b"#!/bin/sh\necho hello from the bundle\n"})
    store = short / "registry"
    store.mkdir()
    with registry(store) as server:
        app = oci.image([shell, hello], str(AMD64), command=["/hello"], docker=True)
        pause = oci.image([shell], str(AMD64), command=["/bin/busybox", "sleep", "3600"])
        server.push_index("demo/app", "v1", {str(AMD64): app}, docker=True)
        server.push("demo/pause", "v1", pause)
        images = {
            Reference.parse(f"{server.host}/demo/{n}:v1"): ("test",) for n in ("app", "pause")
        }
        locked = lock(images, [AMD64], Registry())
        return locked, pull(locked, short / "out", Registry())


def test_pods_start_from_an_installed_bundle_by_every_name(
    short: Path, pulled: tuple[Lock, Pulled]
) -> None:
    locked, done = pulled
    app, pause = locked.images
    box = short / "box"
    box.mkdir()
    with containerd(box) as server:
        client = Containerd(server.socket)
        before = audit(locked, AMD64, client)
        assert {r.state for r in before} == {State.MISSING}
        result = install(short / "out", short / "k3s/agent/images", containerd=client)
        assert result.files == (short / "k3s/agent/images" / done.bundles[0].path.name,)
        assert {r.state for r in audit(locked, AMD64, client)} == {State.OK}
        # Laid out before any pod starts, the layer that both have once; and kept.
        assert client.snapshotter() == "native"
        for _ in range(2):
            laid_out = server.ctr("snapshots", "--snapshotter", "native", "ls").splitlines()[1:]
            assert [line.split()[-1] for line in laid_out] == ["Committed"] * 2
            with client.lease():
                pass  # its end runs the garbage collection
        server.ctr("images", "tag", pause.reference.name, PAUSE)
        cri = Cri(server.socket)
        repository = app.reference.full_repository
        ways = (
            f"{repository}:v1",
            f"{repository}@{app.digest}",
            f"{repository}@{app.at(AMD64).digest}",
            f"{repository}:v1@{app.digest}",
        )
        assert cri.has_image(PAUSE)
        for number, name in enumerate(ways):
            assert cri.has_image(name), name
            assert "hello from the bundle" in cri.run(name, short / f"logs{number}")

        for blob, member in verify(done.bundles[0].path).blobs.items():
            if member.size % 2:
                server.blob(blob).unlink()
            else:
                server.blob(blob).chmod(0o644)
                os.truncate(server.blob(blob), member.size - 1)
            assert State.INCOMPLETE in {r.state for r in audit(locked, AMD64, client)}
            load(done.bundles[0].path, client)
            assert {r.state for r in audit(locked, AMD64, client)} == {State.OK}

        rotten, member = next(iter(verify(done.bundles[0].path).blobs.items()))
        server.blob(rotten).chmod(0o644)
        with server.blob(rotten).open("r+b") as file:
            file.seek(member.size // 2)
            byte = file.read(1)
            file.seek(member.size // 2)
            file.write(bytes([byte[0] ^ 1]))
        assert State.INCOMPLETE in {r.state for r in audit(locked, AMD64, client, deep=True)}
        client.drop(rotten)
        load(done.bundles[0].path, client)
        assert {r.state for r in audit(locked, AMD64, client, deep=True)} == {State.OK}

        table = verify(done.bundles[0].path)
        there = next(n for n in table.names if n.digest == app.at(AMD64).digest)
        raw = read_blob(done.bundles[0].path, table, there.digest)
        entry = {str(AMD64): oci.Image(raw, there.media_type)}
        for index, state in ((oci.index(entry, docker=True), State.OK), (EMPTY, State.INCOMPLETE)):
            # As `ctr images pull` records it: the name points at the index.
            with client.lease() as lease:
                client.write(oci.digest(index), len(index), [index], {}, lease)
                name = f"{repository}:v1"
                record = Record(
                    name, DOCKER_INDEX, oci.digest(index), len(index), {PINNED: "pinned"}
                )
                client.put_image(record, exists=True)
                locked_so = app._replace(digest=oci.digest(index))
                found = audit(Lock(locked.platforms, (locked_so,)), AMD64, client)
                assert next(r.state for r in found if r.name == name) is state
        load(done.bundles[0].path, client)

        other = app.at(AMD64).digest
        server.ctr("images", "tag", "--force", pause.reference.name, f"{repository}:v1")
        rows = {r.name: r for r in audit(locked, AMD64, client)}
        assert rows[f"{repository}:v1"].state is State.OTHER
        assert rows[f"{repository}@{other}"].state is State.OK
        server.ctr("images", "label", f"{repository}@{other}", "io.cri-containerd.pinned=")
        assert {r.state for r in audit(locked, AMD64, client)} >= {State.OTHER, State.UNPINNED}
        load(done.bundles[0].path, client)
        assert {r.state for r in audit(locked, AMD64, client)} == {State.OK}
        cri.close()
        client.close()


@pytest.mark.needs("skopeo")
def test_skopeo_reads_the_bundle(short: Path, pulled: tuple[Lock, Pulled]) -> None:
    locked, done = pulled
    for image, kind in zip(locked.images, ("docker-archive", "oci-archive"), strict=True):
        # skopeo finds no Docker manifest in an OCI layout; it reads those as `docker load` does.
        source = f"{kind}:{done.bundles[0].path}:{image.reference.name}"
        copy = f"dir:{short}/copy-{image.digest[-6:]}"
        told = subprocess.run(
            ["skopeo", "--insecure-policy", "copy", source, copy],
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, told.stderr


def test_no_containerd(tmp_path: Path) -> None:
    with pytest.raises(ContainerdError, match="No containerd at"):
        Containerd(tmp_path / "none.sock")


@pytest.mark.parametrize("version", ["v1.3.9", ""])
def test_what_listens_is_not_a_containerd_of_use(tmp_path: Path, version: str) -> None:
    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        return encode([(1, version)])

    methods = {"Version": grpc.unary_unary_rpc_method_handler(answer)} if version else {}
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("containerd.services.version.v1.Version", methods),)
    )
    socket = tmp_path / "c.sock"
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    client = Containerd(socket)
    try:
        with pytest.raises(ContainerdError, match=r"at least 1\.4" if version else "too old"):
            client.version()
    finally:
        client.close()
        server.stop(0).wait()
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ContainerdError, match="is not a socket"):
        Containerd(file)
    assert listens(file)  # who opens it is told what it is
    assert not listens(tmp_path / "none")
