"""URLs of sources, and the settings that environment and files give."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hardtack.core.errors import ConfigError
from hardtack.source.aws_config import Files, endpoint_url, read_profile, region
from hardtack.source.http import Host
from hardtack.source.open import open_source
from hardtack.source.options import SourceOptions


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("file:///srv/models", "file:///srv/models"),
    ],
)
def test_a_url_names_its_source(url: str, name: str) -> None:
    assert open_source(url).url == name


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bucket",
        "s3://",
        "s3:///key",
        "gs://",
        "az:///key",
        "s3://key:secret@bucket",
        "ftp://x",
        "file://host/x",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_source(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "host:9000",
        "ftp://host",
        "http://",
        "http://host:x",
        "",
        "https://a..example",
        "https://.example",
        f"https://{'x' * 64}.example",
        "https://fa\u00df.example",
        "https://a b.example",
        "https://host/\u00e4",
        "https://host/a b",
    ],
)
@pytest.mark.parametrize("store", ["s3", "gs", "az"])
def test_an_unusable_endpoint(store: str, url: str) -> None:
    """It is told when the source is named, before anything is asked of it."""
    with pytest.raises(ConfigError, match=re.escape(repr(url))):
        Host.of(url)
    if url:
        with pytest.raises(ConfigError, match=re.escape(repr(url))):
            open_source(f"{store}://bucket", SourceOptions(endpoint_url=url, unsigned=True))


@pytest.mark.parametrize("password", ["pa/s3cret", "pa?s3cret", "pa#s3cret", "p@s3cret"])
def test_an_endpoint_shows_no_password(password: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Host.of(f"https://me:{password}@a..example")
    assert "s3cret" not in str(caught.value)
    assert "pa" not in caught.value.message


def test_an_international_endpoint_goes_by_its_ascii_form() -> None:
    assert Host.of("https://\u0142.example:1").url == "https://xn--tfa.example:1"


@pytest.mark.parametrize("bucket", ["\u0142", "b..c", "x" * 64, "a b"])
def test_a_bucket_that_can_be_no_part_of_a_hosts_name(bucket: str) -> None:
    with pytest.raises(ConfigError, match="can't be the name of a bucket"):
        open_source(f"s3://{bucket}", SourceOptions(path_style=False))


@pytest.mark.parametrize("bucket", ["\u0142", "a b", "a\nb", "a'b"])
def test_a_bucket_that_can_be_no_part_of_a_path(bucket: str) -> None:
    with pytest.raises(ConfigError, match="can't be the name of a bucket"):
        open_source(f"s3://{bucket}", SourceOptions(path_style=True))


def test_a_bucket_of_a_store_with_older_rules() -> None:
    assert open_source("s3://Old_Bucket", SourceOptions(path_style=True)).url == "s3://Old_Bucket"


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("S3://bucket", "'s3://bucket'"),
        ("s3a://bucket/a", "'s3://bucket/a'"),
        ("gcs://bucket", "'gs://bucket'"),
        ("flie:///srv", "'file:///srv'"),
        ("s3:/bucket/a", "'s3://bucket/a'"),
        ("az:box", "'az://box'"),
        ("file:/srv/models", "'file:///srv/models'"),
    ],
)
def test_a_mistyped_scheme(url: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_source(url)
    assert f"Did you mean {near}?" in caught.value.remedy


def test_where_region_and_endpoint_come_from(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        "[default]\nregion = r-file\nservices = here\nendpoint_url = http://general\n"
        "[services here]\ns3 =\n  endpoint_url = http://file\n"
    )
    profile = read_profile(Files(tmp_path / "config", tmp_path / "none"), "default")
    none = read_profile(Files(tmp_path / "none", tmp_path / "none"), "default")
    both = {"AWS_REGION": "r-env", "AWS_DEFAULT_REGION": "r-default"}
    assert region("r-option", both, profile) == "r-option"
    assert region(None, both, profile) == "r-env"
    assert region(None, {"AWS_DEFAULT_REGION": "r-default"}, profile) == "r-default"
    assert region(None, {}, profile) == "r-file"
    assert region(None, {}, none) == "us-east-1"
    both = {"AWS_ENDPOINT_URL_S3": "http://s3", "AWS_ENDPOINT_URL": "http://all"}
    assert endpoint_url("http://option", both, profile) == "http://option"
    assert endpoint_url(None, both, profile) == "http://s3"
    assert endpoint_url(None, {"AWS_ENDPOINT_URL": "http://all"}, profile) == "http://all"
    assert endpoint_url(None, {}, profile) == "http://file"
    assert endpoint_url(None, {}, none) is None


def test_a_damaged_file_is_named_without_its_text(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("aws_secret_access_key = the-secret\n")
    with pytest.raises(ConfigError, match="credentials is not an INI file") as caught:
        read_profile(Files(tmp_path / "none", tmp_path / "credentials"), "default")
    assert "the-secret" not in str(caught.value)


def test_a_cloud_names_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "site")
    for url in ("gs://bucket", "gs://bucket/a/b", "az://box", "az://box/a"):
        assert open_source(f"{url}/").url == url


def test_a_box_with_s3_loads_no_other_cloud() -> None:
    code = (
        "import sys; from hardtack.source.open import open_source; open_source('s3://b')\n"
        "print([n for n in sys.modules if 'google' in n or 'azure' in n or n == 'cryptography'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_importing_costs_no_http_client() -> None:
    code = "import sys, hardtack.source.open as o; print('http.client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
