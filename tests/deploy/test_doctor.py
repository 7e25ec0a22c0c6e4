"""The doctor: what it sees of a machine, and whom it reaches; on loopback alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from hardtack.core.errors import ContainerdError
from hardtack.deploy.doctor import machine
from hardtack.deploy.doctor.finding import Finding, State
from hardtack.deploy.doctor.reach import Way, reach
from hardtack.deploy.doctor.run import Patient, credentials, directory, examine
from hardtack.deploy.facts import kernel, kubelet, versions
from hardtack.deploy.facts.kernel import Kernel
from hardtack.deploy.facts.versions import Versions
from hardtack.deploy.requirements import Direction, Requirement, When
from hardtack.source.options import SourceOptions
from tests.support.commands import HARDTACK, clean_environment, run
from tests.support.others import open_to_all, run_as_other
from tests.support.ports import free_port
from tests.support.proxies import proxy
from tests.support.ready import write_root
from tests.support.waiting import until

GOOD = Kernel("6.18.0", True, True, True, 2, frozenset({"cpu", "memory", "pids"}), "nf_tables", ())
HERE = Way(seconds=20.0, resolve=lambda host, port: ["127.0.0.1"])


def _states(findings: Iterable[Finding]) -> dict[str, State]:
    found = list(findings)
    assert all(bool(f.remedy) == (f.state is not State.OK) for f in found)
    return {f.check: f.state for f in found if f.state is not State.OK}


KERNELS: list[tuple[Kernel, dict[str, State]]] = [
    (GOOD, {}),
    (replace(GOOD, release="5.4.0"), {"kernel": State.PROBLEM, "passthrough": State.NOTE}),
    (replace(GOOD, release="6.1.0-23-amd64"), {"passthrough": State.NOTE}),
    (replace(GOOD, passthrough=False), {"passthrough": State.NOTE}),
    (replace(GOOD, passthrough=None), {}),
    (replace(GOOD, fuse=False), {"fuse": State.PROBLEM}),
    (replace(GOOD, shared=False), {"propagation": State.PROBLEM}),
    (replace(GOOD, cgroups=0, controllers=frozenset()), {"cgroups": State.PROBLEM}),
    (replace(GOOD, controllers=frozenset({"cpu"})), {"cgroups": State.PROBLEM}),
    (replace(GOOD, cgroups=1), {"cgroups": State.NOTE}),
    (replace(GOOD, cgroups=1, controllers=frozenset({"cpu", "pids"})), {"cgroups": State.PROBLEM}),
    (replace(GOOD, legacy=("filter",)), {"iptables": State.NOTE}),
    (replace(GOOD, iptables=""), {"iptables": State.NOTE}),
]


@pytest.mark.parametrize(("found", "amiss"), KERNELS)
def test_kernels(found: Kernel, amiss: dict[str, State]) -> None:
    told = _states(machine.kernel(found, root=True)) | _states(machine.kubernetes(found))
    assert told == amiss


def test_versions() -> None:
    assert _states(machine.versions(Versions())) == {}
    assert _states(machine.versions(Versions("v1.34.1+k3s1", "2.1.4"))) == {}
    assert _states(machine.versions(Versions("v1.27.1+k3s1"))) == {
        "k3s": State.NOTE, "containerd": State.NOTE,
    }  # fmt: skip
    old = Versions(containerd_error=ContainerdError("too old"))
    assert _states(machine.versions(old)) == {"containerd": State.PROBLEM}


@pytest.mark.parametrize(
    ("program", "found", "said"),
    [
        ("#!/bin/sh\necho k3s version v1.34.1+k3s1 '(24fc436e)'\n", "v1.34.1+k3s1", ""),
        ("#!/bin/sh\necho K3OS\n", "", ""),
        ("#!/bin/sh\nexec sleep 1000\n", "", "--version says nothing within 0.5 s."),
        ("", "", "can't be run: Exec format error."),
        ("#!/no/such\n", "", "can't be run: No such file or directory."),
        ("#!/bin/sh\nprintf 'kaputt\\303' >&2; kill -11 $$\n", "", "ended with -11: kaputt"),
    ],
)
def test_a_k3s_that_cant_say_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, found: str, said: str
) -> None:
    (tmp_path / "k3s").write_text(program)
    (tmp_path / "k3s").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(versions, "_PATIENCE", 0.5)
    told = versions.read(None)
    assert told.k3s == found
    assert _states(machine.versions(told)).get("k3s") == (State.PROBLEM if said else None)
    assert said in (told.k3s_error.message if told.k3s_error else "")


def test_a_kernel_is_read(tmp_path: Path) -> None:
    for name, text in {
        "proc/self/mountinfo": "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n",
        f"boot/config-{os.uname().release}": "CONFIG_FUSE_FS=m\nCONFIG_FUSE_PASSTHROUGH=y\n#\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
        "sys/fs/cgroup/cgroup.subtree_control": "cpu\n",
        "proc/net/ip_tables_names": "filter\nnat\n",
        "usr/sbin/xtables-legacy-multi": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/iptables").symlink_to("/usr/sbin/xtables-legacy-multi")
    (tmp_path / "usr/sbin/iptables").symlink_to("/etc/iptables")
    found = kernel.read(tmp_path)
    assert found.passthrough is found.shared is True
    assert (found.cgroups, found.controllers) == (2, frozenset({"cpu"}))
    assert (found.iptables, found.legacy) == ("legacy", ("filter", "nat"))
    assert not found.fuse
    assert kernel.read(tmp_path / "none").iptables == ""


def _requirement(port: int, protocol: str = "tcp", **more: Any) -> Requirement:
    made = Requirement("store.test", port, protocol, "weights", (When.RUN,), without="it waits")
    return replace(made, **more)


@contextmanager
def serving(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """A port on loopback; each connection is handed to `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    channel, _ = server.accept()
                except OSError:
                    return
                with channel:
                    answer(channel)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def _one(requirement: Requirement, way: Way = HERE) -> Finding:
    (finding,) = reach([requirement, requirement], way)
    return finding


def test_a_host_that_answers_and_one_that_doesnt() -> None:
    with serving(lambda channel: channel.recv(1)) as port:
        assert _one(_requirement(port)).state is State.OK
    refused = _one(_requirement(port))
    assert refused.state is State.PROBLEM
    assert "refused" in refused.found
    assert "it waits" in refused.remedy
    assert _one(_requirement(port, only_if="a role is assumed")).state is State.NOTE


def test_a_name_that_nobody_knows() -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    found = _one(_requirement(1), replace(HERE, resolve=unknown)).found
    assert "name can't be resolved" in found


def test_certificates() -> None:
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("store.test").configure_cert(context)

    def shake(channel: socket.socket) -> None:
        try:
            with context.wrap_socket(channel, server_side=True) as wrapped:
                wrapped.recv(1)
        except OSError:
            return  # the other side doesn't trust us, as it should

    with (
        serving(shake) as port,
        authority.cert_pem.tempfile() as ca,
        other.cert_pem.tempfile() as wrong,
    ):
        https = _requirement(port, "https")
        assert _one(https, replace(HERE, ca_bundle=ca)).state is State.OK
        found = _one(https, replace(HERE, ca_bundle=wrong))
    assert found.state is State.PROBLEM
    assert "not trusted" in found.found
    assert "--ca-bundle" in found.remedy


def test_a_host_that_says_nothing_takes_a_bounded_time() -> None:
    """The handshake is never answered."""
    with serving(lambda channel: channel.recv(4096) and channel.recv(4096)) as port:
        quick = replace(HERE, seconds=0.3)
        many = [_requirement(port, "https", host=f"store{n}.test") for n in range(3)]
        found = reach(many, quick)
    assert {f.state for f in found} == {State.PROBLEM}
    assert all("no answer in time" in f.found for f in found)


def test_whoever_ends_it_waits_for_no_host() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        words = ["doctor", "s3://weights", "--unsigned", "--endpoint-url", url, "--timeout", "1h"]
        with subprocess.Popen(
            [*HARDTACK, *words], env=clean_environment(), stderr=subprocess.PIPE, text=True
        ) as doctor:
            asked, _ = silent.accept()
            with asked:
                doctor.send_signal(signal.SIGINT)
                _, said = doctor.communicate(timeout=60)
    assert doctor.returncode == 130
    assert "interrupted" in said


def test_no_handshake_outlives_an_interruption() -> None:
    """At the process's end OpenSSL is taken down: a thread that is in it then takes us along."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    ours = set(threading.enumerate())
    try:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            asked: list[socket.socket] = []

            def interrupt() -> None:
                asked.append(silent.accept()[0])
                asked[0].recv(1)  # of its first words; it waits for ours
                os.kill(os.getpid(), signal.SIGINT)

            peer = threading.Thread(target=interrupt)
            peer.start()
            port = silent.getsockname()[1]
            with pytest.raises(KeyboardInterrupt):
                reach([_requirement(port, "https")], replace(HERE, seconds=3600.0))
            peer.join()
            until(lambda: set(threading.enumerate()) == ours, lambda: str(threading.enumerate()))
            asked[0].close()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("s3Mount: 5", "s3Mount: expected values by name, found 5."),
        ("s3Mount: {cachePath: 5}", "s3Mount.cachePath: expected a text, found 5."),
        ("s3Mount: null", ""),
        ("s3mount: {bucket: weights}", "The chart has no value s3mount."),
        ("\0\0", "it holds zeros, as a power cut leaves them"),
    ],
)
def test_values_that_cant_be_used(tmp_path: Path, written: str, said: str) -> None:
    write_root(tmp_path / "root")
    (tmp_path / "values.yaml").write_text(written)
    words = ("--values", tmp_path / "values.yaml", "--offline", "--root", tmp_path / "root")
    done = run("doctor", *words)
    assert done.returncode == (11 if said else 1), done.stderr
    assert said in done.stderr


def test_through_a_proxy() -> None:
    asked: list[bytes] = []

    def answer(channel: socket.socket) -> None:
        asked.append(channel.recv(4096).split(b"\r\n")[0])
        allowed = b"store.test" in asked[-1]
        channel.sendall(b"HTTP/1.1 200 OK\r\n\r\n" if allowed else b"HTTP/1.1 403 No\r\n\r\n")

    with serving(answer) as port:
        way = replace(HERE, proxy=f"http://proxy.test:{port}")
        assert _one(_requirement(9), way).state is State.OK
        assert asked == [b"CONNECT store.test:9 HTTP/1.1"]
        denied = _one(_requirement(9, host="other.test"), way)
    assert "403" in denied.found


def test_a_proxy_at_fault_is_told_as_one() -> None:
    port = free_port()
    way = replace(HERE, proxy=f"http://me:s3cret@proxy.test:{port}")
    found = _one(_requirement(9), way)
    assert found.state is State.PROBLEM
    assert f"the proxy http://proxy.test:{port} can't be used: connection refused" in found.found
    assert "HTTPS_PROXY" in found.remedy
    assert "it waits" in found.remedy
    assert "s3cret" not in found.found + found.remedy


def test_a_proxys_certificate_is_not_the_hosts() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority = trustme.CA()
    authority.issue_cert("proxy.test").configure_cert(context)
    with authority.cert_pem.tempfile() as ca, proxy(tls=context) as through:
        way = replace(HERE, ca_bundle=ca, proxy=f"https://proxy.test:{through.port}")
        found = _one(_requirement(9, "https"), way)
    assert "the proxy https://proxy.test" in found.found
    assert "SSL_CERT_FILE" in found.remedy
    assert "--ca-bundle" not in found.remedy


def test_what_is_no_host() -> None:
    found = _one(_requirement(9, host="a..test"))
    assert found.state is State.PROBLEM
    assert "'a..test' is no host" in found.found


def test_the_time() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: server.sendto(bytes(48), server.recvfrom(512)[1]))
        thread.start()
        assert _one(_requirement(server.getsockname()[1], "ntp")).state is State.OK
        thread.join()


def test_only_what_this_box_opens_is_tried() -> None:
    left_out = [
        _requirement(1, host="*.balena-cloud.com"),
        _requirement(1, host="the site's NTP server"),
        _requirement(1, direction=Direction.IN),
        _requirement(1, when=(When.BUILD,)),
    ]
    assert reach(left_out, HERE) == []
    assert len(reach(left_out, HERE, build=True)) == 1


def test_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert credentials("s3://b", SourceOptions(unsigned=True)).state is State.OK
    assert credentials("s3://b", SourceOptions()).state is State.PROBLEM
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-it")
    found = credentials("s3://b", SourceOptions())
    assert found.state is State.OK
    assert "secret" not in found.found


def test_credentials_of_other_clouds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "site")
    for url in ("gs://box", "az://box"):
        assert credentials(url, SourceOptions(unsigned=True)).state is State.OK
        assert credentials(url, SourceOptions()).state is State.PROBLEM
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sig=secret")
    found = credentials("az://box", SourceOptions())
    assert (found.state, found.found) == (
        State.OK, "account site with a SAS token (AZURE_STORAGE_SAS_TOKEN)",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "state", "said"),
    [("", State.OK, "can be listed"), ("empty", State.NOTE, "there is no file"),
     ("missing", State.PROBLEM, "There is no directory"),
     ("model.toml", State.PROBLEM, "There is no directory")],
)  # fmt: skip
def test_a_directory_of_weights(tmp_path: Path, name: str, state: State, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.toml").write_text("task = 'binary'\n")
    place = tmp_path / name
    found = directory(place.as_uri(), SourceOptions())
    assert found.state is state
    assert said in found.found
    assert str(place) in found.found
    told = json.loads(run("doctor", place.as_uri(), "--json", "--root", tmp_path).stdout)
    assert said in next(f["found"] for f in told["findings"] if f["check"] == "source")


@pytest.mark.needs("root")
def test_a_directory_of_weights_that_others_may_not_read(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    url = (tmp_path / "closed").as_uri()
    with open_to_all(tmp_path):
        done = run_as_other(*HARDTACK, "doctor", url, "--json")
    found = {f["check"]: f for f in json.loads(done.stdout)["findings"]}
    assert found["source"]["state"] == "problem"
    assert "Permission denied" in found["source"]["found"]


def findings_of_another(tmp_path: Path, root: Path) -> dict[str, Any]:
    """What `doctor` finds of the box at `root`, run by somebody else than root."""
    with open_to_all(tmp_path):
        done = run_as_other(*HARDTACK, "doctor", "--offline", "--json", "--root", root)
    return {f["check"]: f for f in json.loads(done.stdout)["findings"]}


@pytest.mark.needs("root")
@pytest.mark.parametrize("closed", ["var/lib/rancher/k3s/agent", "etc/rancher/k3s/config.yaml"])
def test_a_box_that_others_may_not_look_into(tmp_path: Path, closed: str) -> None:
    """What k3s makes is root's alone; what else there is to find is found."""
    root = tmp_path / "root"
    write_root(root)
    (root / kubelet.DROP_INS).mkdir(parents=True)
    place = root / closed
    place.chmod(0o700 if place.is_dir() else 0o600)
    found = findings_of_another(tmp_path, root)
    assert {"kernel", "fuse", "box"} <= set(found)
    assert str(place) in found["box"]["found"]
    assert "ermission denied" in found["box"]["found"]
    assert found["box"]["remedy"] == "Run it as root."


@pytest.mark.needs("root")
def test_a_kernel_that_others_may_not_look_into(tmp_path: Path) -> None:
    """A directory on the way to `iptables` is closed: that is one finding, beside all others."""
    root = tmp_path / "root"
    write_root(root)
    (root / "usr/sbin").mkdir(mode=0o700)
    found = findings_of_another(tmp_path, root)
    assert {"kernel", "box.clock"} <= set(found)
    assert "usr/sbin/iptables: Permission denied" in found["kernel"]["found"]
    assert found["kernel"]["remedy"] == "Run it as root."


def test_the_whole_examination(tmp_path: Path) -> None:
    write_root(tmp_path)
    (tmp_path / "etc/rancher/k3s/config.yaml").write_text("node-ip: [")
    with serving(lambda channel: channel.recv(1)) as port:
        patient = Patient(tmp_path, requirements=[_requirement(port)], way=HERE)
        found = {f.check: f for f in examine(patient)}
    assert found[f"reach store.test:{port}"].state is State.OK
    assert found["propagation"].state is State.PROBLEM
    assert "config.yaml:1:11: malformed YAML" in found["box"].found


def test_the_command(tmp_path: Path) -> None:
    write_root(tmp_path)
    done = run("doctor", "--offline", "--json", "--root", tmp_path)
    told = json.loads(done.stdout)
    amiss = [f["check"] for f in told["findings"] if f["state"] == "problem"]
    assert done.returncode == 1
    assert told["problems"] == len(amiss)
    assert {"propagation", "fuse"} <= set(amiss)
    plain = run("doctor", "--offline", "--root", tmp_path)
    assert f"{len(amiss)} problems." in plain.stdout
    assert "hardtack box prepare" in plain.stderr


def test_the_command_tries_the_host_of_another_cloud(tmp_path: Path) -> None:
    write_root(tmp_path)
    port = free_port()
    words = ("--endpoint-url", f"http://127.0.0.1:{port}", "--root", tmp_path, "--json")
    for url in ("gs://weights", "az://weights"):
        told = json.loads(run("doctor", url, "--unsigned", *words).stdout)
        states = {f["check"]: f["state"] for f in told["findings"]}
        assert states[f"reach 127.0.0.1:{port}"] == "problem"
        assert states["credentials"] == "ok"
        assert not [check for check in states if "amazonaws" in check]
