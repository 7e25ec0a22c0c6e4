"""How systemd starts k3s: the command's flags and its environment, which k3s's files don't hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hardtack.deploy.facts import environments, systemd
from hardtack.deploy.facts.unitfiles import UnitFiles

UNITS = ("k3s.service", "k3s-agent.service")
_ENVIRONMENT = {
    "K3S_URL": "server",
    "K3S_DATASTORE_ENDPOINT": "datastore-endpoint",
    "K3S_DATA_DIR": "data-dir",
    "K3S_NODE_NAME": "node-name",
    "K3S_RESOLV_CONF": "resolv-conf",
    "K3S_CONFIG_FILE": "config",
    "K3S_TOKEN_FILE": "token-file",
    "K3S_AGENT_TOKEN_FILE": "agent-token-file",
    "K3S_VPN_AUTH": "vpn-auth",
    "K3S_VPN_AUTH_FILE": "vpn-auth-file",
}
_SHORT = {"c": "config", "d": "data-dir", "i": "node-ip", "s": "server", "t": "token"}
_ROLES = ("server", "agent")


def flags(root: Path) -> dict[str, list[str]]:
    """Flag → values of the command that starts k3s; they overwrite what its files say."""
    found: dict[str, list[str]] = {}
    for said in _started(root):
        commands = [v for k, v in said if k == "ExecStart" and v]
        for name, value in _flags(environments.words(commands[-1] if commands else "")):
            found.setdefault(long(name), []).append(value)
    return found


def long(flag: str) -> str:
    """What k3s calls a flag that has a short name too; its files may have either."""
    return _SHORT.get(flag, flag)


def environment(root: Path) -> dict[str, str]:
    """Flag → value of k3s's environment; what its files say goes first."""
    found = {}
    for said in _started(root):
        for name, value in environments.variables(root, said).items():
            if value and name in _ENVIRONMENT:
                found[_ENVIRONMENT[name]] = value
    return found


def _started(root: Path) -> list[list[tuple[str, str]]]:
    """What those of k3s's units say that are there and not masked."""
    files = UnitFiles(root)
    names = systemd.names(files)
    return [list(files.settings(unit)) for unit in UNITS if unit in names]


def _flags(words: list[str]) -> Iterator[tuple[str, str]]:
    """(flag, value) of what follows `k3s server` or `k3s agent`; of a flag alone `true`."""
    roles = [words.index(role) for role in _ROLES if role in words]
    rest = iter(words[min(roles) + 1 :] if roles else [])
    pending = ""
    for word in rest:
        if word.startswith("-"):
            if pending:
                yield pending, "true"
            name, equals, value = word.lstrip("-").partition("=")
            if equals:
                yield name, value
            pending = "" if equals else name
        elif pending:
            yield pending, word
            pending = ""
    if pending:
        yield pending, "true"
