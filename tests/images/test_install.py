"""Installing: the old set or the new one, whole, and nobody else's files touched."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from hardtack.core.errors import BundleError, ConfigError, CorruptReply, DiskFull, NotFound
from hardtack.images.audit import State, audit_directory
from hardtack.images.bundle import contents
from hardtack.images.extract import extract
from hardtack.images.install import STAGING, install, prune
from hardtack.images.k3s import restart_needed
from hardtack.images.lock import lock
from hardtack.images.lockfile import Lock
from hardtack.images.platforms import Platform
from hardtack.images.pull import pull
from hardtack.images.registry import Registry
from hardtack.manifests.reference import Reference
from tests.support import oci
from tests.support.faulty_registry import FaultyRegistry, faulty_registry

AMD64 = Platform.parse("linux/amd64")


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with faulty_registry() as running:
        for tag in ("v1", "v2"):
            running.add(tag, oci.image([oci.layer({"f": tag.encode() * 5000})]))
        yield running


def pulled(server: FaultyRegistry, tag: str, out: Path) -> Lock:
    made = lock({Reference.parse(f"{server.host}/app/x:{tag}"): ("t",)}, [AMD64], Registry())
    pull(made, out, Registry())
    return made


def bundles(directory: Path) -> set[str]:
    return {p.name for p in directory.iterdir()}


def test_superseded_bundles_of_ours_go_and_only_those(
    server: FaultyRegistry, tmp_path: Path
) -> None:
    to = tmp_path / "agent/images"
    to.mkdir(parents=True)
    (to / "k3s-airgap-images-amd64.tar.zst").write_bytes(b"k3s's own")
    (to / "images-linux-amd64-0123456789abcdef.tar").write_bytes(b"somebody's")
    theirs = bundles(to)
    pulled(server, "v1", tmp_path / "one")
    new = pulled(server, "v2", tmp_path / "two")
    first = install(tmp_path / "one", to, platform=AMD64, k3s_version="v1.28.8+k3s1")
    assert first.restart is True
    again = install(tmp_path / "one", to, platform=AMD64)
    assert (again.added, again.removed, again.restart) == ((), (), False)
    second = install(tmp_path / "two", to, platform=AMD64, k3s_version="v1.32.1+k3s1")
    assert second.removed == first.files
    assert second.restart is False
    assert bundles(to) == theirs | {second.files[0].name}
    assert {r.state for r in audit_directory(new, AMD64, to)} == {State.OK}
    assert prune(to, new, AMD64) == ()
    nothing = Lock(("linux/amd64",), ())
    assert prune(to, nothing, AMD64) == second.files
    assert bundles(to) == theirs
    assert {r.state for r in audit_directory(new, AMD64, to)} == {State.MISSING}


def test_a_bundle_that_rotted_is_installed_again(server: FaultyRegistry, tmp_path: Path) -> None:
    """It has its length still, and its name."""
    to = tmp_path / "agent/images"
    new = pulled(server, "v1", tmp_path / "one")
    (bundle,) = install(tmp_path / "one", to, platform=AMD64).files
    data = bytearray(bundle.read_bytes())
    data[data.index(b"\x1f\x8b") + 12] ^= 1  # within the layer
    bundle.write_bytes(data)
    rows = audit_directory(new, AMD64, to)
    assert {row.state for row in rows} == {State.MISSING}
    assert all("Install it again" in row.detail for row in rows)
    again = install(tmp_path / "one", to, platform=AMD64)
    assert again.added == (bundle,) and again.removed == ()
    assert {row.state for row in audit_directory(new, AMD64, to)} == {State.OK}


def test_a_bundle_is_on_the_disk_before_it_is_moved_and_its_name_before_the_old_one_goes(
    server: FaultyRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "agent/images"
    for tag in ("v1", "v2"):
        pulled(server, tag, tmp_path / tag)
    (old,) = install(tmp_path / "v1", to, platform=AMD64).files
    done: list[tuple[str, str]] = []
    fsync, rename, unlink = os.fsync, os.rename, os.unlink

    def synced(fd: int) -> None:
        done.append(("fsync", os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    def renamed(one: Path, other: Path) -> None:
        done.append(("rename", str(other)))
        rename(one, other)

    def unlinked(path: Path) -> None:
        done.append(("unlink", str(path)))
        unlink(path)

    for name, each in (("fsync", synced), ("rename", renamed), ("unlink", unlinked)):
        monkeypatch.setattr(os, name, each)
    (new,) = install(tmp_path / "v2", to, platform=AMD64).files
    moved, gone = done.index(("rename", str(new))), done.index(("unlink", str(old)))
    assert ("fsync", str(to.parent / STAGING / new.name)) in done[:moved]
    assert ("fsync", str(to)) in done[moved:gone]


@pytest.mark.parametrize("stop_at", range(8))
def test_interrupted_at_any_step(
    server: FaultyRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    to = tmp_path / "agent/images"
    old = pulled(server, "v1", tmp_path / "one")
    new = pulled(server, "v2", tmp_path / "two")
    install(tmp_path / "one", to, platform=AMD64)
    count = 0

    class Cut(BaseException):
        pass

    def step(name: str) -> None:
        real = getattr(os, name)

        def counted(*arguments: object) -> object:
            nonlocal count
            count += 1
            if count > stop_at:
                raise Cut
            return real(*arguments)

        patch.setattr(os, name, counted)

    with monkeypatch.context() as patch:
        for name in ("copy_file_range", "fsync", "rename"):
            step(name)
        with pytest.raises(Cut):
            install(tmp_path / "two", to, platform=AMD64)
            raise Cut
    assert not list((to.parent / STAGING).glob("*.tar"))
    states = [{r.state for r in audit_directory(x, AMD64, to)} for x in (old, new)]
    assert {State.OK} in states
    (to.parent / STAGING / "images-left-by-a-kill.tar").write_bytes(b"half")
    done = install(tmp_path / "two", to, platform=AMD64)
    assert bundles(to) == {f.name for f in done.files}
    assert not list((to.parent / STAGING).glob("*.tar"))


def test_damaged_wrong_platform_or_no_room(
    server: FaultyRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, to = tmp_path / "out", tmp_path / "agent/images"
    pulled(server, "v1", out)
    with pytest.raises(BundleError, match=r"no bundle for linux/arm64; it has images-linux-amd64"):
        install(out, to, platform=Platform.parse("linux/arm64"))
    bundle = next(out.glob("*.tar"))
    whole = bundle.read_bytes()
    at = max(m.offset for m in contents(bundle).blobs.values())
    bundle.write_bytes(whole[:at] + b"\0" + whole[at + 1 :])
    with pytest.raises(BundleError, match=f"{bundle}: the blob .* other bytes than its name says"):
        install(out, to, platform=AMD64)
    assert bundles(to) == set()
    assert not list((to.parent / STAGING).glob("*.tar"))
    for zeros in (len(whole), len(whole) - 1536):  # of the right size, as a power cut leaves them
        bundle.write_bytes(whole[: len(whole) - zeros] + bytes(zeros))
        with pytest.raises(BundleError, match=str(bundle)) as refused:
            install(out, to, platform=AMD64)
        assert "pull it again" in refused.value.remedy
    assert bundles(to) == set()
    bundle.write_bytes(whole)
    real = os.statvfs(tmp_path)

    class Full:
        f_bavail, f_frsize = 0, real.f_frsize

    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda path: Full)
        with pytest.raises(DiskFull, match="0 B free"):
            install(out, to, platform=AMD64)
    assert bundles(to) == set()
    with pytest.raises(ConfigError, match="k3s watches"):
        install(out, to / "sub", platform=AMD64)


@pytest.mark.parametrize(
    ("version", "restart"),
    [
        ("v1.28.8+k3s1", True), ("v1.29.12+k3s1", True), ("v1.29.13+k3s1", False),
        ("v1.30.8", True),
        ("v1.31.5+k3s1", False), ("1.32.0", False), ("v1.33.1+k3s1", False), (None, None),
    ],
)  # fmt: skip
def test_k3s_generations(version: str | None, restart: bool | None) -> None:
    assert restart_needed(version)[0] is restart
    with pytest.raises(ConfigError, match="not a version"):
        restart_needed("latest")


def test_files_out_of_an_image(server: FaultyRegistry, tmp_path: Path) -> None:
    below = oci.layer({"a": b"old", "gone": b"x", "dir/b": b"b", "deep/c": b"c"})
    above = oci.layer(
        {"a": b"new", ".wh.gone": b"", "deep/.wh..wh..opq": b""}, links={"l": "/etc/passwd"}
    )
    server.add("v3", oci.image([below, above]))
    image = Reference.parse(f"{server.host}/app/x:v3")
    done = extract(image, ["/a", "/dir/b"], tmp_path, AMD64, Registry())
    assert {p.name: p.read_bytes() for p in done} == {"a": b"new", "b": b"b"}
    for path in ("/gone", "/deep/c", "/nothing", "/l", "/../../a/x"):
        with pytest.raises(NotFound):
            extract(image, [path], tmp_path, AMD64, Registry())
    assert bundles(tmp_path) == {"a", "b"}


def test_files_out_of_zstd_layers(server: FaultyRegistry, tmp_path: Path) -> None:
    plain = gzip.decompress(oci.layer({"a": b"from zstd" * 50_000}))
    packed = zstandard.ZstdCompressor().compress(plain)
    kind = "application/vnd.oci.image.layer.v1.tar+zstd"
    server.add("z", oci.image([packed], layer_types={0: kind}))
    image = Reference.parse(f"{server.host}/app/x:z")
    (file,) = extract(image, ["/a"], tmp_path, AMD64, Registry())
    assert file.read_bytes() == b"from zstd" * 50_000
    spoilt = packed[: len(packed) // 2]
    whole = oci.image([packed], layer_types={0: kind})
    manifest = json.loads(whole.manifest)
    manifest["layers"][0] |= {"digest": oci.digest(spoilt), "size": len(spoilt)}
    raw = json.dumps(manifest).encode()
    server.add("cut", oci.Image(raw, whole.media_type, {**whole.blobs, oci.digest(spoilt): spoilt}))
    with pytest.raises(CorruptReply, match="can't be read"):
        extract(Reference.parse(f"{server.host}/app/x:cut"), ["/a"], tmp_path, AMD64, Registry())
