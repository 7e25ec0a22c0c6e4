"""Containers that download when they start."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hardtack.manifests.chains import chains
from hardtack.manifests.marks import is_told
from hardtack.manifests.place import Severity
from hardtack.manifests.yamlpos import children, text_of
from hardtack.policy.deployment import Container, Deployment
from hardtack.policy.rule import Found, Rule, example, example_pod
from hardtack.policy.rules.shell import downloads

_URL = re.compile(r"\b(?:https?|ftp)://(?:[^/@\s\"']*@)?(\[[^\]]*\]|[^:/\s\"'?]+)")
_LOCAL = re.compile(
    r"localhost|127\..*|\[::1\]|0\.0\.0\.0|[^.{$]*|.*\.(?:svc|local|internal)|.*\.svc\..*"
)
_TRANSFER = re.compile(r"(?:curl|wget)\b")
_HUB = re.compile(
    r"HF_(?!HUB_OFFLINE$)\w+|HUGGING\w+|TRANSFORMERS_(?!OFFLINE$)\w+|SENTENCE_TRANSFORMERS_HOME"
    r"|TORCH_HOME"
)
_LOADS = re.compile(r"from_pretrained|torch\.hub|snapshot_download|hf_hub_download|huggingface")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_YES = ("1", "true", "TRUE", "True", "yes", "YES", "on", "ON")


def _at_run_time(deployment: Deployment) -> Iterator[Found]:
    for script in deployment.scripts:
        if not script.at_run_time or not downloads(script.text):
            continue
        for chain in chains(script.text):
            for command in chain:
                what = "" if command.group else downloads(command.text)
                if what and not (_TRANSFER.match(what) and _stays(command.text)):
                    yield Found(
                        script.place(command.line),
                        f"{script.way}: `{what}` downloads when the container starts",
                    )


def _stays(command: str) -> bool:
    """Whether every address in the command is on the box or in its cluster."""
    hosts = _URL.findall(command)
    return bool(hosts) and all(_LOCAL.fullmatch(host) for host in hosts)


def _hub_online(deployment: Deployment) -> Iterator[Found]:
    for container in deployment.containers:
        given = container.environment()
        # Variables out of a ConfigMap can't be told from here.
        if children(container.node.get("envFrom")) or not _uses_hub(container, given):
            continue
        missing = [
            name
            for name in _OFFLINE
            if _off(given.get(name)) and name not in _from_elsewhere(container)
        ]
        if missing:
            names = " and ".join(f"{name}=1" for name in missing)
            yield Found(
                container.place,
                f"{container.way} loads from a model hub without {names}: "
                "it asks the hub at each start, and waits for it without a network"
                f"{container.caveat}",
            )


def _off(value: str | None) -> bool:
    return value is None or (value not in _YES and is_told(value))


def _uses_hub(container: Container, given: dict[str, str]) -> bool:
    words = [*children(container.node.get("command")), *children(container.node.get("args"))]
    return any(_HUB.fullmatch(name) for name in given) or any(
        _LOADS.search(str(word.plain())) for word in words
    )


def _from_elsewhere(container: Container) -> set[str]:
    """Variables whose value a ConfigMap, a Secret or a field gives."""
    entries = children(container.node.get("env"))
    return {text_of(entry.get("name")) for entry in entries if entry.get("valueFrom")}


RULES = (
    Rule(
        "runtime-download",
        Severity.ERROR,
        "A container downloads when it starts",
        "`curl`, `wget`, `pip install`, `apk add`, `apt-get`, `git clone` and their like in a "
        "container's command need the network at every start. Put it into the image. Addresses on "
        "the box and in the cluster are no downloads.",
        example(pod_yaml=example_pod('command: ["sh", "-c", "apk add curl && exec serve"]')),
        example(
            pod_yaml=example_pod(
                'command: ["sh", "-c", "wget -qO- http://localhost:8000/ && exec serve"]'
            )
        ),
        _at_run_time,
    ),
    Rule(
        "hub-online",
        Severity.ERROR,
        "A model library may ask its hub",
        "Hugging Face's libraries ask the hub whether a cached model is the newest, at each start. "
        "`HF_HUB_OFFLINE=1` and `TRANSFORMERS_OFFLINE=1` make them take what is on the disk.",
        example(
            pod_yaml=example_pod("env:", "  - name: HF_HUB_CACHE", "    value: /models/hf-hub")
        ),
        example(
            pod_yaml=example_pod(
                "env:",
                "  - name: HF_HUB_CACHE",
                "    value: /models/hf-hub",
                "  - name: HF_HUB_OFFLINE",
                '    value: "1"',
                "  - name: TRANSFORMERS_OFFLINE",
                '    value: "1"',
            )
        ),
        _hub_online,
    ),
)
