"""Pulling: each byte once, the registry's own, whatever the registry does."""

from __future__ import annotations

import base64
import fcntl
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from hardtack.core.errors import (
    AccessDenied,
    BundleError,
    ConfigError,
    CorruptReply,
    DiskFull,
    HardtackError,
    LockError,
    NotFound,
    RegistryError,
    SourceUnreachable,
)
from hardtack.images import notes
from hardtack.images.attempts import Patience, retry_after
from hardtack.images.auth import DockerConfig
from hardtack.images.bundle import contents, verify
from hardtack.images.layout import Member
from hardtack.images.lock import lock
from hardtack.images.lockfile import Lock, write_lock
from hardtack.images.mirrors import Registries
from hardtack.images.platforms import Platform
from hardtack.images.pull import WORK, pull
from hardtack.images.registry import Registry
from hardtack.manifests.reference import Reference
from tests.support import oci
from tests.support.commands import HARDTACK
from tests.support.faulty_registry import FaultyRegistry, Reply, Seen, faulty_registry

AMD64 = Platform.parse("linux/amd64")
RANDOM = random.Random(1)
LAYERS = [oci.layer({f"f{n}": RANDOM.randbytes(300_000)}) for n in range(3)]


class Waits:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.now, self.asked = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        self.now += seconds


def a_client(
    config: Path | None = None, waits: Waits | None = None, registries: Registries | None = None
) -> Registry:
    time = waits or Waits()
    patience = Patience(60, clock=lambda: time.now, sleep=time.sleep)
    return Registry(registries, DockerConfig(config or Path("/nonexistent")), patience=patience)


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with faulty_registry() as running:
        running.add("v1", oci.image(LAYERS))
        yield running


def locked(server: FaultyRegistry, *tags: str) -> Lock:
    images = {Reference.parse(f"{server.host}/app/x:{t}"): ("test",) for t in tags or ("v1",)}
    found = lock(images, [AMD64], a_client())
    server.requests.clear()
    server.sent = 0
    return found


def test_same_lock_same_bytes_and_nothing_to_do_asks_nobody(
    server: FaultyRegistry, tmp_path: Path
) -> None:
    made = locked(server)
    one, two = (pull(made, tmp_path / d, a_client()).bundles[0].path for d in "ab")
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()
    with tarfile.open(one) as tar:
        inside = {m.name for m in tar}
        for digest, data in server.blobs.items():
            file = tar.extractfile("blobs/" + digest.replace(":", "/"))
            assert file is not None
            assert file.read() == data
    assert {"oci-layout", "index.json", "manifest.json"} <= inside
    server.requests.clear()
    assert pull(made, tmp_path / "a", a_client()).written == ()
    assert server.requests == []


def test_a_size_that_was_edited_in_the_lock_is_told(server: FaultyRegistry, tmp_path: Path) -> None:
    made = locked(server)
    (image,) = made.images
    there = image.platforms[str(AMD64)]
    edited = image._replace(platforms={str(AMD64): there._replace(size=there.size + 1)})
    with pytest.raises(LockError, match=rf"{there.size} bytes by its.*, and {there.size + 1} by"):
        pull(made._replace(images=(edited,)), tmp_path, a_client())
    assert not list(tmp_path.glob("*.tar"))


def test_a_second_image_costs_its_own_layer_only(server: FaultyRegistry, tmp_path: Path) -> None:
    pull(locked(server), tmp_path, a_client())
    new = oci.layer({"new": RANDOM.randbytes(50_000)})
    server.add("v2", oci.image([*LAYERS, new]))
    done = pull(locked(server, "v1", "v2"), tmp_path, a_client())
    manifests = 4 * 4096
    assert server.sent <= len(new) + manifests
    assert len(list(tmp_path.glob("*.tar"))) == 1  # the first bundle is superseded
    assert len(verify(done.bundles[0].path).names) == 4


