"""Who asks Google's and Azure's stores: what is configured and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from hardtack.core.errors import AccessDenied, ConfigError
from hardtack.source.api import ObjectInfo
from hardtack.source.azure import AzureDialect
from hardtack.source.azure_account import Account, account_of, shared_key
from hardtack.source.google import GoogleDialect
from hardtack.source.google_account import ServiceAccount
from hardtack.source.options import SourceOptions
from hardtack.source.store import StoreSource
from tests.source.reading import listing, read
from tests.support.azurite import KEY, NAME, Azurite
from tests.support.faulty import BUCKET, Behaviour, Request, always, error, faulty_server, md5

DATA = b"some weights"
INFO = ObjectInfo("key", len(DATA), md5(DATA), 0)
OPTIONS = SourceOptions(progress_deadline=5, attempts=2)
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def azure_of(env: dict[str, str], container: str = BUCKET, **options: Any) -> StoreSource:
    chosen = replace(OPTIONS, **options)
    return StoreSource(AzureDialect(container, chosen, env), "", chosen)


def google_of(env: dict[str, str], **options: Any) -> StoreSource:
    chosen = replace(OPTIONS, **options)
    return StoreSource(GoogleDialect(BUCKET, chosen, env), "", chosen)


def write_account(path: Path, key_id: str, **changes: object) -> dict[str, str]:
    pem = RSA.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_text(json.dumps({
        "type": "service_account", "client_email": "box@site.iam", "private_key_id": key_id,
        "private_key": pem.decode(), **changes,
    }))  # fmt: skip
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(path)}


def told(request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of the bearer token, whose signature holds."""
    kind, _, token = request.headers["authorization"].partition(" ")
    text, _, signature = token.rpartition(".")
    RSA.public_key().verify(_decoded(signature), text.encode(), PKCS1v15(), SHA256())
    head, claims = (json.loads(_decoded(part)) for part in text.split("."))
    assert (kind, head["alg"]) == ("Bearer", "RS256")
    return head, claims


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_service_account_signs_its_own_token(tmp_path: Path) -> None:
    env = write_account(tmp_path / "key.json", "one")
    with faulty_server() as server:
        server.objects["key"] = DATA
        source = google_of(env, endpoint_url=server.endpoint)
        assert read(source, INFO) == DATA
        listing(source)
        source.close()
    head, claims = told(server.requests[0])
    assert head["kid"] == "one"
    assert claims["iss"] == claims["sub"] == "box@site.iam"
    assert claims["scope"].endswith("devstorage.read_only")
    assert claims["exp"] - claims["iat"] == 3600
    first, second = (request.headers["authorization"] for request in server.requests)
    assert first == second


def test_a_token_is_renewed_before_it_ends(tmp_path: Path) -> None:
    now = 1_000_000.0
    account = ServiceAccount(write_account(tmp_path / "key.json", "one"), clock=lambda: now)
    first = account.token()
    now += 3200
    assert account.token() is first
    now += 150
    assert account.token().expires == now + 3600


def test_a_service_account_is_read_again_after_a_403(tmp_path: Path) -> None:
    env = write_account(tmp_path / "key.json", "old")

    def script(request: Request, n: int) -> Behaviour:
        if told(request)[0]["kid"] == "new":
            return Behaviour()
        write_account(tmp_path / "key.json", "new")
        return error(403, "AccessDenied")

    with faulty_server(script) as server:
        server.objects["key"] = DATA
        source = google_of(env, endpoint_url=server.endpoint)
        assert read(source, INFO) == DATA
        assert len(server.requests) == 2
        source.close()


def test_a_refusal_names_the_account_and_no_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    env = write_account(tmp_path / "key.json", "one")
    with faulty_server(always(error(403, "AccessDenied"))) as server:
        source = google_of(env, endpoint_url=server.endpoint)
        with pytest.raises(AccessDenied, match=r"gs://bucket/key.*box@site\.iam") as caught:
            read(source, INFO)
        source.close()
        token = server.requests[0].headers["authorization"].split()[1]
    assert len(server.requests) == 1
    assert token not in f"{caught.value!r}{caplog.text}{source._dialect.signer()!r}"


