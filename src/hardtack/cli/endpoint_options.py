"""The options of `hardtack endpoint serve`, each with its variable `HARDTACK_ENDPOINT_…`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from hardtack.cli.options import BATCH_WINDOW, DURATION, PAUSE, SIZE, option
from hardtack.endpoint.backends.telling import FLAVORS

_option: Any = functools.partial(option, of="ENDPOINT")
_FILE = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path, file_okay=False)

PLACES = [
    _option(
        "--models", required=True, metavar="DIR", type=_DIRECTORY,
        help="Where the detectors' models are: DIR/<detector id>/primary/<version>.",
    ),
    _option(
        "--detectors", metavar="FILE", type=_FILE,
        help="YAML that names the detectors. Others are learnt from the cloud, once.",
    ),
    _option(
        "--state", default="/var/lib/hardtack/endpoint", show_default=True, metavar="DIR",
        type=_DIRECTORY, help="Where image queries, logs and the configuration in force are kept.",
    ),
    _option(
        "--config", "edge_config", metavar="FILE", type=_FILE,
        help="The edge configuration. One that is set while running goes before it, until it is "
        "edited: an edit is put in force at once.",
    ),
    _option(
        "--ready-file", metavar="FILE", type=_FILE,
        help="Where hardtack ready --watch keeps its verdict; the status page shows it.",
    ),
]  # fmt: skip

CLOUD = [
    _option(
        "--upstream", default="", metavar="URL",
        help="The cloud, such as https://api.groundlight.ai. Default: none, the box answers alone.",
    ),
    _option(
        "--upstream-ca", metavar="FILE", type=_FILE,
        help="Trust these certificate authorities for the cloud, in place of the system's.",
    ),
    _option(
        "--deadline", default="10s", show_default=True, type=DURATION,
        help="What asking the cloud may cost an image query.",
    ),
    _option(
        "--queue-size", default="500MB", show_default=True, type=SIZE,
        help="Pictures kept for a cloud that is away.",
    ),
    _option(
        "--queue-age", default="7d", show_default=True, type=DURATION,
        help="How long they are kept, while it runs.",
    ),
]  # fmt: skip

LISTENING = [
    _option("--host", default="127.0.0.1", show_default=True, help="Listen on this address."),
    _option("--port", default=30101, show_default=True, type=click.IntRange(0, 65535)),
    _option(
        "--https-port", type=click.IntRange(0, 65535),
        help="Serve HTTPS on this port of --host; plain HTTP stays on loopback.",
    ),
    _option(
        "--tls-cert", metavar="FILE", type=_FILE,
        help="The certificate, with its chain. Default: one signed by itself, kept in --state.",
    ),
    _option("--tls-key", metavar="FILE", type=_FILE, help="Its key."),
    _option("--plain-http", is_flag=True, help="Plain HTTP on --host too, beside HTTPS."),
    _option(
        "--token-file", metavar="FILE", type=_FILE,
        help="Answer only callers whose API token is the one in this file.",
    ),
    _option(
        "--max-body", default="20MB", show_default=True, type=SIZE, help="Largest request body."
    ),
    _option(
        "--max-pixels", default=50_000_000, show_default=True, type=click.IntRange(1),
        help="Pixels of the largest picture.",
    ),
    _option(
        "--under-way", default=16, show_default=True, type=click.IntRange(1, 256),
        help="Image queries of one detector under way; those beyond get 429.",
    ),
]  # fmt: skip

SERVERS = [
    _option(
        "--backend", default="processes", show_default=True,
        type=click.Choice(["processes", "kubernetes"]),
        help="What runs the inference servers: processes of this box, or Deployments of its "
        "Kubernetes.",
    ),
    _option(
        "--flavor", default="cpu", show_default=True, type=click.Choice(FLAVORS),
        help="What the models run on: gpu asks ONNX Runtime for CUDA, jetson for TensorRT first.",
    ),
    _option(
        "--threads", "--cpu-threads", env=("HARDTACK_ENDPOINT_CPU_THREADS",), default=1,
        show_default=True, type=click.IntRange(0, 1024),
        help="Threads of each detector's runtime; 0: all cores.",
    ),
    _option(
        "--batch-window", default="0s", show_default=True, type=BATCH_WINDOW,
        help="How long a picture waits for others of its detector, to be run through the network "
        "with them. 0s: not.",
    ),
    _option(
        "--memory", default="0", type=SIZE,
        help="Memory that each detector's server may take; one that takes more is started again. "
        "Default: no limit.",
    ),
    _option(
        "--starting", default=2, show_default=True, type=click.IntRange(1, 64),
        help="Detectors that may load at a time.",
    ),
    _option(
        "--answer-time", default="30s", show_default=True, type=PAUSE,
        help="A picture without an answer for so long: its server hangs and is started again.",
    ),
    _option(
        "--arrival-time", default="10m", show_default=True, type=DURATION,
        help="A server that loads is started again when no byte of its weights came for so long.",
    ),
    _option(
        "--model-refresh", type=DURATION,
        help="Time between two looks for new versions of models. Default: refresh_rate of the "
        "edge configuration.",
    ),
    _option(
        "--probation", default="35s", show_default=True, type=DURATION,
        help="How long the server of the version before is kept after a swap.",
    ),
]  # fmt: skip

KUBERNETES = [
    _option(
        "--namespace", default="",
        help="Where the Deployments are. Default: our pod's namespace, or the kubeconfig's.",
    ),
    _option(
        "--kubeconfig", metavar="FILE", type=_FILE,
        help="How the cluster is reached. Default: as our pod's service account.",
    ),
    _option("--inference-image", default="", help="The image of the inference servers."),
    _option(
        "--image-pull-policy", default="IfNotPresent", show_default=True,
        type=click.Choice(["Always", "IfNotPresent", "Never"]),
        help="With Always a box that has no network starts nothing.",
    ),
    _option(
        "--image-pull-secret", "pull_secrets", multiple=True,
        help="A secret for the image's registry; repeat it.",
    ),
    _option(
        "--runtime-class",
        help="RuntimeClass of the pods. Default: nvidia; for the flavor cpu none.",
    ),
    _option(
        "--node-selector", multiple=True, metavar="KEY=VALUE",
        help="Only nodes with this label; repeat it.",
    ),
    _option(
        "--mount-path", metavar="DIR", type=_DIRECTORY,
        help="The host's path of the weights' mount, the same in every pod. Default: the directory "
        "above --models.",
    ),
    _option("--cpu-request", default="", help="CPU of each pod, such as 100m."),
    _option("--cpu-limit", default="", help="The most CPU of each pod. Default: no limit."),
    _option("--memory-request", default="", help="Memory of each pod, such as 256Mi."),
]  # fmt: skip
