"""A Kubernetes of one node on the drill's box, laid out as k3s lays out its own.

etcd, API server, controllers, scheduler, kube-proxy and kubelet are Kubernetes' own; containerd is
the box's. As with k3s the kubelet takes its arguments from `/etc/rancher/k3s`, its drop-ins from
k3s's directory, and the node has the address that is named there: what `hardtack box prepare` and
the chart's `k3s-memory` write is in force from the next start.
"""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trustme
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from drill.box import Box
from drill.network import API
from tests.support.helm import kubectl

from bench.cluster import programs

SERVER = "/var/lib/rancher/k3s/server"
_TLS = f"{SERVER}/tls"
_DROP_INS = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d"
_CONFIG = "/etc/rancher/k3s"
_PORT = 6443
_DNS = "10.43.0.10"
_OWN = {"/var/lib/kubelet": "/var/lib/rancher/kubelet", "/var/log": "/var/lib/rancher/log"}
"""Directories that a box has on its own disk, and where they lie there."""
_GROUPS = Path("/sys/fs/cgroup")
_PATIENCE = 300.0
_WHO = {
    "admin": ("admin", "system:masters"),
    "kubelet": ("system:node:box", "system:nodes"),
    "manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
}
"""Common name and organisation of each one's certificate."""
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "userGroups": ["system:serviceaccounts:edge"]},
        {"level": "None"},
    ],
}  # fmt: skip


