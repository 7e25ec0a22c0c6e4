"""Listeners, certificates and callers of the endpoint."""

from __future__ import annotations

import base64
import contextlib
import signal
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urljoin

import pytest
import trustme
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from groundlight import ExperimentalApi

from hardtack.cli.endpoint import serve
from hardtack.core.errors import ConfigError
from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint.callers import read_token
from hardtack.endpoint.tls import Pair, self_signed
from tests.endpoint.test_outages import servers, unread
from tests.endpoint.test_sdk import TOKEN, jpeg
from tests.support.commands import run
from tests.support.endpoints import Endpoint, endpoint, write_detectors, write_models
from tests.support.waiting import until

ZERO = SAMPLES[5]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Endpoint]:
    models = write_models(tmp_path, [ZERO])
    detectors = write_detectors(tmp_path / "detectors.yaml", [ZERO])
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    options = ("--https-port", "0", "--token-file", str(token))
    with endpoint(tmp_path, models, detectors, *options) as running:
        yield running


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_the_sdk_works_against_both(tmp_path: Path, scheme: str) -> None:
    models = write_models(tmp_path, [ZERO])
    detectors = write_detectors(tmp_path / "detectors.yaml", [ZERO])
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    options = ("--https-port", "0", "--token-file", str(token))
    with endpoint(tmp_path, models, detectors, *options) as served:
        url = served.secure if scheme == "https" else served.url
        assert url.startswith(scheme + ":")
        sdk = ExperimentalApi(
            endpoint=url, api_token=TOKEN, disable_tls_verification=scheme == "https"
        )
        query = sdk.submit_image_query(ZERO.id, jpeg(ZERO), wait=0)
        assert query.result.from_edge is True
        assert query.result.label == "YES"


def test_the_own_certificate_is_trusted_by_who_is_given_it_and_kept(tmp_path: Path) -> None:
    models = write_models(tmp_path, [])
    detectors = write_detectors(tmp_path / "detectors.yaml", [])
    seen = []
    for _ in range(2):
        with endpoint(tmp_path, models, detectors, "--https-port", "0") as served:
            trusted = tmp_path / "state/tls/certificate.pem"
            strict = ssl.create_default_context(cafile=str(trusted))
            strict.verify_flags |= ssl.VERIFY_X509_STRICT  # as a caller's Python from 3.13 on is
            with urllib3.PoolManager(ssl_context=strict) as pool:
                assert pool.request("GET", served.secure + "/ping", retries=False).status == 200
            with urllib3.PoolManager() as pool, pytest.raises(urllib3.exceptions.SSLError):
                pool.request("GET", served.secure + "/ping", retries=False)
            seen.append(trusted.read_bytes())
    assert seen[0] == seen[1]
    assert (tmp_path / "state/tls/key.pem").stat().st_mode & 0o777 == 0o600


def test_a_pair_half_written_is_made_again(tmp_path: Path) -> None:
    own = self_signed(tmp_path / "tls")
    certificate, key = own.certificate, own.key
    old = key.read_bytes()
    certificate.unlink()  # as after a power cut: the key is written first
    self_signed(tmp_path / "tls")
    assert key.read_bytes() != old
    made = x509.load_pem_x509_certificate(certificate.read_bytes())
    loaded = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    loaded.load_cert_chain(certificate, key)
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days > 20 * 364


def test_probes_need_no_token_and_all_else_does(served: Endpoint) -> None:
    for path in ("/ping", "/health/live", "/health/ready"):
        assert served.ask("GET", path).status == 200
    for path in ("/device-api/v1/me", "/edge-config", "/metrics", "/status/metrics.json"):
        refused = served.ask("GET", path)
        assert refused.status == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
        assert served.ask("GET", path, None, **{"x-api-token": TOKEN}).status == 200
    assert served.ask("GET", "/edge-config", None, **{"x-api-token": TOKEN[:-1]}).status == 401
    assert served.submit(ZERO).status == 401


def test_who_has_no_token_learns_which_detectors_wait_and_no_path(tmp_path: Path) -> None:
    detectors = tmp_path / "detectors.yaml"
    detectors.write_text(f"detectors:\n- {{id: {ZERO.id}, mode: BINARY}}\n")
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    with endpoint(
        tmp_path, tmp_path / "models", detectors, "--token-file", str(token), ready=False
    ) as served:
        with_token = {"x-api-token": TOKEN}
        until(lambda: b"absent" in served.ask("GET", "/health/ready").data, lambda: "never absent")
        told = served.ask("GET", "/health/ready", None, **with_token)
        assert str(tmp_path / "models") in told.json()["waiting"][ZERO.id]
        untold = served.ask("GET", "/health/ready")
        assert untold.status == 503
        assert untold.json() == {"ready": False, "waiting": {ZERO.id: "absent"}}


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Basic " + base64.b64encode(f"anybody:{TOKEN}".encode()).decode(), 200),
        ("Basic " + base64.b64encode(b"anybody:wrong").decode(), 401),
        ("Basic ???", 401),
        (f"Bearer {TOKEN}", 401),
    ],
)
def test_a_browser_gives_the_token_as_a_password(
    served: Endpoint, header: str, status: int
) -> None:
    assert served.ask("GET", "/edge-config", authorization=header).status == status


