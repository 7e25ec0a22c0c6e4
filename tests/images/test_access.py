"""How registries are reached: TLS, proxies, credentials."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import trustme

from hardtack.core.errors import (
    AccessDenied,
    ConfigError,
    CorruptReply,
    RegistryError,
    SourceUnreachable,
)
from hardtack.images import transport
from hardtack.images.attempts import Patience
from hardtack.images.auth import Credentials, DockerConfig, ecr_credentials
from hardtack.images.connection import Hopeless, Tls
from hardtack.images.mirrors import Registries
from hardtack.images.registry import Registry
from hardtack.images.transport import Transport
from tests.support import oci
from tests.support.faulty_registry import Fault, Reply, Seen, faulty_registry
from tests.support.ports import free_port
from tests.support.proxies import connect, proxy, socks

LAYER = oci.layer({"f": b"x"})
IMAGE = oci.image([LAYER])
ECR = "123456789012.dkr.ecr.us-west-2.amazonaws.com"


def a_client(registries: Registries | None = None, config: Path | None = None) -> Registry:
    docker = DockerConfig(config or Path("/nonexistent"))
    return Registry(registries, docker, patience=Patience(0))


def a_program(directory: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = directory / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


def wants(kind: str, right: str) -> Fault:
    """A fault that lets nobody in but with the header `right`."""

    def fault(seen: Seen, count: int) -> Reply | None:
        if seen.headers.get("authorization") == right or seen.path.startswith("/token"):
            return None
        return Reply(401, {"WWW-Authenticate": kind})

    return fault


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_certificates(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with faulty_registry(tls) as server:
        server.add("v1", IMAGE)
        mirrors = {server.host: {"endpoint": [f"https://{server.host}"]}}
        name = f"{server.host}/app/x"

        def ask(registries: Registries) -> str:
            # Only the mirror speaks TLS: what follows it is plain http, and is refused.
            client = a_client(registries)
            try:
                return client.manifest(name, "v1").descriptor.digest
            finally:
                client.close()

        assert ask(Registries(mirrors, ca=tmp_path / "ca.pem")) == IMAGE.digest
        named = {server.host: {"tls": {"ca_file": str(tmp_path / "ca.pem")}}}
        assert ask(Registries(mirrors, named)) == IMAGE.digest
        unchecked = {server.host: {"tls": {"insecure_skip_verify": True}}}
        assert ask(Registries(mirrors, unchecked)) == IMAGE.digest
        assert f"{server.host}: TLS certificate not verified" in caplog.text
        asked = len(server.requests)
        with pytest.raises(SourceUnreachable):
            ask(Registries(mirrors))
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(other)
        with pytest.raises(SourceUnreachable):
            ask(Registries(mirrors, ca=other))
        assert len(server.requests) == asked
        with pytest.raises(ConfigError, match=r"none\.pem"):
            ask(Registries(mirrors, ca=tmp_path / "none.pem"))


def test_an_insecure_registry_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_registry() as middle:
        middle.add("v1", IMAGE)
        monkeypatch.setenv("http_proxy", f"http://me:secret@{middle.host}")
        monkeypatch.setenv("no_proxy", "")
        client = a_client(Registries(insecure=frozenset({"registry.invalid:5000"})))
        assert client.manifest("registry.invalid:5000/a/b", "v1").descriptor.digest == IMAGE.digest
        seen = middle.requests[0]
        assert seen.path.startswith("http://registry.invalid:5000/v2/a/b/manifests/v1")
        login = base64.b64encode(b"me:secret").decode()
        assert seen.headers["proxy-authorization"] == f"Basic {login}"
        client.close()


@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
def test_tls_through_a_proxy(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls, outer = (ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) for _ in range(2))
    authority.issue_cert("store.invalid").configure_cert(tls)
    authority.issue_cert("127.0.0.1").configure_cert(outer)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with (
        faulty_registry(tls) as server,
        proxy(
            socks if scheme == "socks5h" else connect,
            leads_to=int(server.host.partition(":")[2]),
            tls=outer if scheme == "https" else None,
        ) as through,
    ):
        server.add("v1", IMAGE)
        through.wants_login = scheme == "socks5h"
        monkeypatch.setenv("https_proxy", f"{scheme}://me:se%40cret@127.0.0.1:{through.port}")
        monkeypatch.setenv("no_proxy", "")
        client = a_client(Registries())
        assert client.manifest("store.invalid/a", "v1").descriptor.digest == IMAGE.digest
        found = client.blob("store.invalid/a", oci.digest(LAYER), 0, len(LAYER))
        assert b"".join(map(bytes, found)) == LAYER
        (asked,) = through.asked  # one connection for all
        if scheme == "socks5h":
            assert asked == "SOCKS 3 store.invalid:443"
            assert through.logins == [(b"me", b"se@cret")]
        else:
            login = base64.b64encode(b"me:se@cret").decode()
            assert asked.startswith("CONNECT store.invalid:443 ")
            assert f"Proxy-Authorization: Basic {login}" in asked
        assert "proxy-authorization" not in server.requests[0].headers
        client.close()


def test_a_registry_without_tls_through_socks(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_registry() as server, proxy(socks) as through:
        server.add("v1", IMAGE)
        monkeypatch.setenv("all_proxy", f"socks5h://127.0.0.1:{through.port}")
        monkeypatch.setenv("no_proxy", "")
        client = a_client()
        assert client.manifest(f"{server.host}/a", "v1").descriptor.digest == IMAGE.digest
        assert through.asked == [f"SOCKS 1 {server.host}"]
        assert server.requests[0].path.startswith("/v2/a/")
        client.close()


def test_a_proxy_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "ftp://me:secret@127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(ConfigError, match=r"'127\.0\.0\.1:1' is not a usable proxy URL"):
        a_client().manifest("registry.invalid/a", "v1")


@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
def test_a_proxy_that_is_not_there(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("https_proxy", f"{scheme}://me:s3cret@{where}")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(SourceUnreachable) as caught:
        a_client().manifest("registry.invalid/a", "v1")
    expected = f"the proxy {scheme}://{where} can't be used: connection refused."
    assert f"Registry registry.invalid can't be reached: {expected}" == caught.value.message
    assert "HTTPS_PROXY" in caught.value.remedy
    assert "s3cret" not in str(caught.value)


def test_a_proxys_certificate_is_not_the_registrys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What trusts the registry's certificate doesn't count for it; and nobody asks twice."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    slept: list[float] = []
    with proxy(tls=tls) as through:
        monkeypatch.setenv("https_proxy", f"https://127.0.0.1:{through.port}")
        monkeypatch.setenv("no_proxy", "")
        client = Registry(
            Registries(ca=tmp_path / "ca.pem"), DockerConfig(Path("/nonexistent")),
            patience=Patience(sleep=slept.append),
        )  # fmt: skip
        with pytest.raises(Hopeless, match=r"the proxy https://.* certificate is not") as caught:
            client.manifest("registry.invalid/a", "v1")
    assert "SSL_CERT_FILE" in caught.value.remedy
    assert "--registry-ca" not in caught.value.remedy
    assert slept == []


@pytest.mark.parametrize("token", ["\u0142", "t\u00e4", "a\r\nX-More: b"])
def test_a_token_that_no_header_can_carry(token: str) -> None:
    with faulty_registry() as server:
        server.add("v1", IMAGE)
        realm = f'Bearer realm="http://{server.host}/token"'

        def fault(seen: Seen, _: int) -> Reply:
            if seen.path.startswith("/token"):
                return Reply(200, {}, json.dumps({"token": token}).encode())
            return Reply(401, {"WWW-Authenticate": realm})

        server.fault = fault
        with pytest.raises(RegistryError, match="with characters that no header") as caught:
            a_client().manifest(f"{server.host}/a", "v1")
    assert token not in str(caught.value)


@pytest.mark.parametrize("there", ["http://\u0142.invalid/x", "http://a..invalid/x"])
def test_a_redirect_to_what_is_no_host(there: str) -> None:
    with pytest.raises(CorruptReply, match="is no address"):
        Transport().send("GET", there, {}, Tls())


def test_a_certificate_that_does_not_hold_is_not_tried_again(tmp_path: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    slept: list[float] = []
    with faulty_registry(tls) as server:
        mirrors = {"made.invalid": {"endpoint": [f"https://{server.host}"]}}
        patience = Patience(unanswered=0, sleep=slept.append)
        client = Registry(
            Registries(mirrors), DockerConfig(Path("/nonexistent")), patience=patience
        )
        endpoint = f"https://{server.host}/v2/a/manifests/v1"
        with pytest.raises(Hopeless, match="TLS failed"):
            Transport().send("GET", endpoint, {}, Tls())
        with pytest.raises(SourceUnreachable):
            client.manifest("made.invalid/a", "v1")
    assert slept == []


def test_a_registry_that_takes_the_request_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transport, "TOLD_AFTER", 0.05)
    waited: list[float] = []

    class Watched(socket.socket):
        def recv(self, *count: int) -> bytes:
            waited.append(self.gettimeout() or 0.0)
            return super().recv(*count)

    plain = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda *to: watched(plain(*to)))

    def watched(sock: socket.socket) -> socket.socket:
        return Watched(fileno=sock.detach())

    caplog.set_level("INFO")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        client = Registry(
            docker=DockerConfig(Path("/nonexistent")),
            transport=Transport(timeout=0.2),
            patience=Patience(unanswered=0),
        )
        with pytest.raises(SourceUnreachable, match=r"said nothing for 0\.20 s") as caught:
            client.manifest(f"{host}/a", "v1")
    # what was waited before that line is part of what was allowed
    assert f"{host} took the request and says nothing; 0.15 s more" in caplog.messages
    assert [round(seconds, 3) for seconds in waited] == [0.05, 0.15]
    assert "Does a registry listen there" in caught.value.remedy


def test_a_host_that_no_proxy_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_registry() as server:
        server.add("v1", IMAGE)
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        client = a_client()
        assert client.manifest(f"{server.host}/a", "v1").descriptor.digest == IMAGE.digest
        client.close()


@pytest.mark.parametrize("key", ["credHelpers", "credsStore"])
def test_credential_helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    config = tmp_path / "config.json"
    with faulty_registry() as server:
        server.add("v1", IMAGE)
        right = Credentials("me", "word").basic
        server.fault = wants('Basic realm="x"', right)
        value = "box" if key == "credsStore" else {server.host: "box"}
        config.write_text(json.dumps({key: value}))
        told = 'read host; test "$host" = %s && echo \'{"Username":"me","Secret":"%s"}\''
        name = "docker-credential-box"
        a_program(tmp_path, name, told % (server.host, "word"), monkeypatch)
        client = a_client(config=config)
        assert client.manifest(f"{server.host}/a", "v1").descriptor.digest == IMAGE.digest
        a_program(tmp_path, name, told % (server.host, "wrong"), monkeypatch)
        with pytest.raises(AccessDenied) as refused:
            a_client(config=config).manifest(f"{server.host}/a", "v1")
        assert "wrong" not in str(refused.value)
        a_program(tmp_path, name, "echo s3cret >&2; exit 3", monkeypatch)
        with pytest.raises(AccessDenied, match=r"failed for .* with exit code 3") as refused:
            a_client(config=config).manifest(f"{server.host}/a", "v1")
        assert "s3cret" not in str(refused.value)
        (tmp_path / name).write_bytes(b"")  # of an upgrade that was broken off
        with pytest.raises(ConfigError, match=f"{name}, which can't be run: Exec format error"):
            a_client(config=config).manifest(f"{server.host}/a", "v1")
        (tmp_path / name).unlink()
        with pytest.raises(ConfigError, match=f"{name}, which is not on the PATH"):
            a_client(config=config).manifest(f"{server.host}/a", "v1")
        client.close()


def test_an_identity_token_is_traded(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    with faulty_registry() as server:
        server.add("v1", IMAGE)
        config.write_text(json.dumps({"auths": {server.host: {"identitytoken": "long"}}}))
        ask = f'Bearer realm="http://{server.host}/token",service="s",scope="repository:a:pull"'
        inner = wants(ask, "Bearer short")

        def fault(seen: Seen, count: int) -> Reply | None:
            if seen.path == "/token":
                form = parse_qs(seen.body.decode())
                assert form["grant_type"] == ["refresh_token"]
                assert form["refresh_token"] == ["long"]
                assert form["scope"] == ["repository:a:pull"]
                return Reply(200, {}, b'{"access_token": "short"}')
            return inner(seen, count)

        server.fault = fault
        client = a_client(config=config)
        assert client.manifest(f"{server.host}/a", "v1").descriptor.digest == IMAGE.digest
        client.close()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, r"refuses .* \(HTTP 403\)"),
        (404, r"gives no token for .* \(HTTP 404\)"),
        (418, r"answers HTTP 418"),
    ],
)
def test_a_token_server_is_quoted_truly(status: int, said: str) -> None:
    with faulty_registry() as server:
        server.add("v1", IMAGE)
        inner = wants(f'Bearer realm="http://{server.host}/token"', "Bearer never")

        def fault(seen: Seen, count: int) -> Reply | None:
            if seen.path.startswith("/token"):
                return Reply(status, {}, b"")
            return inner(seen, count)

        server.fault = fault
        client = a_client()
        with pytest.raises((AccessDenied, RegistryError), match=said):
            client.manifest(f"{server.host}/a", "v1")
        client.close()


def test_malformed_registries_are_told_by_line(tmp_path: Path) -> None:
    file = tmp_path / "registries.yaml"
    file.write_text("mirrors:\n  docker.io: [}\n")
    with pytest.raises(ConfigError) as refused:
        Registries.read(file)
    assert refused.value.message.startswith(f"{file}:2:15: malformed YAML: ")
    assert "unicode" not in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("auth", "sent"),
    [
        ({"username": "me", "password": "word"}, Credentials("me", "word").basic),
        ({"auth": base64.b64encode(b"me:word").decode()}, Credentials("me", "word").basic),
    ],
)
def test_a_mirror_has_the_credentials_of_registries(
    tmp_path: Path, auth: dict[str, str], sent: str
) -> None:
    """And the registry itself, which is asked once the mirror fails, doesn't get them."""
    file = tmp_path / "registries.yaml"
    with faulty_registry() as mirror, faulty_registry() as server:
        server.add("v1", IMAGE)
        told = {
            "mirrors": {"*": {"endpoint": [f"http://{mirror.host}"]}},
            "configs": {mirror.host: {"auth": auth}},
        }
        file.write_text(json.dumps(told))
        mirror.fault = wants('Basic realm="x"', sent)
        mirror.add("v1", IMAGE)
        client = a_client(Registries.read(file))
        assert client.manifest(f"{server.host}/a", "v1").descriptor.digest == IMAGE.digest
        assert server.requests == []
        assert mirror.requests[-1].headers["authorization"] == sent
        mirror.manifests.clear()
        assert client.manifest(f"{server.host}/a", "v1").descriptor.digest == IMAGE.digest
        assert server.requests
        assert all("authorization" not in seen.headers for seen in server.requests)
        client.close()


def test_a_wrong_word_in_registries_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As k3s does, it is read all the same; but a mirror that nobody asks would go unseen."""
    file = tmp_path / "registries.yaml"
    file.write_text("mirors: {docker.io: {endpoint: ['http://localhost:1']}}\nconfigs: {}\n")
    assert Registries.read(file).mirrors == {}
    assert f"{file}: 'mirors' means nothing there. Did you mean 'mirrors'?" in caplog.text


def test_ecr_by_its_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = 'read host; echo "{\\"Username\\":\\"AWS\\",\\"Secret\\":\\"for $host\\"}"'
    a_program(tmp_path, "docker-credential-ecr-login", told, monkeypatch)
    assert ecr_credentials(ECR) == Credentials("AWS", f"for {ECR}")
    assert ecr_credentials("ghcr.io") is None


def test_ecr_by_botocore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = base64.b64encode(b"AWS:password").decode()
    answer = json.dumps({"authorizationData": [{"authorizationToken": token}]}).encode()
    with faulty_registry() as server:
        server.fault = lambda seen, count: Reply(200, {}, answer)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server.host}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
        assert ecr_credentials(ECR) == Credentials("AWS", "password")
        assert "/us-west-2/ecr/" in server.requests[0].headers["authorization"]
