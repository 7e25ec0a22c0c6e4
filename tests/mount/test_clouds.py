"""Google's and Azure's stores through the whole: listed, fetched, mounted, and cut off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hardtack.mount import mountinfo
from tests.support.azurite import Azurite, azurite
from tests.support.caches import bytes_of
from tests.support.commands import run
from tests.support.gcs import GCSServer, gcs_server

DATA = {"ahead/a.bin": bytes_of(300_000), "b.bin": bytes_of(3 << 20), "folder/": b""}


@dataclass
class Site:
    """A store with `DATA` in it, and the environment of a box that uses it."""

    server: Azurite | GCSServer
    source: str
    env: dict[str, str]

    def ok(self, *words: str | Path, **extra: str) -> str:
        done = run(*words, env=self.env | extra)
        assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stderr}"
        return done.stdout


@pytest.fixture(params=["gs", pytest.param("az", marks=pytest.mark.needs("npm"))])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    env = {"HARDTACK_CACHE": str(tmp_path / "cache"), "HARDTACK_KEEP_FREE": "0"}
    if request.param == "az":
        with azurite() as blobs:
            blobs.create_container("weights")
            for key, data in DATA.items():
                blobs.put("weights", f"models/{key}", data)
            yield Site(blobs, "az://weights/models", env | blobs.env)
    else:
        with gcs_server() as google:
            google.create_bucket("weights")
            for key, data in DATA.items():
                google.put("weights", f"models/{key}", data)
            env |= {"HARDTACK_ENDPOINT_URL": google.endpoint, "HARDTACK_UNSIGNED": "true"}
            yield Site(google, "gs://weights/models", env)


@pytest.mark.needs("root", "fuse")
def test_what_was_read_is_there_with_the_network_cut(site: Site, tmp_path: Path) -> None:
    point = tmp_path / "mnt"
    point.mkdir()
    assert {"ahead/a.bin", "b.bin"} <= set(site.ok("ls", site.source).split())
    site.ok("prefetch", site.source, "ahead/**")
    try:
        site.ok("mount", site.source, point)
        assert (point / "b.bin").read_bytes() == DATA["b.bin"]
        site.ok("unmount", point)
        site.server.stop()
        site.ok("mount", site.source, point)
        for name in ("ahead/a.bin", "b.bin"):
            assert (point / name).read_bytes() == DATA[name]
        assert (point / "folder").is_dir()
    finally:
        if mountinfo.mounted_at(str(point)):
            site.ok("unmount", point)