def test_split_and_zstd_share_what_is_fetched(server: FaultyRegistry, tmp_path: Path) -> None:
    server.add("v2", oci.image([*LAYERS, oci.layer({"x": b"y"})]))
    made = locked(server, "v1", "v2")
    done = pull(made, tmp_path / "split", a_client(), split=True)
    assert len(done.bundles) == 2
    for bundle in done.bundles:
        verify(bundle.path)
    assert done.fetched == sum(map(len, server.blobs.values()))
    packed = pull(made, tmp_path / "zstd", a_client(), zstd=True).bundles[0].path
    again = pull(made, tmp_path / "zstd2", a_client(), zstd=True).bundles[0].path
    assert packed.name.endswith(".tar.zst")
    assert packed.read_bytes() == again.read_bytes()
    assert len(verify(packed).names) == 4


def test_breaks_and_refusals_are_outlived(server: FaultyRegistry, tmp_path: Path) -> None:
    made = locked(server)
    waits = Waits()

    def fault(seen: Seen, count: int) -> Reply | None:
        if "/blobs/" not in seen.path:
            return Reply(503) if count == 1 else None
        name = seen.path.rpartition("/")[2]
        if count == 1:
            return Reply(429, {"Retry-After": "7"})
        if count == 2:
            whole = server.blob(server.blobs[name], seen)
            whole.cut = len(whole.body) // 2
            return whole
        return None

    server.fault = fault
    done = pull(made, tmp_path, a_client(waits=waits))
    verify(done.bundles[0].path)
    assert 7.0 in waits.asked
    # What came before the break isn't fetched again.
    assert done.fetched == sum(map(len, server.blobs.values()))


def test_resets_are_outlived_and_a_registry_without_ranges(
    server: FaultyRegistry, tmp_path: Path
) -> None:
    made = locked(server)

    def fault(seen: Seen, count: int) -> Reply | None:
        if "/blobs/" not in seen.path:
            return None
        data = server.blobs[seen.path.rpartition("/")[2]]
        whole = Reply(200, {}, data)  # from the start, whatever was asked for
        if count == 1 and len(data) > 1000:
            whole.cut, whole.reset = len(data) // 2, True
        return whole

    server.fault = fault
    verify(pull(made, tmp_path, a_client()).bundles[0].path)
    assert sum("/blobs/" in r.path for r in server.requests) >= 7  # 4 blobs, 3 of them twice


def test_zstd_layers_stay_as_they_are(server: FaultyRegistry, tmp_path: Path) -> None:
    packed = zstandard.compress(gzip.decompress(LAYERS[0]))
    kind = "application/vnd.oci.image.layer.v1.tar+zstd"
    server.add("z", oci.image([packed], layer_types={0: kind}))
    path = pull(locked(server, "z"), tmp_path, a_client()).bundles[0].path
    member = verify(path).blobs[oci.digest(packed)]
    assert path.read_bytes()[member.offset : member.offset + member.size] == packed


def blob_fault(reply: Reply) -> object:
    return lambda seen, count: reply if "/blobs/" in seen.path else None


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (429, RegistryError, "limits the rate of requests"),
        (500, RegistryError, "answers HTTP 500"),
        (403, AccessDenied, "refuses"),
        (401, AccessDenied, "refuses"),
        (404, HardtackError, "has no 127.* removed there, or this is another registry"),
    ],
)
def test_refused_for_good(
    server: FaultyRegistry, tmp_path: Path, status: int, error: type[Exception], message: str
) -> None:
    made = locked(server)
    server.fault = lambda seen, count: Reply(status) if "/blobs/" in seen.path else None
    with pytest.raises(error, match=message):
        pull(made, tmp_path, a_client())
    assert list(tmp_path.glob("*.tar")) == []


@pytest.mark.parametrize("left", [None, 0, 100], ids=["whole", "empty", "torn"])
def test_the_copy_of_a_manifest_counts_while_it_is_whole(
    server: FaultyRegistry, tmp_path: Path, left: int | None
) -> None:
    made = locked(server)
    server.fault = lambda seen, count: Reply(403) if "/blobs/" in seen.path else None
    with pytest.raises(AccessDenied):
        pull(made, tmp_path, a_client())
    (copy,) = (tmp_path / WORK).glob("*.manifest")
    copy.write_bytes(copy.read_bytes()[:left])
    server.fault = lambda seen, count: None
    server.requests.clear()
    verify(pull(made, tmp_path, a_client()).bundles[0].path)
    asked = sum("/manifests/" in seen.path for seen in server.requests)
    assert asked == (0 if left is None else 1)