@pytest.mark.parametrize(("text", "said"), [("short", "no token"), ("ü" * 30, "not ASCII")])
def test_a_token_file_that_keeps_nobody_out_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_token(tmp_path / "token")


def test_a_port_that_is_taken_is_named_before_anything_is_made(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for options in (["--port", port], ["--port", "0", "--https-port", port]):
            done = run("endpoint", "serve", "--models", tmp_path, "--state", state, *options)
            assert done.returncode == 11
            assert f"127.0.0.1:{port}: Address already in use" in done.stderr
            assert f"another {options[-2]}" in done.stderr
    assert not state.exists()


@pytest.mark.parametrize(
    ("host", "remedy"), [("192.0.2.1", "an address of this machine"), ("x.invalid", "this machine")]
)
def test_an_address_that_is_not_this_machines_is_told(
    tmp_path: Path, host: str, remedy: str
) -> None:
    done = run("endpoint", "serve", "--models", tmp_path, "--state", tmp_path / "s", "--host", host)
    assert done.returncode == 11
    assert f"Can't listen on {host}:30101: " in done.stderr
    assert remedy in done.stderr


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).write_text("nothing")
    done = run(
        "endpoint", "serve", "--models", tmp_path, "--state", tmp_path / "state", "--port", "0",
        "--https-port", "0", "--tls-cert", tmp_path / "cert", "--tls-key", tmp_path / "key",
    )  # fmt: skip
    assert done.returncode == 11
    assert f"The certificate {tmp_path / 'cert'} with the key" in done.stderr
    assert not (tmp_path / "state").exists()


def issued(authority: trustme.CA, directory: Path) -> Pair:
    """A new certificate of the authority for the box, and its key, as files."""
    made = authority.issue_cert("127.0.0.1")
    made.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    made.private_key_pem.write_to_path(str(directory / "key.pem"))
    return Pair(directory / "cert.pem", directory / "key.pem")


def shown(pair: Pair, context: ssl.SSLContext) -> bytes:
    """The certificate that a caller of `context` is shown."""
    caller = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    caller.check_hostname, caller.verify_mode = False, ssl.CERT_NONE
    to_caller, to_box = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = caller.wrap_bio(to_caller, to_box)
    far = context.wrap_bio(to_box, to_caller, server_side=True)
    while True:
        with contextlib.suppress(ssl.SSLWantReadError):
            near.do_handshake()
            return near.getpeercert(True) or b""
        with contextlib.suppress(ssl.SSLWantReadError):
            far.do_handshake()


