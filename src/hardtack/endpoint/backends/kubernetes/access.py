"""How a cluster's API server is reached: from inside it, or as a kubeconfig says."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hardtack.core.errors import ConfigError
from hardtack.core.trust import trusting
from hardtack.core.yamlerrors import told

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Access:
    """`token_file` is read for each request, as its content is renewed while we run."""

    server: str
    namespace: str = "default"
    authority: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)

    def bearer(self) -> str:
        """The token of now; empty where a certificate is enough. Raises ConfigError."""
        if self.token_file is None:
            return self.token
        try:
            return self.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.token_file}, the cluster's token: {error}.") from None

    def context(self) -> ssl.SSLContext:
        """TLS that trusts the cluster's authority. Raises ConfigError."""
        try:
            made = trusting(pem=self.authority.decode() or None)
            if self.certificate:
                # The standard library reads certificates from files alone.
                with tempfile.TemporaryDirectory(prefix="hardtack-") as directory:
                    pair = [Path(directory, name) for name in ("certificate", "key")]
                    for path, body in zip(pair, (self.certificate, self.key), strict=True):
                        path.touch(mode=0o600)
                        path.write_bytes(body)
                    made.load_cert_chain(str(pair[0]), str(pair[1]))
        except (ssl.SSLError, UnicodeDecodeError, OSError) as error:
            raise ConfigError(f"The cluster's certificates can't be used: {error}.") from None
        return made


def find(kubeconfig: Path | None = None) -> Access:
    """That of the kubeconfig, if one is given; else that of the pod we are in.

    Raises ConfigError.
    """
    return from_kubeconfig(kubeconfig) if kubeconfig else from_pod(os.environ)


def from_pod(environment: Mapping[str, str], account: Path = ACCOUNT) -> Access:
    """The access of a pod's service account. Raises ConfigError."""
    host, port = (environment.get(f"KUBERNETES_SERVICE_{name}") for name in ("HOST", "PORT"))
    if not host or not port:
        raise ConfigError(
            "This is no pod of a Kubernetes cluster: KUBERNETES_SERVICE_HOST is not set.",
            remedy="Outside a cluster name a kubeconfig with --kubeconfig.",
        )
    try:
        authority = (account / "ca.crt").read_bytes()
        namespace = (account / "namespace").read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"{error.filename}, of the pod's service account, can't be read: {error.strerror}.",
            remedy="Give the pod a service account, and mount its token.",
        ) from None
    host = f"[{host}]" if ":" in host else host
    return Access(f"https://{host}:{port}", namespace, authority, token_file=account / "token")


def from_kubeconfig(path: Path) -> Access:
    """The access of its current context: a token, or a certificate and key. Raises ConfigError."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = _named(document["contexts"], document["current-context"])["context"]
        cluster = _named(document["clusters"], context["cluster"])["cluster"]
        user = _named(document["users"], context["user"])["user"] or {}
        server = str(cluster["server"])
    except OSError as error:
        raise ConfigError(f"{path}, the kubeconfig, can't be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{told(error, str(path))}.", remedy="Mend the kubeconfig, or name another."
        ) from None
    except (UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is no kubeconfig that can be used: {error!r}.",
            remedy="Expected a current-context with its cluster and its user.",
        ) from None
    if "exec" in user or "auth-provider" in user:
        raise ConfigError(
            f"{path} has a program log in, which needs a network.",
            remedy="Use a kubeconfig with a token, or with a client certificate and its key.",
        )
    if cluster.get("insecure-skip-tls-verify"):
        raise ConfigError(
            f"{path} switches TLS verification off.",
            remedy="Put the cluster's authority there: certificate-authority-data.",
        )
    token_file = user.get("tokenFile")
    return Access(
        server.rstrip("/"),
        context.get("namespace") or "default",
        _bytes(path, cluster, "certificate-authority"),
        str(user.get("token") or ""),
        path.parent / token_file if token_file else None,
        _bytes(path, user, "client-certificate"),
        _bytes(path, user, "client-key"),
    )


def _named(entries: Any, name: str) -> Any:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise KeyError(name)


def _bytes(path: Path, table: Mapping[str, Any], name: str) -> bytes:
    """What stands under `<name>-data`, or in the file that `name` names. Raises ConfigError."""
    try:
        if data := table.get(f"{name}-data"):
            return base64.b64decode(data, validate=True)
        return (path.parent / table[name]).read_bytes() if table.get(name) else b""
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {name} can't be read: {error}.") from None
