"""The small jobs that talk to Kubernetes: pull credentials, and the network healer."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hardtack.core.errors import JobError
from hardtack.deploy.facts.model import K3s, Network
from hardtack.deploy.jobs import network_healer, restarting
from hardtack.deploy.jobs.cluster import nodes
from hardtack.deploy.jobs.network_healer import Healed, Healer, Seen, Step, look
from hardtack.endpoint.backends.kubernetes.access import find
from hardtack.endpoint.backends.kubernetes.client import Cluster
from tests.support.api_server import ApiServer, api_server
from tests.support.commands import HARDTACK, clean_environment, run
from tests.support.ports import free_port
from tests.support.waiting import until

ECR = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
OTHER = "210987654321.dkr.ecr.eu-central-1.amazonaws.com"
SECRET = "/api/v1/namespaces/edge/secrets/registry-credentials"
COREDNS = "/apis/apps/v1/namespaces/kube-system/deployments"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(tmp_path) as server:
        yield server


class Ecr:
    """ECR's GetAuthorizationToken on loopback: a new token each time, or a refusal."""

    def __init__(self) -> None:
        self.tokens = 0
        self.refuses = False
        ecr = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                assert self.headers["x-amz-target"].endswith("GetAuthorizationToken")
                status, body = ecr.answer()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self) -> tuple[int, bytes]:
        if self.refuses:
            return 400, b'{"__type": "AccessDeniedException", "message": "no ecr:GetAuth"}'
        self.tokens += 1
        token = base64.b64encode(f"AWS:token-{self.tokens}".encode()).decode()
        return 200, json.dumps({"authorizationData": [{"authorizationToken": token}]}).encode()

    @property
    def env(self) -> dict[str, str]:
        return aws(self.server.server_port)


def aws(port: int) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_ECR": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "HARDTACKTESTKEY",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }


@pytest.fixture
def ecr() -> Iterator[Ecr]:
    running = Ecr()
    yield running
    running.server.shutdown()
    running.server.server_close()


def job(api: ApiServer, *registries: str) -> dict[str, str]:
    return {
        "HARDTACK_JOB_ECR_CREDENTIALS_REGISTRY": " ".join(registries),
        "HARDTACK_JOB_ECR_CREDENTIALS_KUBECONFIG": str(api.kubeconfig),
    }


def once(api: ApiServer, env: dict[str, str], *registries: str) -> subprocess.CompletedProcess[str]:
    return run("job", "ecr-credentials", "--once", env=job(api, *registries) | env)


def entries(api: ApiServer) -> dict[str, str]:
    """Registry → user:password in the pull secret."""
    secret = api.get(SECRET)
    document = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))
    for entry in document["auths"].values():
        login = f"{entry['username']}:{entry['password']}"
        assert base64.b64decode(entry["auth"]).decode() == login
    return {host: entry["password"] for host, entry in document["auths"].items()}


def test_the_pull_secret_is_made_and_renewed(api: ApiServer, ecr: Ecr) -> None:
    done = once(api, ecr.env, ECR, OTHER)
    assert done.returncode == 0, done.stderr
    assert entries(api) == {ECR: "token-1", OTHER: "token-2"}
    secret = api.get(SECRET)
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    assert once(api, ecr.env, ECR).returncode == 0
    assert entries(api) == {ECR: "token-3", OTHER: "token-2"}
    assert "token-" not in done.stdout + done.stderr


def test_offline_the_secret_stays_and_all_is_well(api: ApiServer, ecr: Ecr) -> None:
    once(api, ecr.env, ECR)
    asked = len(api.asked())
    done = once(api, aws(free_port()), ECR)
    assert done.returncode == 0, done.stderr
    assert "offline, the pull secret edge/registry-credentials stays as it is" in done.stderr
    assert entries(api) == {ECR: "token-1"}
    assert not [r for r in api.asked()[asked:] if not r.startswith("GET")]


def test_a_refusal_is_no_lack_of_network(api: ApiServer, ecr: Ecr) -> None:
    once(api, ecr.env, ECR)
    ecr.refuses = True
    done = once(api, ecr.env, ECR)
    assert done.returncode == 22
    assert "no ecr:GetAuth" in done.stderr
    assert entries(api) == {ECR: "token-1"}
    unknown = once(api, ecr.env, "ghcr.io")
    assert unknown.returncode == 11
    assert "ghcr.io is not an ECR registry" in unknown.stderr