def test_a_certificate_that_is_replaced_is_shown_without_a_restart(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued(authority, tmp_path)
    detectors = write_detectors(tmp_path / "detectors.yaml", [])
    options = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    models = write_models(tmp_path, [])
    with endpoint(tmp_path, models, detectors, "--https-port", "0", *options) as served:
        host, _, port = served.secure.removeprefix("https://").partition(":")
        before = ssl.get_server_certificate((host, int(port)))
        issued(authority, tmp_path)
        until(lambda: ssl.get_server_certificate((host, int(port))) != before)
        now = (tmp_path / "cert.pem").read_text()
        assert ssl.get_server_certificate((host, int(port))).split() == now.split()
        assert served.ask("GET", "/ping").status == 200


def half_replaced(directory: Path) -> tuple[Pair, ssl.SSLContext, bytes, trustme.LeafCert]:
    """A pair whose certificate was replaced and its key not yet; a context that has it as it was,
    what that shows, and the pair that comes."""
    authority = trustme.CA()
    pair = issued(authority, directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    first = shown(pair, context)
    other = authority.issue_cert("127.0.0.1")
    other.cert_chain_pems[0].write_to_path(str(pair.certificate))
    return pair, context, first, other


def test_half_of_a_new_pair_leaves_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair, context, first, other = half_replaced(tmp_path)
    for _ in range(2):
        pair.renew(context)
    assert shown(pair, context) == first
    assert [r.message.count("key values mismatch") for r in caplog.records] == [1]
    other.private_key_pem.write_to_path(str(pair.key))
    pair.renew(context)
    assert shown(pair, context) != first
    pair.key.unlink()
    pair.renew(context)
    assert f"{pair.key}: No such file" in caplog.records[-1].message


def test_a_locked_key_asks_nobody_for_its_password(tmp_path: Path) -> None:
    pair = issued(trustme.CA(), tmp_path)
    secret = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    pair.key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"key\.pem: .*"):
        Pair(pair.certificate, pair.key)


def ask_of(url: str, certificate: Path) -> urllib3.BaseHTTPResponse:
    url += f"/device-api/v1/image-queries?detector_id={ZERO.id}"
    with urllib3.PoolManager(ca_certs=str(certificate)) as pool:
        return pool.request(
            "POST", url, body=ZERO.picture(), headers={"content-type": "image/png"}, retries=False
        )


def refuses(url: str) -> bool:
    """Whether no new caller is let in."""
    host, port = url.rpartition("/")[2].split(":")
    try:
        socket.create_connection((host, int(port)), timeout=30).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_pair_replaced_between_two_looks_at_it_is_shown_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, context, first, other = half_replaced(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(pair, "_wrong", str)  # it was one pair a moment before
        pair.renew(context)
    other.private_key_pem.write_to_path(str(pair.key))
    pair.renew(context)
    assert shown(pair, context) != first


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_whatever_ends_it_a_query_under_way_is_answered(
    tmp_path: Path, number: int, scheme: str
) -> None:
    models = write_models(tmp_path, [ZERO])
    detectors = write_detectors(tmp_path / "detectors.yaml", [ZERO])
    with endpoint(tmp_path, models, detectors, "--https-port", "0") as served:
        (slow,) = servers(served).values()
        slow.send_signal(signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            url = served.secure if scheme == "https" else served.url
            asked = pool.submit(ask_of, url, tmp_path / "state/tls/certificate.pem")
            until(lambda: unread(slow))
            served.process.send_signal(number)
            until(lambda: refuses(url))
            slow.send_signal(signal.SIGCONT)
            assert asked.result().json()["result"]["label"] == "YES"
        assert served.process.wait(30) in (128 + number, -number)
    assert "Traceback" not in served.log.read_text()


def test_a_thousand_silent_connections_keep_nobody_out(served: Endpoint) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
            for _ in range(1000)
        ]
        for one in silent[::2]:
            one.sendall(b"POST /device-api/v1/image-queries HTTP/1.1\r\nHost: x\r\n")
        for _ in range(3):
            assert served.ask("GET", "/edge-config", None, **{"x-api-token": TOKEN}).status == 200
        # After a while they are hung up on, those that began a request too.
        assert [one.recv(1) for one in silent] == [b""] * 1000


def test_a_request_head_of_more_than_64_kib_is_refused(served: Endpoint) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    head = b"GET /ping HTTP/1.1\r\nHost: x\r\nx-long: " + b"a" * 60_000
    ended = {"one": b"a" * 10_000, "many": b"\r\nx-other: b" * 1000}

    def told(*pieces: bytes) -> bytes:
        with socket.create_connection((host, int(port)), timeout=60) as caller:
            with contextlib.suppress(ConnectionError):  # it may be refused before all is sent
                for piece in pieces:
                    caller.sendall(piece)
            return caller.recv(1000)

    assert told(head + b"\r\n\r\n").startswith(b"HTTP/1.1 200")
    for more in ended.values():  # whole: most often it is read at once
        assert told(head + more + b"\r\n\r\n").startswith(b"HTTP/1.1 431")
        assert told(head, more + b"\r\n\r\n").startswith(b"HTTP/1.1 431")
    assert b"over the limit" in told(head + ended["one"])  # with no end
    long = b"GET /ping?" + b"a" * 66_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    assert told(long).startswith(b"HTTP/1.1 431")
    assert served.ask("GET", "/ping").status == 200


def test_every_flag_is_a_variable_too(tmp_path: Path) -> None:
    for option in serve.params:
        flags = [flag for flag in option.opts if flag.startswith("--")]
        expected = ["HARDTACK_ENDPOINT_" + flag[2:].replace("-", "_").upper() for flag in flags]
        assert option.envvar == expected
    env = {"HARDTACK_ENDPOINT_MODELS": str(tmp_path), "HARDTACK_ENDPOINT_MAX_BODY": "many"}
    done = run("endpoint", "serve", env=env)
    assert done.returncode == 2
    assert "HARDTACK_ENDPOINT_MAX_BODY" in done.stderr
    assert "'many' is not a size" in done.stderr


def test_the_bare_address_leads_to_the_status_page(served: Endpoint) -> None:
    reply = served.ask("GET", "/", None, **{"x-api-token": TOKEN})
    assert reply.status == 307
    assert urljoin(served.url + "/", reply.headers["location"]) == served.url + "/status"