class Kubernetes:
    """`start` and `stop` its parts; `kubectl`, `get` and `helm` ask it."""

    def __init__(self, box: Box, authority: trustme.CA) -> None:
        self._box = box
        self._programs = programs.directory()
        self._authority = authority
        self.logs = box.directory / "kubernetes"
        self.kubeconfig = self.logs / "admin.yaml"
        self.audit = self.logs / "audit.log"

    @property
    def version(self) -> str:
        """`1.35`"""
        return ".".join(programs.version().removeprefix("v").split(".")[:2])

    # -- Life

    def install(self) -> None:
        """What its parts need on the box's disk, certificates above all."""
        self.logs.mkdir(exist_ok=True)
        tls = self._box.path(_TLS)
        tls.mkdir(parents=True, exist_ok=True)
        self._authority.cert_pem.write_to_path(tls / "server-ca.crt")
        names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost",
                 "127.0.0.1", API[0], self.address)  # fmt: skip
        for name in ("serving-kube-apiserver", "serving-kubelet"):
            self._issue(tls / name, *names, "box")
        for name, (common, organisation) in _WHO.items():
            self._issue(tls / f"client-{name}", "box", common=common, organisation=organisation)
            self._configure(name, f"{_TLS}/client-{name}", Path(_TLS), tls / f"{name}.yaml")
        self._configure("admin", str(tls / "client-admin"), tls, self.kubeconfig)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )  # fmt: skip
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (tls / "service.key").write_bytes(private)
        (tls / "service.pub").write_bytes(public)
        (tls / "audit.yaml").write_text(yaml.safe_dump(_AUDIT))
        drop_ins = self._box.path(_DROP_INS)
        drop_ins.mkdir(parents=True, exist_ok=True)
        (drop_ins / "00-k3s-defaults.conf").write_text(yaml.safe_dump(self._kubelet()))

    def start(self) -> None:
        """All parts, each when what it needs is there; returns when the node is ready."""
        self._own_directories()
        self._start_control_plane()
        self.start_kubelet()
        self.start_part("kube-proxy", "--kubeconfig", f"{_TLS}/proxy.yaml", "--hostname-override",
                        "box", "--proxy-mode", "iptables", "--conntrack-max-per-core", "0",
                        "--conntrack-min", "0", "--conntrack-tcp-timeout-established", "0",
                        "--conntrack-tcp-timeout-close-wait", "0")  # fmt: skip
        self._until("the node is ready", self._node_is_ready)

    def start_kubelet(self) -> None:
        arguments = [f"--{one}" for one in self.settings().get("kubelet-arg", ())]
        self.start_part("kubelet", "--kubeconfig", f"{_TLS}/kubelet.yaml", "--config-dir",
                        _DROP_INS, "--hostname-override", "box", "--node-ip", self.address,
                        *arguments)  # fmt: skip

    def start_part(self, name: str, *arguments: str) -> None:
        """One program on the box; its log is `logs/NAME.log`."""
        pid = f'echo $$ > /run/{name}.pid; exec "$@"'
        with (self.logs / f"{name}.log").open("ab") as log:
            subprocess.Popen(
                self._box.enter("sh", "-c", pid, "sh", str(self._programs / name), *arguments),
                stdout=log, stderr=log,
            )  # fmt: skip

    def restart_kubelet(self, seconds: float = 0) -> None:
        """End it, and start it anew `seconds` later."""
        self.stop_part("kubelet")
        time.sleep(seconds)
        self.start_kubelet()
        self._until("the node is ready", self._node_is_ready)

    def stop_part(self, name: str) -> None:
        """SIGTERM, and wait until it has ended."""
        pid = self._box.path(f"/run/{name}.pid").read_text().strip()
        self._box.do("kill", pid)
        self._until(f"{name} ends", lambda: not self._box.tried("kill", "-0", pid))

    def settings(self) -> dict[str, list[str]]:
        """What `/etc/rancher/k3s` says, a list for each flag, merged as k3s does it."""
        found: dict[str, list[str]] = {}
        directory = self._box.path(_CONFIG)
        for file in (directory / "config.yaml", *sorted(directory.glob("config.yaml.d/*.y*ml"))):
            for key, value in (
                yaml.safe_load(file.read_text()) or {} if file.exists() else {}
            ).items():
                values = [str(v) for v in (value if isinstance(value, list) else [value])]
                name = key.removesuffix("+")
                found[name] = [*(found.get(name, []) if key.endswith("+") else []), *values]
        return found

    @property
    def address(self) -> str:
        """The node's, as k3s is told."""
        return self.settings()["node-ip"][-1].split(",")[0]

    # -- Asking it

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """Its output; raises RuntimeError where it doesn't end well."""
        return said_by(
            str(kubectl()), "--kubeconfig", str(self.kubeconfig), *arguments, given=given
        )

    def get(self, *arguments: str) -> Any:
        """`kubectl -n edge get … -o json`."""
        return json.loads(self.kubectl("-n", "edge", "get", *arguments, "-o", "json"))

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(*arguments)["items"]
        return found

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", given=yaml.safe_dump_all(manifests))

    def ask(self, path: str) -> bytes | None:
        """The reply of the API; None where it isn't 200, or nobody is there."""
        tls = self._box.path(_TLS)
        trusting = ssl.create_default_context(cafile=str(tls / "server-ca.crt"))
        trusting.load_cert_chain(str(tls / "client-admin.crt"), str(tls / "client-admin.key"))
        connection = http.client.HTTPSConnection("127.0.0.1", _PORT, timeout=5, context=trusting)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            body = reply.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return body if reply.status == 200 else None

    # -- Its parts

    def _own_directories(self) -> None:
        for place, kept in _OWN.items():
            self._box.do("mkdir", "-p", kept, place)
            self._box.do("mount", "--bind", kept, place)
        for top in (_GROUPS, *_GROUPS.iterdir()):
            if (top / "cgroup.procs").exists():
                Path(f"{top}{self._box.group}").mkdir(exist_ok=True)

    def _start_control_plane(self) -> None:
        self.start_part("etcd", "--data-dir", f"{SERVER}/db/etcd", "--listen-client-urls",
                        "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
                        "--listen-peer-urls", "http://127.0.0.1:2380", "--log-level",
                        "warn")  # fmt: skip
        self.start_part(
            "kube-apiserver", "--etcd-servers", "http://127.0.0.1:2379",
            "--service-cluster-ip-range", "10.43.0.0/16", "--secure-port", str(_PORT),
            "--advertise-address", self.address, "--allow-privileged",
            "--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction",
            "--client-ca-file", f"{_TLS}/server-ca.crt",
            "--tls-cert-file", f"{_TLS}/serving-kube-apiserver.crt",
            "--tls-private-key-file", f"{_TLS}/serving-kube-apiserver.key",
            "--kubelet-client-certificate", f"{_TLS}/client-admin.crt",
            "--kubelet-client-key", f"{_TLS}/client-admin.key",
            "--kubelet-preferred-address-types", "InternalIP",
            "--service-account-issuer", "https://kubernetes.default.svc.cluster.local",
            "--service-account-key-file", f"{_TLS}/service.pub",
            "--service-account-signing-key-file", f"{_TLS}/service.key",
            "--audit-policy-file", f"{_TLS}/audit.yaml", "--audit-log-path", str(self.audit),
        )  # fmt: skip
        self._until("the API server is ready", lambda: self.ask("/readyz"))
        self.start_part(
            "kube-controller-manager", "--kubeconfig", f"{_TLS}/manager.yaml",
            "--leader-elect=false", "--use-service-account-credentials",
            "--service-account-private-key-file", f"{_TLS}/service.key",
            "--root-ca-file", f"{_TLS}/server-ca.crt",
        )  # fmt: skip
        self.start_part("kube-scheduler", "--kubeconfig", f"{_TLS}/scheduler.yaml",
                        "--leader-elect=false")  # fmt: skip

    def _node_is_ready(self) -> bool:
        found = self.ask("/api/v1/nodes/box")
        conditions = json.loads(found)["status"].get("conditions", ()) if found else ()
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def _kubelet(self) -> dict[str, Any]:
        """The kubelet's configuration, as k3s writes it; but for the control groups."""
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False}, "webhook": {"enabled": False},
                "x509": {"clientCAFile": f"{_TLS}/server-ca.crt"},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "tlsCertFile": f"{_TLS}/serving-kubelet.crt",
            "tlsPrivateKeyFile": f"{_TLS}/serving-kubelet.key",
            "cgroupDriver": "cgroupfs", "cgroupRoot": self._box.group, "failCgroupV1": False,
            "containerRuntimeEndpoint": "unix:///run/k3s/containerd/containerd.sock",
            "clusterDNS": [_DNS], "clusterDomain": "cluster.local", "failSwapOn": False,
            "evictionHard": {"imagefs.available": "5%", "nodefs.available": "5%"},
            "evictionMinimumReclaim": {"imagefs.available": "10%", "nodefs.available": "10%"},
            "serializeImagePulls": False,
        }  # fmt: skip

    def serve_names(self, address: str) -> None:
        """kube-dns' Service, to whoever answers on the node at `address`."""
        ports = [{"name": "dns", "port": 53, "protocol": "UDP"}]
        self.apply(
            {"apiVersion": "v1", "kind": "Service",
             "metadata": {"name": "kube-dns", "namespace": "kube-system"},
             "spec": {"clusterIP": _DNS, "ports": ports}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
             "metadata": {"name": "kube-dns", "namespace": "kube-system",
                          "labels": {"kubernetes.io/service-name": "kube-dns"}},
             "addressType": "IPv4", "endpoints": [{"addresses": [address]}], "ports": ports},
        )  # fmt: skip

    def _issue(self, path: Path, *names: str, common: str = "", organisation: str = "") -> None:
        issued = self._authority.issue_cert(
            *names, common_name=common or None, organization_name=organisation or "hardtack",
            key_type=trustme.KeyType.ECDSA,
        )  # fmt: skip
        path.with_suffix(".crt").write_bytes(b"".join(p.bytes() for p in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(path.with_suffix(".key"))

    def _configure(self, name: str, certificate: str, tls: Path, to: Path) -> None:
        """A kubeconfig of `name`, with the certificate."""
        to.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "box",
            "clusters": [{"name": "box", "cluster": {
                "server": f"https://127.0.0.1:{_PORT}",
                "certificate-authority": str(tls / "server-ca.crt")}}],
            "users": [{"name": name, "user": {"client-certificate": f"{certificate}.crt",
                                              "client-key": f"{certificate}.key"}}],
            "contexts": [{"name": "box", "context": {"cluster": "box", "user": name}}],
        }))  # fmt: skip

    def _until(self, what: str, true: Any) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not true():
            if time.monotonic() > deadline:
                logs = "\n".join(f"{f.name}: {_end(f)}" for f in sorted(self.logs.glob("*.log")))
                raise RuntimeError(f"Not in {_PATIENCE:.0f} s: {what}.\n{logs}")
            time.sleep(0.1)


def said_by(*command: str, given: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """The output of a command, which must end well; `given` is its standard input."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False,
                          env=env)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _end(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]
