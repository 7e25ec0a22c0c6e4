"""The deployment: the chart of this checkout, rendered by Helm with the drill's values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support import chart
from tests.support.helm import helm
from tests.support.s3 import ACCESS_KEY, SECRET_KEY

from drill.network import CLOUD, SITE
from drill.site import BUCKET, REGISTRY
from hardtack.demo.detectors import SAMPLES

Manifest = dict[str, Any]
EDGE = "/opt/groundlight/edge"
MOUNT = f"{EDGE}/pinamod-mount"
CACHE = f"{MOUNT}-cache"
PORT = 30101
SECRET = {
    "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "weights", "namespace": "edge"},
    "stringData": {
        "credentials": f"[default]\naws_access_key_id = {ACCESS_KEY}\n"
                       f"aws_secret_access_key = {SECRET_KEY}\n",
    },
}  # fmt: skip


def program() -> Path:
    """Helm, fetched where there is a network: before the drill's own hosts are."""
    return helm(3)


def values(tag: str) -> dict[str, Any]:
    """Helm's values, with our image at `tag` of the site's registry."""
    detectors = [
        {"id": s.id, "name": s.name, "query": s.question, "confidence_threshold": 0.5}
        for s in SAMPLES
    ]
    return {
        "image": {"repository": f"{REGISTRY}/hardtack/hardtack", "tag": tag},
        "s3Mount": {
            "bucket": BUCKET, "region": "us-east-1", "endpointUrl": f"http://{SITE}:9000",
            "credentialsSecret": "weights", "keepFree": "0", "refreshInterval": "2s",
        },
        "upstreamEndpoint": f"http://{CLOUD}:8080",
        "httpEnabled": True,
        "detectors": detectors,
        "inferenceDeployment": {"cpuThreads": 1},
    }  # fmt: skip


def rendered(tag: str) -> list[Manifest]:
    """All manifests with those values."""
    # Both speak with k3s, which the drill's box hasn't.
    without = {"k3sConfig": {"enabled": False}, "networkHealer": {"enabled": False}}
    found = chart.rendered(values(tag) | without)
    return [SECRET, *(m for m in found if m["kind"] != "Pod")]  # those are of `helm test`