@pytest.mark.parametrize("kind", ["flipped", "short", "wrong range"])
def test_wrong_bytes_never_arrive(server: FaultyRegistry, tmp_path: Path, kind: str) -> None:
    made = locked(server)
    victim = oci.digest(LAYERS[1])

    def fault(seen: Seen, count: int) -> Reply | None:
        if victim not in seen.path:
            return None
        whole = server.blob(LAYERS[1], seen)
        if kind == "flipped":
            whole.body = whole.body[:1000] + bytes([whole.body[1000] ^ 1]) + whole.body[1001:]
        elif kind == "short":
            whole.body = whole.body[: len(whole.body) // 2] if count == 1 else b""
        else:
            whole.headers["Content-Range"] = "bytes 5-9/10"
        return whole

    server.fault = fault
    with pytest.raises(CorruptReply, match=victim):
        pull(made, tmp_path, a_client())
    assert list(tmp_path.glob("*.tar")) == []
    server.fault = lambda seen, count: None
    verify(pull(made, tmp_path, a_client()).bundles[0].path)


def test_wrong_manifests(server: FaultyRegistry, tmp_path: Path) -> None:
    made = locked(server)
    digest = made.images[0].digest
    raw, kind = server.manifests[digest]
    server.manifests[digest] = (raw + b" ", kind)
    with pytest.raises(CorruptReply, match="a manifest whose digest is"):
        pull(made, tmp_path, a_client())
    for body, message in (
        (b'{"schemaVersion":1,"name":"x"}', "schema 1"),
        (b'{"schemaVersion":2,"mediaType":"text/x"}', "media type text/x"),
    ):
        server.manifests["v1"] = (body, "")
        with pytest.raises(RegistryError, match=message):
            locked(server)
    server.manifests["v1"] = (b"<html>", "")
    with pytest.raises(CorruptReply, match="not JSON"):
        locked(server)


def test_attestations_are_no_platform(server: FaultyRegistry) -> None:
    image = oci.image(LAYERS)
    server.manifests["v1"] = (
        oci.index({"linux/amd64": image}, attestation=True),
        "application/vnd.oci.image.index.v1+json",
    )
    assert locked(server).images[0].platforms["linux/amd64"].digest == image.digest


def test_an_index_without_the_platform(server: FaultyRegistry) -> None:
    others = {"linux/arm64": oci.image(LAYERS, "linux/arm64"), "linux/arm/v7": oci.image(LAYERS)}
    index = oci.index(others, attestation=True), "application/vnd.oci.image.index.v1+json"
    server.manifests["v1"] = index
    said = r"app/x:v1 has no image for linux/amd64; it has linux/arm/v7, linux/arm64\."
    with pytest.raises(NotFound, match=said):
        locked(server)


@pytest.mark.parametrize(
    ("wanted", "offered", "best"),
    [
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v7", "linux/arm64/v8"], "linux/arm/v7"),
        ("linux/arm/v7", ["linux/arm64", "linux/arm/v5", "linux/arm/v6"], "linux/arm/v6"),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64/v8", ["linux/amd64", "linux/arm64"], "linux/arm64"),
        ("linux/arm", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64"], "linux/amd64"),
    ],
)
def test_an_index_by_variants(
    server: FaultyRegistry, wanted: str, offered: list[str], best: str
) -> None:
    images = {name: oci.image(LAYERS, name, command=[name]) for name in offered}
    for name, one in images.items():
        server.add(name, one)
    server.manifests["v1"] = oci.index(images), "application/vnd.oci.image.index.v1+json"
    reference = Reference.parse(f"{server.host}/app/x:v1")
    platform = Platform.parse(wanted)
    found = lock({reference: ("test",)}, [platform], a_client()).images[0]
    assert found.at(platform).digest == images[best].digest


def test_a_manifest_that_lies_about_a_length(server: FaultyRegistry, tmp_path: Path) -> None:
    made = locked(server)
    raw, kind = server.manifests[made.images[0].digest]
    document = json.loads(raw)
    for change in (-1, 1):
        document["layers"][0]["size"] = len(LAYERS[0]) + change
        lie = json.dumps(document).encode()
        server.manifests["lie"] = server.manifests[oci.digest(lie)] = (lie, kind)
        with pytest.raises(CorruptReply, match=oci.digest(LAYERS[0])):
            pull(locked(server, "lie"), tmp_path, a_client())
    assert list(tmp_path.glob("*.tar")) == []


def test_gone_in_the_middle_and_resumed(server: FaultyRegistry, tmp_path: Path) -> None:
    made = locked(server)
    layer = min(LAYERS, key=len)  # with one worker, what is bigger has come before
    last = oci.digest(layer)

    def gone(seen: Seen, count: int) -> Reply | None:
        if last not in seen.path:
            return None
        reply = (
            server.blob(layer, seen) if count == 1 else Reply(200, {"Content-Length": "9"}, b"", 0)
        )
        reply.cut = 262_144 if count == 1 else 0
        return reply if count == 1 else Reply(502)

    server.fault = gone
    with pytest.raises((RegistryError, SourceUnreachable)):
        pull(made, tmp_path, a_client(), workers=1)
    server.fault = lambda seen, count: None
    done = pull(made, tmp_path, a_client())
    verify(done.bundles[0].path)
    config = min(map(len, server.blobs.values()))
    assert done.fetched <= len(layer) - 262_144 + config
    assert not list((tmp_path / WORK).glob("*.journal"))


def test_rotten_leftovers_are_found(server: FaultyRegistry, tmp_path: Path) -> None:
    made = locked(server)
    *_, last = sorted(LAYERS, key=len, reverse=True)  # the biggest blob is fetched first
    first = max(LAYERS, key=len)
    server.fault = lambda seen, count: Reply(404) if oci.digest(last) in seen.path else None
    with pytest.raises(HardtackError):
        pull(made, tmp_path, a_client(), workers=1)
    left = next((tmp_path / WORK).glob("*.tar"))
    with left.open("r+b") as file:
        data = file.read()
        file.seek(data.index(first[:64]) + 5000)
        file.write(b"rotten")
    server.fault = lambda seen, count: None
    verify(pull(made, tmp_path, a_client()).bundles[0].path)


@pytest.mark.parametrize("size", [None, 0, 1000])
def test_a_journal_counts_for_its_own_file_only(
    server: FaultyRegistry, tmp_path: Path, size: int | None
) -> None:
    """The unfinished file was removed, or cut: what the journal says of it is void."""
    made = locked(server)
    last = min(LAYERS, key=len)
    server.fault = lambda seen, count: Reply(404) if oci.digest(last) in seen.path else None
    with pytest.raises(HardtackError):
        pull(made, tmp_path, a_client(), workers=1)
    left = next((tmp_path / WORK).glob("*.tar"))
    assert next((tmp_path / WORK).glob("*.journal")).stat().st_size
    left.unlink() if size is None else os.truncate(left, size)
    server.fault = lambda seen, count: None
    done = pull(made, tmp_path, a_client())
    verify(done.bundles[0].path)
    assert done.fetched > sum(map(len, LAYERS))


def test_two_pulls_into_one_directory(server: FaultyRegistry, tmp_path: Path) -> None:
    made = locked(server)
    (tmp_path / WORK).mkdir()
    with (tmp_path / WORK / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BundleError, match="Another pull is at work in"):
            pull(made, tmp_path, a_client())


def test_disk_full_in_the_middle(
    server: FaultyRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = locked(server)
    real, count = os.pwrite, 0

    def full(fd: int, data: bytes, offset: int) -> int:
        nonlocal count
        count += 1
        if count > 15:
            raise OSError(28, "No space left on device")
        return real(fd, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(DiskFull, match="no space left for images-linux-amd64"):
            pull(made, tmp_path, a_client())
    verify(pull(made, tmp_path, a_client()).bundles[0].path)


@pytest.mark.needs("root")
@pytest.mark.parametrize("zstd", [False, True])
def test_a_file_system_that_fills_up(tmp_path: Path, zstd: bool) -> None:
    """Somebody else's file leaves too little: with the first blob to come, or with the last, so
    that the plain bundle fits and the compressed one beside it doesn't."""
    layers = [oci.layer({f"f{n}": RANDOM.randbytes(1 << 20)}, level=0) for n in range(3)]
    disk, left = tmp_path / "disk", 3 << 19
    filler = disk / "filler"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "small", disk], check=True)
    try:
        with faulty_registry() as server:
            server.add("v1", oci.image(layers))
            made = locked(server)
            last = min(server.blobs, key=lambda digest: len(server.blobs[digest]))

            def fault(seen: Seen, count: int) -> Reply | None:
                now = (last if zstd else "/blobs/") in seen.path
                if now and not filler.exists():
                    room = os.statvfs(disk)
                    filler.write_bytes(bytes(room.f_bavail * room.f_frsize - left))
                return None

            server.fault = fault
            with pytest.raises(DiskFull, match="no space left for images-linux-amd64-"):
                pull(made, disk / "out", a_client(), zstd=zstd, workers=1)
            assert filler.exists()
            assert not list((disk / "out").glob("*.tar*"))
            filler.unlink()
            server.fault = lambda seen, count: None
            done = pull(made, disk / "out", a_client(), zstd=zstd)
            verify(done.bundles[0].path)
            whole = sum(map(len, server.blobs.values()))
            assert done.fetched == 0 if zstd else 0 < done.fetched < whole
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_redirects_carry_no_credentials_and_tokens_are_renewed(
    server: FaultyRegistry, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    secret = base64.b64encode(b"user:word").decode()
    config.write_text(json.dumps({"auths": {server.host: {"auth": secret}}}))
    made = locked(server)
    with faulty_registry() as store:
        store.blobs = dict(server.blobs)
        tokens = iter(range(100))

        def fault(seen: Seen, count: int) -> Reply | None:
            if seen.path.startswith("/token"):
                assert seen.headers["authorization"] == f"Basic {secret}"
                return Reply(200, {}, json.dumps({"token": f"t{next(tokens)}"}).encode())
            fresh = [
                r
                for r in server.requests
                if r.headers.get("authorization") == seen.headers.get("authorization")
            ]
            if not seen.headers.get("authorization", "").startswith("Bearer t") or len(fresh) > 3:
                ask = f'Bearer realm="http://{server.host}/token",service="s",scope="repository:app/x:pull"'
                return Reply(401, {"WWW-Authenticate": ask})
            if "/blobs/" in seen.path:
                return Reply(
                    307, {"Location": f"http://localhost:{store.host.split(':')[1]}{seen.path}"}
                )
            return None

        server.fault = fault
        done = pull(made, tmp_path / "out", a_client(config), workers=1)
        verify(done.bundles[0].path)
        assert len(store.requests) == 4
        assert all("authorization" not in r.headers for r in store.requests)
        assert next(tokens) >= 2


def test_mirrors_rewrite_and_fall_back(server: FaultyRegistry, tmp_path: Path) -> None:
    made = locked(server)
    path = tmp_path / "registries.yaml"
    with faulty_registry() as mirror:
        path.write_text(
            f'mirrors:\n  "{server.host}":\n    endpoint: ["http://{mirror.host}"]\n'
            '    rewrite: {"^app/(.*)": "copy/$1"}\n'
        )
        pull(made, tmp_path / "a", a_client(registries=Registries.read(path)))
        assert mirror.requests
        assert all(
            r.path.startswith("/v2/copy/x/") and f"ns={server.host.replace(':', '%3A')}" in r.path
            for r in mirror.requests
        )
        for status in (429, 500, 503):  # it is there, and of no use
            mirror.fault = lambda seen, count, status=status: Reply(status)  # type: ignore[misc]
            client = a_client(registries=Registries.read(path))
            verify(pull(made, tmp_path / str(status), client).bundles[0].path)
        mirror.fault = lambda seen, count: None
        server.requests.clear()
        mirror.manifests, mirror.blobs = server.manifests, server.blobs
        pull(made, tmp_path / "b", a_client(registries=Registries.read(path)))
        assert server.requests == []


def test_foreign_layers_are_told(server: FaultyRegistry, tmp_path: Path) -> None:
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    away = oci.layer({"windows": b"licensed"})
    image = oci.image([away, *LAYERS], layer_types={0: kind})
    del image.blobs[oci.digest(away)]
    server.add("w", image)
    done = pull(locked(server, "w"), tmp_path, a_client())
    assert done.foreign == (f"{server.host}/app/x:w: {oci.digest(away)}",)
    assert oci.digest(away) not in verify(done.bundles[0].path).blobs


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreachable, match=r"127.0.0.1:1 can't be reached"):
        a_client().manifest("127.0.0.1:1/app/x", "v1")
    waits = Waits()
    with pytest.raises(SourceUnreachable):
        a_client(waits=waits).manifest("127.0.0.1:1/app/x", "v1")
    assert waits.now <= Patience().unanswered
    waits = Waits()
    with faulty_registry() as server:  # one that has answered is waited for
        server.add("v1", oci.image(LAYERS))
        client = a_client(waits=waits)
        client.manifest(f"{server.host}/app/x", "v1")
        host = server.host
        client.close()
    with pytest.raises(SourceUnreachable):
        client.manifest(f"{host}/app/x", "v1")
    assert waits.now > Patience().unanswered


def test_a_directory_that_can_not_be_written(server: FaultyRegistry, tmp_path: Path) -> None:
    made = locked(server)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"Nothing can be written into .*file/out: Not a dir"):
        pull(made, tmp_path / "file/out", a_client())
    assert server.requests == []


def test_retry_after() -> None:
    assert retry_after("12", 0) == 12
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 20) == 40
    assert retry_after("soon", 0) is None