def test_a_secret_of_another_type_is_left_alone(api: ApiServer, ecr: Ecr) -> None:
    api.create(
        SECRET.rpartition("/")[0],
        {"metadata": {"name": "registry-credentials"}, "type": "Opaque", "data": {"a": "Yg=="}},
    )
    done = once(api, ecr.env, ECR)
    assert done.returncode == 11
    assert "is of type 'Opaque'" in done.stderr
    assert api.get(SECRET)["data"] == {"a": "Yg=="}


def test_the_loop_renews_until_it_is_told_to_end(api: ApiServer, ecr: Ecr) -> None:
    env = clean_environment(job(api, ECR) | ecr.env)
    process = subprocess.Popen(
        [*HARDTACK, "job", "ecr-credentials", "--every", "100ms"],
        env=env, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: ecr.tokens >= 3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        _, told = process.communicate()
    assert "ended by SIGTERM" in told
    assert entries(api)[ECR] in {f"token-{n}" for n in range(2, ecr.tokens + 1)}


def test_outside_a_cluster_it_says_so() -> None:
    done = run("job", "ecr-credentials", "--registry", ECR, "--once")
    assert done.returncode == 11
    assert "This is no pod of a Kubernetes cluster" in done.stderr


def test_nodes_are_counted(api: ApiServer) -> None:
    for name in ("one", "two"):
        api.create("/api/v1/nodes", {"metadata": {"name": name}})
    assert nodes(Cluster(find(api.kubeconfig))) == 2


# -- network healer


@pytest.mark.parametrize(
    ("seen", "address", "step", "after"),
    [
        (Seen(), None, Step.NOTHING, Seen()),
        (Seen(), "10.0.0.5", Step.REMEMBER, Seen("10.0.0.5")),
        (Seen("10.0.0.5"), "10.0.0.5", Step.NOTHING, Seen("10.0.0.5")),
        (Seen("10.0.0.5"), None, Step.NOTHING, Seen("10.0.0.5")),
        (Seen("10.0.0.5"), "10.0.0.6", Step.WAIT, Seen("10.0.0.5", "10.0.0.6")),
        (Seen("10.0.0.5", "10.0.0.6"), "10.0.0.6", Step.RESTART, Seen("10.0.0.6")),
        (Seen("10.0.0.5", "10.0.0.6"), "10.0.0.7", Step.WAIT, Seen("10.0.0.5", "10.0.0.7")),
        (Seen("10.0.0.5", "10.0.0.6"), "10.0.0.5", Step.NOTHING, Seen("10.0.0.5")),
        (Seen("10.0.0.5", "10.0.0.6"), None, Step.NOTHING, Seen("10.0.0.5", "10.0.0.6")),
    ],
)
def test_only_an_address_that_changed_and_stays_restarts(
    seen: Seen, address: str | None, step: Step, after: Seen
) -> None:
    assert look(seen, address) == (step, after)


def test_a_k3s_with_an_address_of_its_own_need_not_restart() -> None:
    network = Network(staying=frozenset({"192.168.77.1"}))
    assert network_healer.must_restart(None, network)
    assert network_healer.must_restart(K3s({}), network)
    assert network_healer.must_restart(K3s({"node-ip": "10.0.0.5"}), network)
    assert not network_healer.must_restart(K3s({"node-ip": "fd00::1,192.168.77.1"}), network)


class Clock:
    """Time that only `sleep` moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.at: dict[float, Callable[[], None]] = {}

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for when in [w for w in self.at if w <= self.now]:
            self.at.pop(when)()


def test_it_watches_until_dns_and_api_are_back(api: ApiServer) -> None:
    clock, open_at = Clock(), 6.0
    clock.at[20.0] = lambda: api.create(
        COREDNS, {"metadata": {"name": "coredns"}, "status": {"readyReplicas": 1}}
    )
    cluster = Cluster(find(api.kubeconfig), "kube-system")
    healed = network_healer.watch(
        cluster, lambda: clock.now >= open_at, clock=clock, sleep=clock.sleep
    )
    assert healed == Healed(dns=20.0, api=6.0)
    assert healed.well


def test_it_gives_up_after_its_patience(api: ApiServer) -> None:
    api.create(COREDNS, {"metadata": {"name": "coredns"}, "status": {"readyReplicas": 0}})
    clock = Clock()
    cluster = Cluster(find(api.kubeconfig), "kube-system")
    healed = network_healer.watch(cluster, lambda: True, clock=clock, sleep=clock.sleep)
    assert healed == Healed(dns=None, api=0.0)
    assert not healed.well
    assert clock.now == network_healer.HEAL_SECONDS


def process(proc: Path, pid: int, comm: str) -> None:
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "comm").write_text(f"{comm}\n")


def test_what_restarts_k3s(tmp_path: Path) -> None:
    host, container = tmp_path / "host", tmp_path / "container"
    process(host, 1, "systemd")
    process(host, 812, "k3s-server")
    systemctl = ("--", "systemctl", "restart", "k3s")
    assert (restarting.default(host) or ())[-4:] == systemctl
    process(host, 900, "k3s-agent")
    assert (restarting.default(host) or ())[-1] == "k3s-agent"

    process(container, 1, "k3s-server")
    process(container, 77, "containerd")
    assert restarting.default(container) is None
    killed: list[tuple[int, int]] = []
    restarting.restart(proc=container, kill=lambda pid, number: killed.append((pid, number)))
    assert killed == [(1, signal.SIGTERM)]

    process(tmp_path / "neither", 1, "sh")
    with pytest.raises(JobError, match="neither systemd nor a k3s"):
        restarting.restart(proc=tmp_path / "neither", kill=os.kill)
    with pytest.raises(JobError, match="ended with 3: no such unit"):
        restarting.restart(["sh", "-c", "echo no such unit >&2; exit 3"])


ADDRESSES = """
set -e
ip link set lo up
ip link add plug type veth peer name socket
ip link set plug up
ip link set socket up
ip link add hardtack0 type bridge
ip address add 192.168.77.1/32 dev hardtack0
ip link set hardtack0 up
ip route add default dev hardtack0 metric 4000
"""


@pytest.mark.needs("netns")
def test_an_address_that_changes_restarts_k3s_once(tmp_path: Path, api: ApiServer) -> None:
    """In a network namespace; `hardtack0` is the interface that `box prepare` makes."""
    root, state, restarts = tmp_path / "root", tmp_path / "state", tmp_path / "restarts"
    (root / "etc/rancher/k3s").mkdir(parents=True)
    (root / "proc").symlink_to("/proc")
    (root / "sys/class/net/hardtack0").mkdir(parents=True)
    (root / "sys/class/net/plug/device").mkdir(parents=True)
    healer = " ".join(
        [*HARDTACK, "job network-healer --wait 0s", f"--root {root} --state {state}",
         f"--kubeconfig {api.kubeconfig}",
         f"--restart 'sh -c \"echo restart >> {restarts}\"'"]
    )  # fmt: skip
    script = f"""{ADDRESSES}
{healer} --once; test ! -e {state}/host_ip
ip address add 10.9.0.5/24 dev plug
ip route add default via 10.9.0.1 dev plug
{healer} --once; grep -x 10.9.0.5 {state}/host_ip
ip address add 10.9.0.6/24 dev plug
ip route replace default via 10.9.0.1 dev plug src 10.9.0.6
{healer} --once; test ! -e {restarts}
{healer} --every 100ms & looking=$!
n=0; until test -e {restarts}; do n=$((n + 1)); test $n -lt 600; sleep 0.1; done
kill $looking; wait $looking
grep -x 10.9.0.6 {state}/host_ip
grep -c restart {restarts} | grep -x 1
"""
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script],
        env=clean_environment(), capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "offline: nothing is done" in done.stderr
    assert "the host's address is 10.9.0.6, not 10.9.0.5: k3s is restarted" in done.stderr


def test_the_healer_restarts_once_and_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = iter(["10.0.0.5", "10.0.0.6", "10.0.0.6", "10.0.0.6", "10.0.0.7", "10.0.0.7"])
    monkeypatch.setattr(network_healer, "host_address", lambda *_: next(addresses))
    known_at_restart: list[str | None] = []

    def restart() -> str:
        known_at_restart.append(network_healer.remembered(tmp_path))
        if len(known_at_restart) == 2:
            raise JobError("no.")
        return "restarted"

    healer = Healer(tmp_path, tmp_path, restart, lambda: Healed(1.0, 1.0))
    steps = [healer.check() for _ in range(4)]
    assert steps == [Step.REMEMBER, Step.WAIT, Step.RESTART, Step.NOTHING]
    # in a container the restart ends the healer too: it must know the new address by then
    assert known_at_restart == ["10.0.0.6"]
    assert Healer(tmp_path, tmp_path, restart, lambda: Healed(1.0, 1.0)).check() is Step.WAIT
    assert [healer.check()] == [Step.WAIT]
    assert network_healer.remembered(tmp_path) == "10.0.0.6"