EC = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "authorized_user"}, "of type 'authorized_user'"),
        ({"private_key": "no-such-secret"}, "no RSA key"),
        ({"private_key": EC.decode()}, "no RSA key"),
        ({"private_key": None, "private_key_id": 1}, "has no private_key, private_key_id"),
    ],
)
def test_a_file_of_another_kind(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    env = write_account(tmp_path / "key.json", "one", **changes)
    with pytest.raises(AccessDenied, match=rf"GOOGLE_APPLICATION_CREDENTIALS.*{words}") as caught:
        listing(google_of(env, endpoint_url="http://store.invalid"))
    assert "no-such-secret" not in str(caught.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    env = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")}
    with pytest.raises(AccessDenied, match=r"key\.json can't be read: No such file"):
        listing(google_of(env))
    (tmp_path / "key.json").write_text("no-such-secret")
    with pytest.raises(AccessDenied, match=r"key\.json is not JSON") as caught:
        listing(google_of(env))
    assert "no-such-secret" not in str(caught.value)


def test_with_nothing_configured_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*address: object, **_: object) -> None:
        pytest.fail(f"{address} was asked")

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    for chosen in (OPTIONS, replace(OPTIONS, credentials="instance")):
        google = StoreSource(GoogleDialect(BUCKET, chosen, {}), "", chosen)
        with pytest.raises(AccessDenied, match=r"Set GOOGLE_APPLICATION_CREDENTIALS.*unsigned"):
            listing(google)
        env = {"AZURE_STORAGE_ACCOUNT": "site"}
        azure = StoreSource(AzureDialect(BUCKET, chosen, env), "", chosen)
        with pytest.raises(AccessDenied, match=r"of site.*Set AZURE_STORAGE_CONNECTION_STRING, "):
            listing(azure)


CONNECTION = f"DefaultEndpointsProtocol=https;AccountName=site;AccountKey={KEY};EndpointSuffix=x.cn"


@pytest.mark.parametrize(
    ("env", "endpoint", "account"),
    [
        (
            {"AZURE_STORAGE_ACCOUNT": "site", "AZURE_STORAGE_KEY": KEY},
            None,
            Account("site", "https://site.blob.core.windows.net", KEY, "", "AZURE_STORAGE_KEY"),
        ),
        (
            {"AZURE_STORAGE_ACCOUNT_NAME": "site", "AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=a%3D"},
            "http://127.0.0.1:1",
            Account("site", "http://127.0.0.1:1", "", "sv=1&sig=a%3D", "AZURE_STORAGE_SAS_TOKEN"),
        ),
        (
            {"AZURE_STORAGE_CONNECTION_STRING": CONNECTION, "AZURE_STORAGE_ACCOUNT": "other"},
            None,
            Account("site", "https://site.blob.x.cn", KEY, "", "AZURE_STORAGE_CONNECTION_STRING"),
        ),
        (
            {"AZURE_STORAGE_ACCOUNT_KEY": KEY},
            "https://site.blob.core.windows.net",
            Account(
                "site", "https://site.blob.core.windows.net", KEY, "", "AZURE_STORAGE_ACCOUNT_KEY"
            ),
        ),
    ],
)
def test_where_an_account_comes_from(
    env: dict[str, str], endpoint: str | None, account: Account
) -> None:
    assert account_of(env, endpoint) == account


EMULATED = Account(
    "devstoreaccount1",
    "http://127.0.0.1:10000/devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "",
    "AZURE_STORAGE_CONNECTION_STRING",
)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("UseDevelopmentStorage=true", "127.0.0.1"),
        ("usedevelopmentstorage=True;", "127.0.0.1"),
        ("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite", "azurite"),
    ],
)
def test_the_emulators_account(text: str, host: str) -> None:
    """What users of Azurite write stands for its well-known account and key."""
    found = account_of({"AZURE_STORAGE_CONNECTION_STRING": text}, None)
    assert found == replace(EMULATED, endpoint=EMULATED.endpoint.replace("127.0.0.1", host))
    found.check()


