"""`python -m bench NAME …`: measured figures; without a name, which there are."""

from __future__ import annotations

import importlib
import sys

BENCHES = {
    "weights": "a bucket mounted, against the disk, the client library, rclone and s3fs",
    "images": "pulling and locking container images",
    "endpoint": "image queries, against decoding and the model in one process; a cloud that goes",
    "soak-endpoint": "nine detectors under load for minutes: failures and growing memory",
    "fleet": "a simulation: ten thousand boxes that update at once, against S3's limits",
    "dockerfiles": "every published Dockerfile, built whole over stand-ins for what others publish",
    "cluster": "a real Kubernetes, built with Go: the chart installed, the cable pulled",
    "soak": "a busy mount for minutes: wrong bytes and growing memory",
}


def main() -> int:
    name, *arguments = sys.argv[1:] or ["weights"]
    if name not in BENCHES:
        print("\n".join(f"  ./run bench {key:14} {text}" for key, text in BENCHES.items()))
        return 0 if name in ("-h", "--help") else 2
    sys.argv = [f"bench {name}", *arguments]
    code: int | None = importlib.import_module(f"bench.{name.replace('-', '_')}").main()
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
