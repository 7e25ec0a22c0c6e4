"""The site: a registry with our image, a bucket with the nine models, and a small cloud."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support import oci
from tests.support.clouds import Cloud, running
from tests.support.registry import RegistryServer, registry
from tests.support.s3 import S3Server

from drill.network import CLOUD, SITE, Network

REGISTRY = f"{SITE}:5000"
BUCKET = "weights"
PAUSE = f"{REGISTRY}/rancher/mirrored-pause:3.6"
_S3_PORT = 9000
_CLOUD_PORT = 8080
_VERSION = "opt/hardtack/lib/python3.11/site-packages/hardtack/__init__.py"


class Site:
    """What is there: `s3`, `cloud`; images are published, objects put."""

    def __init__(self, network: Network, registry: RegistryServer, s3: S3Server, cloud: Cloud):
        self._network = network
        self._registry = registry
        self.s3 = s3
        self.cloud = cloud

    def publish(self, archive: Path, tag: str) -> str:
        """Push an OCI archive as our image; the name by which a deployment has it."""
        name = f"{REGISTRY}/hardtack/hardtack:{tag}"
        subprocess.run(
            self._network.at_site(
                "skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false",
                f"oci-archive:{archive}", f"docker://{name}",
            ),
            check=True,
        )  # fmt: skip
        return name

    def publish_next(self, archive: Path, tag: str) -> None:
        """Push the image again as version `tag`: one more layer, with what says so."""
        with tempfile.TemporaryDirectory(prefix="hardtack-next-") as scratch:
            copy = ["skopeo", "copy", "--quiet", "--insecure-policy"]
            subprocess.run([*copy, f"oci-archive:{archive}", f"dir:{scratch}"], check=True)
            manifest = json.loads(Path(scratch, "manifest.json").read_text())
            digest = manifest["config"]["digest"].removeprefix("sha256:")
            config = json.loads(Path(scratch, digest).read_text())
            config["config"].setdefault("Labels", {})["org.opencontainers.image.version"] = tag
            plain, packed = _version_layer(tag)
            config["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(plain).hexdigest()}")
            manifest["layers"].append(
                {"mediaType": manifest["layers"][-1]["mediaType"], **_put(scratch, packed)}
            )
            manifest["config"] |= _put(scratch, json.dumps(config).encode())
            Path(scratch, "manifest.json").write_text(json.dumps(manifest))
            to = f"docker://{REGISTRY}/hardtack/hardtack:{tag}"
            subprocess.run(
                self._network.at_site(*copy, "--dest-tls-verify=false", f"dir:{scratch}", to),
                check=True,
            )

    def publish_pause(self) -> None:
        """The container that holds a pod's namespaces: k3s's is Rancher's, ours is busybox."""
        busybox = oci.layer({"bin/busybox": Path("/bin/busybox").read_bytes()})
        pause = oci.image([busybox], command=["/bin/busybox", "sleep", "2147483647"])
        with self._network.visiting_site():
            self._registry.push("rancher/mirrored-pause", "3.6", pause)

    def put(self, objects: Mapping[str, bytes]) -> int:
        """Put objects into the bucket; their bytes."""
        for key, body in objects.items():
            self.s3.put(BUCKET, key, body)
        return sum(map(len, objects.values()))


def _version_layer(tag: str) -> tuple[bytes, bytes]:
    """The layer that makes our image another version, as it is and compressed."""
    text = f'"""hardtack, version {tag} of the drill."""\n\n__version__ = "{tag}"\n'
    packed = oci.layer({_VERSION: text.encode()})
    return gzip.decompress(packed), packed


def _put(directory: str, body: bytes) -> dict[str, str | int]:
    """A blob of an image that lies in `directory`; how a manifest names it."""
    name = hashlib.sha256(body).hexdigest()
    Path(directory, name).write_bytes(body)
    return {"digest": f"sha256:{name}", "size": len(body)}


@contextmanager
def site(network: Network, directory: Path) -> Iterator[Site]:
    """A running site that keeps its things in `directory`."""
    directory.mkdir()
    with ExitStack() as stack:
        s3 = S3Server(directory / "s3", (SITE, _S3_PORT), network.at_site)
        cloud = Cloud(port=_CLOUD_PORT, address=CLOUD)
        with network.visiting_site():
            served = stack.enter_context(registry(directory, (SITE, 5000), network.at_site))
            stack.callback(s3.stop)
            s3.start()
            stack.enter_context(running(cloud))
        yield Site(network, served, s3, cloud)
