"""A real registry (Debian's docker-registry) on loopback, and pushing to it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import urllib3

from tests.support import oci
from tests.support.ports import free_port


class RegistryServer:
    """A running registry at `host` (`localhost:port` unless it is elsewhere)."""

    def __init__(
        self, port: int, process: subprocess.Popen[bytes] | None = None, address: str = "127.0.0.1"
    ) -> None:
        self.host = f"{'localhost' if address == '127.0.0.1' else address}:{port}"
        self._base = f"http://{address}:{port}/v2"
        self._http = urllib3.PoolManager()
        self._process = process

    def push_blob(self, repository: str, data: bytes) -> None:
        name = oci.digest(data)
        if self._http.request("HEAD", f"{self._base}/{repository}/blobs/{name}").status == 200:
            return
        started = self._http.request(
            "POST", f"{self._base}/{repository}/blobs/uploads/", redirect=False
        )
        where = started.headers["Location"]
        url = where if "://" in where else self._base.removesuffix("/v2") + where
        done = self._http.request(
            "PUT",
            f"{url}&digest={name}",
            body=data,
            headers={"Content-Type": "application/octet-stream"},
        )
        assert done.status == 201, done.data

    def push(self, repository: str, tag: str, *images: oci.Image) -> None:
        """The blobs and manifests of `images`, each under its digest and the last under `tag`."""
        for image in images:
            for data in image.blobs.values():
                self.push_blob(repository, data)
            self.put_manifest(repository, image.digest, image.manifest, image.media_type)
            self.put_manifest(repository, tag, image.manifest, image.media_type)

    def push_index(
        self, repository: str, tag: str, images: Mapping[str, oci.Image], *, docker: bool = False
    ) -> str:
        """An index of `images` by platform; its digest."""
        for image in images.values():
            self.push(repository, tag, image)
        raw = oci.index(images, docker=docker)
        self.put_manifest(repository, tag, raw, json.loads(raw)["mediaType"])
        return oci.digest(raw)

    def put_manifest(self, repository: str, reference: str, raw: bytes, media_type: str) -> None:
        done = self._http.request(
            "PUT",
            f"{self._base}/{repository}/manifests/{reference}",
            body=raw,
            headers={"Content-Type": media_type},
        )
        assert done.status == 201, done.data

    def wait(self) -> None:
        for _ in range(200):
            try:
                if (
                    self._http.request("GET", f"{self._base}/", retries=False, timeout=1).status
                    == 200
                ):
                    return
            except urllib3.exceptions.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError("the registry doesn't come up")

    def stop(self) -> None:
        self._http.clear()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)


@contextmanager
def registry(
    directory: Path, at: tuple[str, int] | None = None,
    enter: Callable[..., list[str]] = lambda *command: list(command),
) -> Iterator[RegistryServer]:  # fmt: skip
    """A docker-registry with its store in `directory`, on loopback unless `at` an address and
    port; `enter` says how it is run elsewhere."""
    address, port = at or ("127.0.0.1", free_port())
    config = directory / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory}/store}}}}\n"
        f"http: {{addr: '{address}:{port}'}}\n"
    )
    with (directory / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            enter("docker-registry", "serve", str(config)), stdout=log, stderr=log
        )
    server = RegistryServer(port, process, address)
    try:
        server.wait()
        yield server
    finally:
        server.stop()
