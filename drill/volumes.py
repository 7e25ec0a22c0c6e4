"""A pod's volumes as directories: host paths, ConfigMaps, Secrets, tokens, empty ones."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Manifest = dict[str, Any]
Objects = Mapping[tuple[str, str], Manifest]
"""What the cluster holds, by kind and name."""


def make(volume: Manifest, directory: Path, seen: Callable[[str], Path], objects: Objects) -> str:
    """The path on the box of a volume whose own files, if it has any, lie in `directory`.

    `seen` says where a path of the box is seen from here.
    """
    if "hostPath" in volume:
        path: str = volume["hostPath"]["path"]
        if volume["hostPath"].get("type") == "DirectoryOrCreate":
            seen(path).mkdir(parents=True, exist_ok=True)
        return path
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    if "emptyDir" in volume:
        directory.chmod(0o777)
        return str(directory)
    for name, body in _files(volume, objects).items():
        (directory / name).write_bytes(body)
        (directory / name).chmod(0o444)
    return str(directory)


def _files(volume: Manifest, objects: Objects) -> dict[str, bytes]:
    if "configMap" in volume:
        return values("ConfigMap", volume["configMap"]["name"], volume["configMap"], objects)
    if "secret" in volume:
        return values("Secret", volume["secret"]["secretName"], volume["secret"], objects)
    if "projected" in volume:
        files: dict[str, bytes] = {}
        for source in volume["projected"]["sources"]:
            files |= _projected(source, objects)
        return files
    raise ValueError(f"The drill's kubelet knows no volume like {volume}.")


def _projected(source: Manifest, objects: Objects) -> dict[str, bytes]:
    if "serviceAccountToken" in source:
        return {source["serviceAccountToken"]["path"]: b"drill"}
    if "downwardAPI" in source:
        return {item["path"]: b"edge" for item in source["downwardAPI"]["items"]}
    return values("ConfigMap", source["configMap"]["name"], source["configMap"], objects)


def values(kind: str, name: str, asked: Manifest, objects: Objects) -> dict[str, bytes]:
    """Key → value of a ConfigMap or Secret. Raises ValueError where it must be there and isn't."""
    found = objects.get((kind, name))
    if found is None:
        if asked.get("optional"):
            return {}
        raise ValueError(f"No manifest has the {kind} {name}.")
    bodies = {key: text.encode() for key, text in found.get("data", {}).items()}
    if kind == "Secret":
        bodies = {key: base64.b64decode(body) for key, body in bodies.items()}
    return bodies | {key: text.encode() for key, text in found.get("stringData", {}).items()}
