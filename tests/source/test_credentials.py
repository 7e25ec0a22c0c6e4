"""Where credentials come from, and when they are looked for again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hardtack.core.errors import AccessDenied
from hardtack.source.credentials import CredentialChain, parse_process_output
from hardtack.source.options import SourceOptions
from tests.support.faulty import Behaviour, Request, always, faulty_server

SECRET = "the-secret-itself"
ENV_KEYS = {"AWS_ACCESS_KEY_ID": "FROM_ENV", "AWS_SECRET_ACCESS_KEY": SECRET}


class Place:
    """A directory with AWS's shared files, and a clock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = 1_000_000.0
        self.env = {
            "AWS_CONFIG_FILE": str(directory / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(directory / "credentials"),
            "PATH": os.environ["PATH"],
        }

    def write(self, name: str, text: str) -> None:
        temporary = self.directory / f"{name}.new"
        temporary.write_text(text)
        temporary.replace(self.directory / name)

    def keys(self, access: str, profile: str = "default") -> None:
        self.write("credentials", _keys(access, profile))

    def process(self, script: str) -> None:
        """A credential_process that runs `script` in Python."""
        self.write("process.py", script)
        path = self.directory / "process.py"
        self.write("config", f"[default]\ncredential_process = {sys.executable} {path}\n")

    def chain(self, options: SourceOptions | None = None, **env: str) -> CredentialChain:
        return CredentialChain(
            options or SourceOptions(), {**self.env, **env}, clock=lambda: self.now
        )

    def access_key(self, options: SourceOptions | None = None, **env: str) -> str:
        found = self.chain(options, **env).get()
        assert found is not None
        return found.access_key


def _keys(access: str, section: str) -> str:
    return f"[{section}]\naws_access_key_id = {access}\naws_secret_access_key = {SECRET}%x\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_environment_goes_first(place: Place) -> None:
    place.keys("FROM_FILE")
    assert place.access_key(SourceOptions(), **ENV_KEYS) == "FROM_ENV"


def test_a_profile_named_by_option_goes_before_the_environment(place: Place) -> None:
    place.keys("FROM_FILE", "camera")
    assert place.access_key(SourceOptions(profile="camera"), **ENV_KEYS) == "FROM_FILE"


def test_the_profile_of_the_environment(place: Place) -> None:
    place.write("credentials", _keys("ONE", "default") + _keys("TWO", "camera"))
    assert place.access_key() == "ONE"
    assert place.access_key(AWS_PROFILE="camera") == "TWO"


def test_the_config_file_holds_profiles_too(place: Place) -> None:
    place.write("config", _keys("CONFIG", "profile camera"))
    assert place.access_key(AWS_PROFILE="camera") == "CONFIG"


def test_a_profile_that_does_not_exist(place: Place) -> None:
    with pytest.raises(AccessDenied, match="no profile 'nobody'"):
        place.access_key(AWS_PROFILE="nobody")


def test_nothing_configured_names_the_places_and_asks_nobody(place: Place) -> None:
    with pytest.raises(AccessDenied, match=r"AWS_ACCESS_KEY_ID.*credentials.*not asked"):
        place.access_key()


def test_instance_credentials_need_to_be_allowed_and_not_disabled(place: Place) -> None:
    options = SourceOptions(credentials="instance")
    with pytest.raises(AccessDenied, match="not asked"):
        place.access_key(options, AWS_EC2_METADATA_DISABLED="true")


def test_half_a_pair_in_the_environment(place: Place) -> None:
    with pytest.raises(AccessDenied, match="only one is set"):
        place.access_key(AWS_ACCESS_KEY_ID="AKID")


def test_a_line_end_in_a_key_is_refused_without_showing_it(place: Place) -> None:
    with pytest.raises(AccessDenied, match="line ends") as caught:
        place.access_key(SourceOptions(), **{**ENV_KEYS, "AWS_SESSION_TOKEN": f"{SECRET}\n"})
    assert SECRET not in str(caught.value)


def test_unsigned_looks_nowhere(place: Place) -> None:
    assert place.chain(SourceOptions(unsigned=True)).get() is None


def test_files_are_read_again_when_they_change(place: Place) -> None:
    place.keys("OLD")
    chain = place.chain()
    first = chain.get()
    assert chain.get() is first
    place.keys("NEWER")
    found = chain.get()
    assert found is not None
    assert found.access_key == "NEWER"


def test_a_half_written_file_does_not_end_good_credentials(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.keys("OLD")
    chain = place.chain()
    first = chain.get()
    place.write("credentials", f"aws_secret_access_key = {SECRET}\n")
    assert chain.get() == first
    assert "could not be renewed" in caplog.text
    assert SECRET not in caplog.text


def test_after_a_refusal_only_others_count(place: Place) -> None:
    place.keys("OLD")
    chain = place.chain()
    old = chain.get()
    assert old is not None
    assert not chain.replace(old)
    place.keys("NEWER")
    assert chain.replace(old)


def _printing(place: Place, access: str, seconds: float | None) -> str:
    found: dict[str, object] = {"Version": 1, "AccessKeyId": access, "SecretAccessKey": SECRET}
    if seconds is not None:
        found["Expiration"] = datetime.fromtimestamp(place.now + seconds, tz=UTC).isoformat()
    return f"print({json.dumps(found)!r})"


def test_a_process_is_asked_once_until_its_credentials_near_their_end(place: Place) -> None:
    place.process(_printing(place, "ONE", 3600))
    chain = place.chain()
    first = chain.get()
    assert first is not None
    place.write("process.py", _printing(place, "TWO", 7200))
    place.now += 3600 - 301
    assert chain.get() is first
    place.now += 2
    second = chain.get()
    assert second is not None
    assert (first.access_key, second.access_key) == ("ONE", "TWO")


def test_renewal_that_fails_keeps_what_still_holds(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    place.process(_printing(place, "ONE", 600))
    chain = place.chain()
    first = chain.get()
    place.write("process.py", "raise SystemExit('the vault is closed')")
    place.now += 400
    assert chain.get() == first
    assert "the vault is closed" in caplog.text
    place.now += 300
    with pytest.raises(AccessDenied, match="the vault is closed"):
        chain.get()


def test_expired_credentials_are_refused_with_a_word_on_the_clock(place: Place) -> None:
    place.process(_printing(place, "ONE", -1))
    with pytest.raises(AccessDenied, match=r"ONE.*expired.*clock"):
        place.chain().get()


@pytest.mark.parametrize(
    "printed",
    [
        b"",
        b"[]",
        b"null",
        SECRET.encode(),
        json.dumps({"Version": 1, "AccessKeyId": "A"}).encode(),
        json.dumps({"Version": 2, "AccessKeyId": "A", "SecretAccessKey": SECRET}).encode(),
        json.dumps(
            {"Version": 1, "AccessKeyId": "A", "SecretAccessKey": SECRET, "Expiration": "soon"}
        ).encode(),
    ],
)
def test_what_a_process_prints_is_checked_and_never_shown(printed: bytes) -> None:
    with pytest.raises(AccessDenied, match="vault: printed") as caught:
        parse_process_output(printed, "vault")
    assert SECRET not in str(caught.value)


def test_a_process_that_is_not_there(place: Place) -> None:
    place.write("config", "[default]\ncredential_process = /nowhere/vault get\n")
    with pytest.raises(AccessDenied, match="/nowhere/vault can't be run"):
        place.access_key()


def test_a_service_is_asked_by_the_helper(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore, in its own process, looks for the token; it is never loaded into this one."""
    monkeypatch.delitem(sys.modules, "botocore", raising=False)  # other tests use it
    env = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r"}
    with pytest.raises(AccessDenied, match=r"web identity: exit status 1.*/nowhere/token"):
        place.access_key(SourceOptions(), **env)
    assert "botocore" not in sys.modules


def _metadata_service(request: Request, n: int) -> Behaviour:
    found = {
        "Code": "Success",
        "AccessKeyId": "FROM_INSTANCE",
        "SecretAccessKey": SECRET,
        "Token": "token",
        "Expiration": "2099-01-01T00:00:00Z",
    }
    if request.path.endswith("/api/token"):
        return Behaviour(status=200, body=b"metadata-token")
    whole = request.path.endswith("/role")
    return Behaviour(status=200, body=json.dumps(found).encode() if whole else b"role")


def test_the_metadata_service_is_asked_when_allowed_and_only_then(place: Place) -> None:
    with faulty_server(_metadata_service) as metadata:
        env = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.endpoint}
        with pytest.raises(AccessDenied, match="not asked"):
            place.access_key(SourceOptions(), **env)
        assert metadata.requests == []
        found = place.chain(SourceOptions(credentials="instance"), **env).get()
        assert found is not None
        assert (found.access_key, found.origin) == ("FROM_INSTANCE", "instance metadata")
        assert found.expires is not None
        assert metadata.requests


def _issued(access: str) -> dict[str, str]:
    return {
        "AccessKeyId": access,
        "SecretAccessKey": SECRET,
        "Token": "token",
        "Expiration": "2099-01-01T00:00:00Z",
    }


def test_a_containers_service_is_asked_with_its_token(place: Place) -> None:
    """As ECS and EKS Pod Identity have it."""
    answer = Behaviour(status=200, body=json.dumps(_issued("FROM_CONTAINER")).encode())
    with faulty_server(always(answer)) as service:
        env = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{service.endpoint}/role",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "who-I-am",
        }
        found = place.chain(SourceOptions(), **env).get()
        assert found is not None
        assert (found.access_key, found.token) == ("FROM_CONTAINER", "token")
        assert found.origin == "container credentials"
        assert found.expires is not None
        (request,) = service.requests
        assert (request.path, request.headers["authorization"]) == ("/role", "who-I-am")


def test_a_container_service_that_refuses_is_named(place: Place) -> None:
    with faulty_server(always(Behaviour(status=403, body=b"{}"))) as service:
        env = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{service.endpoint}/role"}
        with pytest.raises(AccessDenied, match="container credentials: exit status 1"):
            place.access_key(SourceOptions(), **env)


def test_web_identity_is_exchanged_for_credentials(place: Place) -> None:
    """The token's file is a pod's; the security token service answers."""
    place.write("token", "a-token-of-the-cluster")
    keys = {**_issued("FROM_IDENTITY"), "SessionToken": "session"}
    fields = "".join(f"<{name}>{value}</{name}>" for name, value in keys.items() if name != "Token")
    name = "AssumeRoleWithWebIdentity"
    body = f"<{name}Response><{name}Result><Credentials>{fields}</Credentials></{name}Result>"
    with faulty_server(
        always(Behaviour(status=200, body=f"{body}</{name}Response>".encode()))
    ) as sts:
        env = {
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(place.directory / "token"),
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/camera",
            "AWS_ENDPOINT_URL_STS": sts.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        found = place.chain(SourceOptions(), **env).get()
        assert found is not None
        assert (found.access_key, found.origin) == ("FROM_IDENTITY", "web identity")
        assert sts.requests


_SSO = """[profile desk]
sso_start_url = https://sso.test/start
sso_region = us-east-1
sso_account_id = 123456789012
sso_role_name = reader
region = us-east-1
"""


def test_single_sign_on_uses_the_token_of_the_last_login(place: Place) -> None:
    place.write("config", _SSO)
    tokens = place.directory / ".aws" / "sso" / "cache"
    tokens.mkdir(parents=True)
    name = hashlib.sha1(b"https://sso.test/start", usedforsecurity=False).hexdigest()
    token = {
        "startUrl": "https://sso.test/start",
        "region": "us-east-1",
        "accessToken": "logged-in",
        "expiresAt": "2099-01-01T00:00:00Z",
    }
    (tokens / f"{name}.json").write_text(json.dumps(token))
    role = {
        "accessKeyId": "FROM_SSO",
        "secretAccessKey": SECRET,
        "sessionToken": "session",
        "expiration": 4_070_908_800_000,
    }
    answer = Behaviour(status=200, body=json.dumps({"roleCredentials": role}).encode())
    with faulty_server(always(answer)) as portal:
        env = {"HOME": str(place.directory), "AWS_ENDPOINT_URL_SSO": portal.endpoint}
        found = place.chain(SourceOptions(profile="desk"), **env).get()
        assert found is not None
        assert (found.access_key, found.origin) == ("FROM_SSO", "profile desk, through AWS")
        assert portal.requests[0].headers["x-amz-sso_bearer_token"] == "logged-in"


def test_single_sign_on_without_a_login_says_so(place: Place) -> None:
    place.write("config", _SSO)
    with pytest.raises(AccessDenied, match=r"profile desk.*[Tt]oken"):
        place.access_key(SourceOptions(profile="desk"), HOME=str(place.directory))