def test_the_words_of_a_connection_string_have_no_case() -> None:
    text = f"accountname=site;ACCOUNTKEY={KEY};EndpointSuffix=x.cn"
    found = account_of({"AZURE_STORAGE_CONNECTION_STRING": text}, None)
    assert (found.name, found.key, found.endpoint) == ("site", KEY, "https://site.blob.x.cn")


@pytest.mark.parametrize(
    "name", ["ab", "x" * 25, "Site", "my-site", "my site", "s\u00efte", "a\nb"]
)
def test_a_name_that_no_account_has(name: str) -> None:
    """It would be part of a host's name and of a header: it is told before anything is sent."""
    for env in (
        {"AZURE_STORAGE_ACCOUNT": name, "AZURE_STORAGE_KEY": KEY},
        {"AZURE_STORAGE_ACCOUNT_NAME": name, "AZURE_STORAGE_SAS_TOKEN": "sig=a"},
        {"AZURE_STORAGE_CONNECTION_STRING": f"AccountName={name}_;AccountKey={KEY}"},
    ):
        for endpoint in (None, "http://127.0.0.1:1"):
            with pytest.raises(
                ConfigError, match=r"storage account.* 3 to 24 small letters"
            ) as told:
                account_of(env, endpoint)
            assert next(iter(env)) in str(told.value)
            assert KEY not in str(told.value)


@pytest.mark.parametrize(
    "name", ["ab", "x" * 64, "Box", "a--b", "-ab", "ab-", "my box", "b\u00f6x", "a.b", "$other"]
)
def test_a_name_that_no_container_has(name: str) -> None:
    env = {"AZURE_STORAGE_ACCOUNT": "site", "AZURE_STORAGE_KEY": KEY}
    with pytest.raises(ConfigError, match=r"name of a container.* 3 to 63 small letters"):
        AzureDialect(name, OPTIONS, env)


@pytest.mark.parametrize("name", ["abc", "x" * 63, "a-b-c", "0box", "$web", "$root"])
def test_a_name_that_a_container_has(name: str) -> None:
    assert AzureDialect(name, OPTIONS, {"AZURE_STORAGE_ACCOUNT": "site"}).bucket == name


@pytest.mark.parametrize(
    "name",
    ["ab", "x" * 64, "Box", "-abc", "abc-", "a..b", ".abc", "my box", "b\u00f6x", "abc\n",
     ".".join(["x" * 60] * 4)],
)  # fmt: skip
def test_a_name_that_no_bucket_of_googles_has(name: str) -> None:
    with pytest.raises(ConfigError, match=r"name of a bucket of Google.* 3 to 63 small letters"):
        GoogleDialect(name, replace(OPTIONS, unsigned=True), {})


@pytest.mark.parametrize("name", ["abc", "x" * 63, "a_b-c", "weights.example.org", "a--b"])
def test_a_name_that_a_bucket_of_googles_has(name: str) -> None:
    assert GoogleDialect(name, replace(OPTIONS, unsigned=True), {}).bucket == name


def test_an_account_that_nothing_names() -> None:
    with pytest.raises(ConfigError, match=r"nothing names its account.*AZURE_STORAGE_ACCOUNT"):
        account_of({"AZURE_STORAGE_KEY": KEY}, None)
    with pytest.raises(ConfigError, match="no connection string") as caught:
        account_of({"AZURE_STORAGE_CONNECTION_STRING": "no-such-secret"}, None)
    assert "no-such-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"AZURE_STORAGE_KEY": "no-such-secret!"}, "AZURE_STORAGE_KEY.*not base64"),
        ({"AZURE_STORAGE_SAS_TOKEN": "sig=no-such-secret\n"}, "AZURE_STORAGE_SAS_TOKEN.*blanks"),
    ],
)
def test_a_malformed_secret_is_not_quoted(env: dict[str, str], words: str) -> None:
    with pytest.raises(AccessDenied, match=words) as caught:
        listing(azure_of({"AZURE_STORAGE_ACCOUNT": "site", **env}))
    assert "no-such-secret" not in str(caught.value)


