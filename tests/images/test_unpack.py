"""What is unpacked when a bundle is loaded, and what can't be, by a real containerd."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hardtack.images.audit import State, audit
from hardtack.images.containerd import Containerd
from hardtack.images.install import install
from hardtack.images.lock import lock
from hardtack.images.manifest import OCI_MANIFEST
from hardtack.images.platforms import Platform
from hardtack.images.pull import pull
from hardtack.images.registry import Registry
from hardtack.manifests.reference import Reference
from tests.support import oci
from tests.support.containerd import containerd
from tests.support.registry import registry

HERE = Platform.here()
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
pytestmark = pytest.mark.needs("registry", "containerd", "root")


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ht-", dir="/tmp") as directory:
        yield Path(directory)


def made_of(config: bytes, config_type: str, layer: bytes, layer_type: str) -> oci.Image:
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": config_type, "digest": oci.digest(config), "size": len(config)},
        "layers": [{"mediaType": layer_type, "digest": oci.digest(layer), "size": len(layer)}],
    }
    blobs = {oci.digest(data): data for data in (config, layer)}
    return oci.Image(json.dumps(manifest).encode(), OCI_MANIFEST, blobs)


def with_rootfs(diffs: Any) -> bytes:
    return json.dumps({"rootfs": {"type": "layers", "diff_ids": diffs}}).encode()


def test_what_cannot_be_unpacked_is_loaded_all_the_same(
    short: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layer = oci.layer({"file": b"content"})
    artefact = "application/vnd.oci.empty.v1+json"
    every = {
        "artefact": made_of(b"{}", artefact, b"weights", "application/octet-stream"),
        "typed-artefact": made_of(with_rootfs(["sha256:0"]), CONFIG, b"weights", "text/plain"),
        "no-rootfs": made_of(b"{}", CONFIG, layer, LAYER),
        "null": made_of(b"null", CONFIG, layer, LAYER),
        "no-json": made_of(b"", CONFIG, layer, LAYER),
        "too-few": made_of(with_rootfs([]), CONFIG, layer, LAYER),
        "no-words": made_of(with_rootfs([1]), CONFIG, layer, LAYER),
        "no-tar": made_of(with_rootfs([oci.digest(b"")]), CONFIG, b"no tar", LAYER),
        "sound": oci.image([layer], str(HERE)),
    }
    for place in ("registry", "box"):
        (short / place).mkdir()
    with registry(short / "registry") as store:
        for name, image in every.items():
            store.push_index(f"demo/{name}", "v1", {str(HERE): image})
        names = {Reference.parse(f"{store.host}/demo/{n}:v1"): ("test",) for n in every}
        locked = lock(names, [HERE], Registry())
        pull(locked, short / "out", Registry())
    with containerd(short / "box") as server:
        client = Containerd(server.socket)
        install(short / "out", short / "k3s/agent/images", containerd=client)
        assert {row.state for row in audit(locked, HERE, client)} == {State.OK}
        laid_out = server.ctr("snapshots", "--snapshotter", "native", "ls").splitlines()[1:]
    assert [line.split()[-1] for line in laid_out] == ["Committed"]
    (told,) = [r.getMessage() for r in caplog.records if "unpacked" in r.getMessage()]
    assert "demo/no-tar" in told
