"""A box that would come up with the cable pulled, made from real parts, to be broken by tests."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardtack.cache.api import Options
from hardtack.cache.cache import Cache
from hardtack.demo.detectors import SAMPLES
from hardtack.images.install import install
from hardtack.images.lock import lock
from hardtack.images.lockfile import write_lock
from hardtack.images.platforms import Platform
from hardtack.images.pull import pull
from hardtack.images.registry import Registry
from hardtack.manifests.reference import Reference
from hardtack.source.open import open_source
from hardtack.source.options import SourceOptions
from tests.support import oci
from tests.support.caches import opened
from tests.support.commands import HARDTACK, clean_environment, run
from tests.support.endpoints import write_detectors, write_models
from tests.support.registry import RegistryServer, registry

CHOSEN = tuple(s for s in SAMPLES if s.name in ("digit", "focus"))
PAUSE = "rancher/mirrored-pause:3.6"
WAITER = "systemd-networkd-wait-online.service"
PROGRAM = "\x7fELF\n"
_ROUTES = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT"


@dataclass
class Watch:
    process: subprocess.Popen[str]
    log: Path

    def lines(self, last: str) -> list[str]:
        """What it prints, up to the first line that begins with `last`. Raises EOFError with its
        last words where it ended before."""
        told: list[str] = []
        while not told or not told[-1].startswith(last):
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            if not line:
                code = self.process.wait(30)
                raise EOFError(f"it ended with {code} after {told}:\n{self.log.read_text()}")
            told.append(line)
        return told


@dataclass
class ReadyBox:
    """Everything of it lies in `directory`; its bucket is a directory too."""

    directory: Path

    @property
    def bucket(self) -> Path:
        return self.directory / "bucket"

    @property
    def images(self) -> Path:
        return self.directory / "k3s/agent/images"

    @property
    def manifests(self) -> Path:
        return self.directory / "k3s/server/manifests"

    @property
    def source(self) -> str:
        return f"file://{self.bucket}"

    @property
    def root(self) -> Path:
        return self.directory / "root"

    def model(self, number: int = 0) -> Path:
        """The directory of a detector's model in the bucket."""
        return self.bucket / "models" / CHOSEN[number].id / "primary" / "1"

    def hardtack(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return run(*arguments, env=self.env, cwd=self.directory)

    @property
    def env(self) -> dict[str, str]:
        return {"HARDTACK_CACHE": str(self.directory / "cache"), "HARDTACK_KEEP_FREE": "0"}

    @property
    def image(self) -> str:
        """The name of the image in the manifest."""
        text = (self.manifests / "pod.yaml").read_text()
        return text.partition("image: ")[2].split("\n")[0]

    @property
    def _given(self) -> list[str | Path]:
        return [
            "ready", self.source, "--to", self.images, "--deployment", self.manifests,
            "--socket", self.directory / "none.sock", "--detectors", "detectors.json",
            "--state", self.directory / "state", "--root", self.root,
        ]  # fmt: skip

    def command(self, *more: str | Path) -> list[str]:
        """`ready` with what this box is, and `more`."""
        return [*HARDTACK, *map(str, [*self._given, *more])]

    def ready(self, *more: str | Path) -> subprocess.CompletedProcess[str]:
        return self.hardtack(*self._given, *more)

    @contextmanager
    def watching(self, *more: str | Path) -> Iterator[Watch]:
        """`ready --watch`, ended when the block is."""
        log = self.directory / "watch.log"
        with (
            log.open("w") as stderr,
            subprocess.Popen(
                self.command("--watch", *more), env=clean_environment(self.env),
                cwd=self.directory, stdout=subprocess.PIPE, stderr=stderr, text=True,
            ) as process,
        ):  # fmt: skip
            try:
                yield Watch(process, log)
            finally:
                process.terminate()

    def amiss(self, *more: str | Path) -> list[dict[str, Any]]:
        """The rows that aren't ready, told by a `ready` that says so with its exit code too."""
        done = self.ready("--json", *more)
        assert done.returncode in (0, 1), done.stderr
        told = json.loads(done.stdout)
        rows: list[dict[str, Any]] = [row for row in told["rows"] if row["state"] != "ready"]
        assert told["ready"] == (done.returncode == 0) == (not rows and bool(told["rows"]))
        return rows


def ready_box(directory: Path, shipped: Path) -> ReadyBox:
    """Two detectors with their models fetched and pinned, and the image of `ship`."""
    box = ReadyBox(directory)
    write_root(box.root)
    shutil.copytree(shipped, directory, dirs_exist_ok=True)
    install(directory / "bundles", box.images)
    write_models(box.bucket, CHOSEN)
    write_detectors(directory / "detectors.json", CHOSEN)
    with open_cache(box) as cache:
        cache.refresh()
        cache.prefetch([])
        cache.pin("june")
    return box


def write_root(root: Path) -> None:
    """The files of a prepared box's system. (Its addresses are those of this machine: the node has
    that of lo.)"""
    for name, text in {
        "proc/net/route": f"{_ROUTES}\neth0 00000000 FE01A8C0 0003 0 0 100 00000000 0 0 0\n"
        "hardtack0 00000000 FF7100CB 0003 0 0 1000 00000000 0 0 0\n",
        "sys/class/net/eth0/device/vendor": "0x8086\n",
        "sys/class/net/hardtack0/mtu": "1500\n",
        "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 box\n",
        "etc/hostname": "# of this box\nBox\n",
        "etc/rancher/k3s/config.yaml": "node-ip: 127.0.0.1\nkubelet-arg:\n"
        "  - image-gc-high-threshold=100\n",
        "var/lib/rancher/k3s/server/token": "",
        "var/lib/hardtack/clock": "",
        "etc/systemd/system/k3s.service": "[Unit]\nAfter=network-online.target\n",
        "etc/systemd/system/hardtack-prepare.service": "[Service]\n"
        "ExecStart=hardtack box prepare\n",
        "etc/systemd/system/k3s.service.wants/hardtack-prepare.service": "",
        "usr/local/bin/hardtack": PROGRAM,
        "usr/local/bin/k3s": PROGRAM,
        "etc/systemd/system/multi-user.target.wants/k3s.service": "",
        f"usr/lib/systemd/system/{WAITER}": "[Service]\nType=oneshot\n",
        f"etc/systemd/system/network-online.target.wants/{WAITER}": "",
        f"etc/systemd/system/{WAITER}.d/hardtack.conf": "[Service]\nTimeoutStartSec=15\n",
    }.items():
        put(root / name, text)


def put(file: Path, text: str) -> None:
    """A file of a box: what starts a unit is a link, and a program may be run."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.parent.suffix in (".wants", ".requires"):
        file.unlink(missing_ok=True)
        file.symlink_to(f"../{file.name}")
        return
    file.write_text(text)
    if text == PROGRAM:
        file.chmod(0o755)


@contextmanager
def open_cache(box: ReadyBox) -> Iterator[Cache]:
    source = open_source(box.source, SourceOptions())
    with opened(box.directory / "cache", source, Options(keep_free=0)) as cache:
        yield cache


def ship(directory: Path, server: RegistryServer | None = None) -> Path:
    """What a deployment brings to a box: the lock, a bundle, a manifest. The image that it names
    and k3s's own for pods come from `server`, or from one that is gone afterwards."""
    with registry(directory) if server is None else nullcontext(server) as server:
        server.push("app/camera", "v1", oci.image([oci.layer({"f": b"x" * 5000})]))
        server.push(PAUSE.partition(":")[0], "3.6", oci.image([oci.layer({"p": b"p"})]))
        name, pause = f"{server.host}/app/camera:v1", f"{server.host}/{PAUSE}"
        client = Registry()
        wanted = {Reference.parse(each): ("test",) for each in (name, pause)}
        locked = lock(wanted, [Platform.here()], client)
        shipped = directory / "shipped"
        pull(locked, shipped / "bundles", client)
        client.close()
    write_lock(shipped / "images.lock", locked)
    manifests = shipped / "k3s/server/manifests"
    manifests.mkdir(parents=True)
    (manifests / "pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: camera}\nspec:\n  containers:\n"
        f"    - name: camera\n      image: {name}\n      imagePullPolicy: IfNotPresent\n"
    )
    return shipped