def test_what_is_said_of_aws_is_not_meant() -> None:
    """The command line fills the options from AWS's variables."""
    aws = {"AWS_ENDPOINT_URL": "https://minio.example", "AWS_CA_BUNDLE": "/ca.pem"}
    options = {"endpoint_url": aws["AWS_ENDPOINT_URL"], "ca_bundle": aws["AWS_CA_BUNDLE"]}
    chosen = replace(OPTIONS, unsigned=True, **options)  # type: ignore[arg-type]
    google = GoogleDialect(BUCKET, chosen, aws)
    azure = AzureDialect(BUCKET, chosen, {**aws, "AZURE_STORAGE_ACCOUNT": "site"})
    assert google.host().url == "https://storage.googleapis.com"
    assert azure.host().url == "https://site.blob.core.windows.net"
    assert google.ca_bundle() is azure.ca_bundle() is None


def test_the_string_that_is_signed() -> None:
    """As Microsoft's page on Shared Key lays it out."""
    account = Account("site", "https://site.blob.core.windows.net", KEY)
    headers = {"Range": "bytes=0-9", "If-Match": '"0x8"', "x-ms-version": "V", "x-ms-date": "D"}
    query = [("restype", "container"), ("comp", "list"), ("prefix", "a b/")]
    text = (
        'GET\n\n\n\n\n\n\n\n"0x8"\n\n\nbytes=0-9\nx-ms-date:D\nx-ms-version:V\n'
        "/site/box/a%20b\ncomp:list\nprefix:a b/\nrestype:container"
    )
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    made = shared_key(account, "GET", "/box/a%20b", query, headers)
    assert made == f"SharedKey site:{base64.b64encode(digest).decode()}"


@pytest.mark.needs("npm")
def test_azure_judges_keys_and_tokens(azure: Azurite, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    azure.create_container("judged")
    azure.put("judged", "a b", DATA)
    place = {"endpoint_url": azure.endpoint}
    keyed = azure_of({"AZURE_STORAGE_ACCOUNT": NAME, "AZURE_STORAGE_KEY": KEY}, "judged", **place)
    assert read(keyed, listing(keyed)["a b"]) == DATA
    token = _sas("2099-01-01")
    signed = azure_of({"AZURE_STORAGE_SAS_TOKEN": token}, "judged", **place)
    assert read(signed, listing(signed)["a b"]) == DATA
    missing = azure_of(azure.env, "nowhere")
    with pytest.raises(Exception, match=r"no container nowhere at http://127\.0\.0\.1"):
        listing(missing)
    wrong = base64.b64encode(b"another").decode()
    for env, who in (
        ({"AZURE_STORAGE_ACCOUNT": NAME, "AZURE_STORAGE_KEY": wrong}, "its key"),
        ({"AZURE_STORAGE_ACCOUNT": NAME, "AZURE_STORAGE_SAS_TOKEN": _sas("2020-01-01")}, "a SAS"),
    ):
        refused = azure_of(env, "judged", **place)
        with pytest.raises(AccessDenied, match=rf"az://judged/.*{NAME} with {who}") as caught:
            listing(refused)
        said = f"{caught.value!r}{caught.value}{caplog.text}"
        assert "sig=" not in said and wrong not in said and "SharedKey" not in said
        refused.close()
    for source in (keyed, signed, missing):
        source.close()


def _sas(until: str) -> str:
    """A token to list and read what the account holds."""
    text = f"{NAME}\nrl\nb\nsco\n\n{until}\n\n\n2019-12-12\n"
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    signature = quote(base64.b64encode(digest).decode(), safe="")
    return f"sv=2019-12-12&ss=b&srt=sco&sp=rl&se={until}&sig={signature}"
