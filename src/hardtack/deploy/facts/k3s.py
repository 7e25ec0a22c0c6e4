"""k3s's configuration: its environment, its files, its command; the later wins."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hardtack.core.errors import ConfigError
from hardtack.core.yamlerrors import told
from hardtack.deploy.facts import k3s_start, names, resolvconf
from hardtack.deploy.facts import kubelet as kubelet_files
from hardtack.deploy.facts.links import gone
from hardtack.deploy.facts.model import K3s
from hardtack.deploy.facts.unreadable import unreadable

CONFIG = Path("etc/rancher/k3s")
DATA = Path("var/lib/rancher/k3s")
SOCKET = Path("run/k3s/containerd/containerd.sock")
_CONTAINERD = DATA / "agent/etc/containerd/config.toml"
_REGISTRIES = "/etc/rancher/k3s/registries.yaml"
_READ_FIRST = ("token-file", "agent-token-file")
_PATIENCE = 3.0
_SIGNS = (CONFIG, DATA, Path("usr/local/bin/k3s"), Path("bin/k3s"))


def read(root: Path) -> K3s | None:
    """What k3s below `root` is told; None where there is none. Raises ConfigError."""
    if not any((root / sign).exists() for sign in _SIGNS):
        return None
    environment = k3s_start.environment(root)
    settings: dict[str, Any] = dict(environment)
    for file in _files(root):
        for key, value in _read(file).items():
            flag = k3s_start.long(key.removesuffix("+"))
            before = _listed(settings.get(flag)) if key.endswith("+") else []
            settings[flag] = [*before, *_listed(value)] if before else value
    commanded = k3s_start.flags(root)
    settings |= commanded
    if "config" in environment:  # alone of all it goes before the command
        settings["config"] = environment["config"]
    kubelet = kubelet_files.read(root, dict(_arguments(settings.pop("kubelet-arg", None))))
    plain = {key: ",".join(map(str, _listed(value))) for key, value in settings.items()}
    resolv = plain.get("resolv-conf") or kubelet.get("resolv-conf")
    registries = root / plain.get("private-registry", _REGISTRIES).lstrip("/")
    if registries.is_file():
        _read(registries)  # or k3s says so, and starts nothing
    return K3s(
        plain, kubelet, resolvconf.servers(root, resolv) if resolv else None,
        _pause(root, plain.get("pause-image", "")), frozenset(commanded),
        names.of_node(root, with_id=plain.get("with-node-id", "").lower() == "true"),
        resolv if resolv and resolvconf.leased(root, resolv) else "",
        {flag: plain[flag] for flag in _READ_FIRST if gone(root, plain.get(flag, ""))},
    )  # fmt: skip


def _pause(root: Path, told: str) -> str | None:
    """The image with which the next start holds pods. What k3s wrote for containerd names its
    registry too, but is of the last start: of another image since then k3s alone was `told`."""
    written = _sandbox(root)
    return written if written and written.endswith(told) else told or None


def _sandbox(root: Path) -> str | None:
    """The image of containerd's configuration, which k3s writes anew when it starts."""
    try:
        text = (root / _CONTAINERD).read_text(errors="replace")
    except OSError:
        return None
    found = re.search(r"""^\s*sandbox(?:_image)?\s*=\s*["']([^"']+)""", text, re.MULTILINE)
    return found[1] if found else None


def running(root: Path) -> bool:
    """Whether k3s's containerd answers below `root`; its socket outlives it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
        asked.settimeout(_PATIENCE)
        try:
            directory = os.open((root / SOCKET).parent, os.O_RDONLY | os.O_DIRECTORY)
            try:  # a socket's name has a limit of 108 bytes, a root's path has not
                asked.connect(f"/proc/self/fd/{directory}/{SOCKET.name}")
            finally:
                os.close(directory)
        except OSError:
            return False
    return True


def _files(root: Path) -> Iterator[Path]:
    config = root / CONFIG / "config.yaml"
    if config.is_file():
        yield config
    yield from sorted(p for p in (root / CONFIG / "config.yaml.d").glob("*.y*ml") if p.is_file())


def _read(file: Path) -> Mapping[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{told(error, str(file))}.", remedy="k3s wouldn't start: mend it."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(file, error, "k3s wouldn't start: mend it.") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{file} must hold settings by name.", remedy="Mend it: flag: value.")
    return {str(key).lstrip("-"): value for key, value in document.items()}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _arguments(value: Any) -> Iterator[tuple[str, str]]:
    for one in _listed(value):
        name, _, text = str(one).lstrip("-").partition("=")
        yield name, text