@pytest.mark.parametrize("waits", ["for the next attempt", "for bytes"])
def test_ctrl_c_waits_for_nothing(tmp_path: Path, waits: str) -> None:
    """The registry says to come back much later, or says nothing more in the middle of a blob."""
    over = threading.Event()
    with faulty_registry() as server:
        server.add("v1", oci.image(LAYERS))
        write_lock(tmp_path / "images.lock", locked(server))
        asked = threading.Event()

        def fault(seen: Seen, count: int) -> Reply | None:
            if "/blobs/" not in seen.path:
                return None
            asked.set()
            if waits == "for bytes":
                over.wait(100)
            return Reply(503, {"Retry-After": "100"})

        server.fault = fault
        process = subprocess.Popen(
            [*HARDTACK, "images", "pull", "--lock", "images.lock", "--out", "out"],
            cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=25)  # less than either would take
        over.set()
    assert (process.returncode, said.splitlines()[-1]) == (130, "hardtack: interrupted"), said


def test_killed_at_half_and_resumed(tmp_path: Path) -> None:
    layers = [oci.layer({f"f{n}": RANDOM.randbytes(4 << 20)}, level=0) for n in range(4)]
    with faulty_registry() as server:
        server.add("v1", oci.image(layers))
        made = locked(server)
        write_lock(tmp_path / "images.lock", made)
        script = (
            "import sys; from pathlib import Path\n"
            "from hardtack.images.lockfile import read_lock\n"
            "from hardtack.images.pull import pull\nfrom hardtack.images.registry import Registry\n"
            "pull(read_lock(Path(sys.argv[1])), Path(sys.argv[2]), Registry(), workers=1)\n"
        )
        size = sum(map(len, layers))
        gate = oci.digest(layers[2])
        held: list[subprocess.Popen[bytes]] = []

        def fault(seen: Seen, count: int) -> Reply | None:
            if gate in seen.path and held:
                held[0].send_signal(signal.SIGKILL)
                held.pop().wait()
                return Reply(500)
            return None

        server.fault = fault
        process = subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / "images.lock", tmp_path / "out"]
        )
        held.append(process)
        process.wait(60)
        assert process.returncode == -signal.SIGKILL
        verify(pull(made, tmp_path / "out", a_client()).bundles[0].path)
        assert server.sent <= 1.02 * size


