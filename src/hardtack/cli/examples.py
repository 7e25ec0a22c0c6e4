"""An example of each command, which its `--help` ends with."""

from __future__ import annotations

import click

EXAMPLES = {
    "mount": "hardtack mount s3://my-bucket/models /srv/models --cache-size 40GiB",
    "unmount": "hardtack unmount /srv/models",
    "wait": "hardtack wait /srv/models 'det_*/**' --timeout 30m",
    "status": "hardtack status /srv/models",
    "health": "hardtack health /srv/models --timeout 2s",
    "hold": "hardtack hold /run/hardtack/hold.sock",
    "ls": "hardtack ls s3://my-bucket/models --offline",
    "refresh": "hardtack refresh s3://my-bucket/models",
    "prefetch": "hardtack prefetch s3://my-bucket/models '**/*.onnx'",
    "pin": "hardtack pin s3://my-bucket/models 2026-11",
    "unpin": "hardtack unpin s3://my-bucket/models 2026-11",
    "releases": "hardtack releases s3://my-bucket/models",
    "verify": "hardtack verify s3://my-bucket/models --repair",
    "cache list": "hardtack cache list s3://my-bucket/models",
    "cache size": "hardtack cache size s3://my-bucket/models",
    "cache evict": "hardtack cache evict s3://my-bucket/models 'old/**'",
    "images scan": "hardtack images scan charts/ Dockerfile",
    "images lock": "hardtack images lock charts/ --platform linux/arm64",
    "images pull": "hardtack images pull --out bundles",
    "images install": "hardtack images install bundles --import",
    "images audit": "hardtack images audit --deep",
    "images prune": "hardtack images prune --lock images.lock",
    "images extract": "hardtack images extract alpine:3.22 /etc/os-release --to out",
    "images dockerfile": "hardtack images dockerfile Dockerfile --check",
    "policy check": "hardtack policy check charts/ --fix",
    "policy explain": "hardtack policy explain pull-always",
    "policy rules": "hardtack policy rules",
    "model check": "hardtack model check models/det_1/primary/1",
    "model show": "hardtack model show models/det_1/primary/1",
    "model run": "hardtack model run models/det_1/primary/1 picture.png",
    "model new": "hardtack model new defect.onnx --to models/det_1/primary/1 --task binary",
    "inference serve": "hardtack inference serve --model models/det_1 --port 8000",
    "inference examine": "hardtack inference examine --model models/det_1/primary/1 --port 18000",
    "endpoint serve": "hardtack endpoint serve --models /srv/models --detectors detectors.yaml",
    "ready": "hardtack ready s3://my-bucket --detectors detectors.yaml --fetch",
    "deploy import-values": "hardtack deploy import-values values.yaml -o mine.yaml",
    "deploy render": "hardtack deploy render --values values.yaml -o manifests",
    "deploy requirements": "hardtack deploy requirements --values values.yaml",
    "job edge-config": "hardtack job edge-config --given /config --state /srv/endpoint",
    "job ecr-credentials": "hardtack job ecr-credentials --once "
    "--registry 123456789012.dkr.ecr.us-west-2.amazonaws.com",
    "job k3s-memory": "hardtack job k3s-memory --system-reserved 1GiB",
    "job network-healer": "hardtack job network-healer --once",
    "job check-values": "hardtack job check-values --file values.yaml",
    "doctor": "hardtack doctor s3://my-bucket --timeout 3s",
    "box prepare": "hardtack box prepare --dry-run",
    "box clock": "hardtack box clock --watch",
    "demo": "hardtack demo --keep",
    "config show": "hardtack config show --json",
    "completion": "hardtack completion bash >> ~/.bashrc",
    "version": "hardtack version --json",
}
"""A command's words → a line that can be typed."""


def show(command: click.Command, path: str) -> None:
    """Have the help of `command`, and of those in its group, end with their examples."""
    if path in EXAMPLES:
        command.epilog = f"\b\nExample:\n  {EXAMPLES[path]}"
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            show(child, f"{path} {name}")
