"""What is secret is in no output, and in no file that others may read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.commands import run

PASSWORD = "s3cr3t-of-the-proxy"
KEY = "s3cr3t-of-the-key"
URL = f"http://user:{PASSWORD}@127.0.0.1:9"
TORN = f"http://user:1/{PASSWORD}@127.0.0.1:9"
"""With a sign in its password that should have been escaped."""
ENV = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": KEY,
    "AWS_SESSION_TOKEN": KEY,
    "AWS_REGION": "us-east-1",
    "AZURE_STORAGE_SAS_TOKEN": f"sig={KEY}",
}


def _told(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["config", "show", "--proxy", URL, "--endpoint-url", URL],
        ["config", "show", "--proxy", URL, "--endpoint-url", URL, "--json"],
        ["ls", "s3://b", "--endpoint-url", URL],
        ["ls", "s3://b", "--endpoint-url", "http://127.0.0.1:9", "--proxy", URL],
        ["ls", "az://box", "--endpoint-url", URL],
        ["ls", "gs://box", "--endpoint-url", URL, "--unsigned"],
        ["doctor", "az://box", "--endpoint-url", URL, "--proxy", URL, "--timeout", "1s", "--json"],
        ["doctor", "s3://b", "--endpoint-url", URL, "--proxy", URL, "--timeout", "1s", "--json"],
        ["deploy", "requirements", "--proxy", URL],
        ["config", "show", "--proxy", TORN, "--endpoint-url", TORN],
        ["config", "show", "--proxy", TORN.partition("://")[2], "--json"],
        ["ls", "s3://b", "--endpoint-url", "http://127.0.0.1:9", "--proxy", TORN],
        ["ls", "s3://b", "--endpoint-url", TORN],
        ["images", "extract", "127.0.0.1:9/x:1", "/a"],
    ],
)
def test_nothing_prints_a_secret(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(
        f'{{"auths": {{"127.0.0.1:9": {{"username": "u", "password": "{KEY}"}}}}}}'
    )
    proxied = {"HTTPS_PROXY": URL, "HTTP_PROXY": URL, "NO_PROXY": "", "HOME": str(tmp_path)}
    told = _told(run("--log-level", "debug", *words, env=ENV | proxied, cwd=tmp_path))
    assert told
    assert PASSWORD not in told and KEY not in told


@pytest.mark.needs("root", "fuse")
def test_a_mount_keeps_its_secrets(tmp_path: Path) -> None:
    """Its messages, its log, and the files from which a worker is started again."""
    point, cache = tmp_path / "mnt", tmp_path / "cache"
    point.mkdir()
    (tmp_path / "bucket").mkdir()
    words = ["--cache", str(cache), "--proxy", URL, "--endpoint-url", URL]
    told = _told(
        run("--log-level", "debug", "mount", f"file://{tmp_path}/bucket", point, *words, env=ENV)
    )
    told += _told(run("status", point, "--json", env=ENV)) + _told(run("unmount", point))
    assert PASSWORD not in told and KEY not in told
    log = (cache / "hardtack.log").read_text()
    assert PASSWORD not in log and KEY not in log
    for file in cache.rglob("*"):
        if file.is_file():
            body = file.read_bytes()
            assert KEY.encode() not in body, file
            if PASSWORD.encode() in body:
                assert file.stat().st_mode & 0o077 == 0, file