@pytest.mark.parametrize("damage", ["truncated", "flipped", "name", "link"])
def test_damaged_bundles(server: FaultyRegistry, tmp_path: Path, damage: str) -> None:
    path = pull(locked(server), tmp_path, a_client()).bundles[0].path
    data = bytearray(path.read_bytes())
    member = contents(path).blobs[oci.digest(LAYERS[0])]
    if damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "flipped":
        data[member.offset + 100] ^= 1
    else:
        info = tarfile.TarInfo("../../etc/passwd" if damage == "name" else member.name)
        info.size = member.size
        if damage == "link":
            info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0
        data[member.offset - 512 : member.offset] = info.tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(data)
    with pytest.raises(BundleError, match=str(path)):
        verify(path)


@pytest.mark.parametrize("yesterday", [False, True])
def test_a_power_cut_right_behind_a_pull(
    server: FaultyRegistry, tmp_path: Path, yesterday: bool
) -> None:
    made = locked(server)
    path = pull(made, tmp_path, a_client()).bundles[0].path
    whole = path.read_bytes()
    notes_file = tmp_path / WORK / notes.NAME

    def restart() -> None:
        kept = {"platform": "linux/amd64", "boot": "an earlier boot"}
        value = {"version": 2, "bundles": {path.name: kept}}
        if yesterday:  # as version 1 wrote it
            value = {"version": 1, "bundles": {path.name: "linux/amd64"}}
        notes_file.write_text(json.dumps(value))

    restart()
    server.requests.clear()
    assert pull(made, tmp_path, a_client()).written == ()
    assert server.requests == []
    note = notes.read(tmp_path / WORK)[path.name]
    assert note.settled
    assert note.boot == (notes.boot() if yesterday else None)

    restart()
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    assert pull(made, tmp_path, a_client()).written == (path,)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("zstd", "lost"), [(False, 4000), (False, None), (True, 1), (True, 4000), (True, None)]
)
def test_a_bundle_that_lost_its_end_is_pulled_again(
    server: FaultyRegistry, tmp_path: Path, zstd: bool, lost: int | None
) -> None:
    made = locked(server)
    path = pull(made, tmp_path, a_client(), zstd=zstd).bundles[0].path
    whole = path.read_bytes()
    os.truncate(path, len(whole) - lost if lost else len(whole) // 2)
    assert pull(made, tmp_path, a_client(), zstd=zstd).written == (path,)
    assert path.read_bytes() == whole


def test_a_zstd_bundle_whose_size_no_note_holds_is_read_once(
    server: FaultyRegistry, tmp_path: Path
) -> None:
    made = locked(server)
    path = pull(made, tmp_path, a_client(), zstd=True).bundles[0].path
    (note,) = notes.read(tmp_path / WORK).values()
    assert note.size == path.stat().st_size
    notes.write(tmp_path / WORK, {path.name: note._replace(size=None)})
    server.requests.clear()
    assert pull(made, tmp_path, a_client(), zstd=True).written == ()
    assert notes.read(tmp_path / WORK)[path.name] == note
    assert server.requests == []


def test_notes_of_a_later_version_are_left_alone(server: FaultyRegistry, tmp_path: Path) -> None:
    file = tmp_path / WORK / notes.NAME
    file.parent.mkdir()
    file.write_text('{"version": 3, "bundles": {"a": 1}}')
    with pytest.raises(BundleError, match="has format 3; this version knows up to 2"):
        pull(locked(server), tmp_path, a_client())
    assert "3" in file.read_text()


@pytest.mark.parametrize("size", [0, 1, 37 << 20, 8**11 - 1, 8**11, 1 << 40])
def test_a_members_header_is_gnu_tars(size: int) -> None:
    info = tarfile.TarInfo(f"blobs/sha256/{'ab' * 32}")
    info.size, info.mode = size, 0o644
    assert Member(info.name, 512, size).header == info.tobuf(tarfile.GNU_FORMAT)
