"""The main job: real weights in a bucket, nine detectors, the network cut, a reboot, the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hardtack.core.errors import MountError
from hardtack.core.units import format_size
from hardtack.demo import bucket, detectors, leftovers, ocr, pictures
from hardtack.demo.detectors import SAMPLES
from hardtack.demo.edge import Answer, Edge
from hardtack.demo.wire import Wire

HARDTACK = [sys.executable, "-m", "hardtack"]


@dataclass(frozen=True)
class Step:
    """One thing that was done: seconds it took, what came of it, whether the network was there."""

    what: str
    seconds: float
    result: str
    online: bool


@dataclass
class Outcome:
    """All steps, what the detectors said with the network cut, and bytes: in the bucket, over the
    wire, and those read from the mount."""

    steps: list[Step] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    weights_bytes: int = 0
    wire_bytes: int = 0
    read_bytes: int = 0
    fuse: bool = True
    kept: dict[str, str] = field(default_factory=dict)


class Story:
    """The demo's steps over a directory of its own; `tell` is told of each when it is done."""

    def __init__(self, directory: Path, tell: Callable[[Step], None]) -> None:
        self.directory = directory
        self.mountpoint = directory / "mnt"
        self.cache = directory / "cache"
        self.picture = directory / "label.png"
        self.server = bucket.Server(directory / "s3")
        self.edge = Edge(directory / "edge", self.mountpoint / "models")
        self.outcome = Outcome()
        self._tell = tell

    @property
    def source(self) -> str:
        return f"s3://{bucket.BUCKET}"

    @contextlib.contextmanager
    def _step(self, what: str) -> Iterator[list[str]]:
        said: list[str] = []
        started = time.monotonic()
        yield said
        step = Step(what, time.monotonic() - started, "; ".join(said), self.server.pid is not None)
        self.outcome.steps.append(step)
        self._tell(step)

    def run(self) -> Outcome:
        """The whole story. Raises HardtackError when something was not as promised."""
        self._fill_bucket()
        self.outcome.fuse = os.access("/dev/fuse", os.R_OK | os.W_OK)
        if self.outcome.fuse:
            self._with_mount()
        else:
            self._with_files()
        return self.outcome

    def close(self) -> None:
        """Leave nothing behind: endpoint, mount, server, directory."""
        self.edge.stop()
        if self.outcome.fuse:
            self._unmount_whatever_is_there()
        self.server.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _unmount_whatever_is_there(self) -> None:
        """A mount that was interrupted may be there or not; a reader of ours may still have it."""
        for how in ([], ["--lazy"]):
            command = [*HARDTACK, "unmount", *how, str(self.mountpoint)]
            if subprocess.run(command, check=False, capture_output=True).returncode == 0:
                return

    def _fill_bucket(self) -> None:
        files = bucket.find_weights()
        with self._step("start an S3 server, put real weights into a bucket") as said:
            self.server.start()
            self.wire = Wire(self.server.port)
            objects = bucket.hub_cache(files) | detectors.objects()
            self.server.put(objects)
            # Detectors share networks: the same bytes under several names.
            self.outcome.weights_bytes = sum(map(len, set(objects.values())))
            said.append(f"{len(SAMPLES)} detectors, {format_size(self.outcome.weights_bytes)}")
        self.picture.write_bytes(pictures.png(pictures.label(ocr.TEXT)))

    def _with_mount(self) -> None:
        self.mountpoint.mkdir()
        with self._step("mount the bucket"):
            self._mount()
        self._kill_in_mid_read("kill -9 the worker in the middle of a first read")
        self._infer("read the label: the rest from the network")
        self._serve("start an endpoint: its weights from the mount")
        self._ask("ask all nine detectors")
        with self._step("prefetch the rest") as said:
            done = json.loads(self._hardtack("prefetch", self.source, "--json"))
            said.append(f"{done['files']} files there")
        self.outcome.wire_bytes = self.wire.received
        with self._step("cut the network, end it all, forget the kernel's caches") as said:
            self._cut()
            self.edge.stop()
            self._hardtack("unmount", str(self.mountpoint))
            said.append("caches dropped" if forget_caches() else "not root: caches kept")
        with self._step("mount again, as after a reboot"):
            self._mount()
        self._infer("read the label: no network")
        self._serve("start the endpoint again: no network")
        self._ask("ask all nine detectors: no network")
        self._kill_in_mid_read("kill -9 the worker in the middle of a read, no network")

    def _with_files(self) -> None:
        files = self.directory / "files"
        with self._step("no /dev/fuse here: prefetch to plain files"):
            self._hardtack("prefetch", self.source, "--to", str(files))
        self.mountpoint = files
        self.edge = Edge(self.directory / "edge", files / "models")
        self._infer("read the label: from plain files")
        with self._step("cut the network"):
            self._cut()
        self._infer("read the label: no network")
        self._serve("start an endpoint: no network")
        self._ask("ask all nine detectors: no network")
        self.outcome.wire_bytes = self.wire.received

    def _cut(self) -> None:
        self.wire.cut()
        self.server.stop()

    def _infer(self, what: str) -> None:
        with self._step(what) as said:
            environment = os.environ | {
                "HF_HUB_OFFLINE": "1",
                "HF_HUB_CACHE": str(self.mountpoint / "hub"),
            }
            done = subprocess.run(
                [sys.executable, "-m", "hardtack.demo.ocr", str(self.picture)],
                env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode != 0:
                raise MountError(f"Inference from {self.mountpoint} failed:\n{done.stderr}")
            lines = json.loads(done.stdout)
            if lines != list(ocr.TEXT):
                raise MountError(f"The label says {list(ocr.TEXT)}, and was read as {lines}.")
            said.append(" ".join(lines))
        self.outcome.read_bytes += sum(
            path.stat().st_size
            for path in self.mountpoint.rglob("*.onnx")
            if path.name in (ocr.DETECTOR, ocr.READER)
        )

    def _serve(self, what: str) -> None:
        with self._step(what) as said:
            self.edge.start()
            said.append(f"{len(SAMPLES)} of {len(SAMPLES)} ready")
        weights = (self.mountpoint / "models").rglob("*.onnx")
        self.outcome.read_bytes += sum(path.stat().st_size for path in weights)

    def _ask(self, what: str) -> None:
        with self._step(what) as said:
            self.outcome.answers = list(self.edge.answers())
            said.append(f"{len(self.outcome.answers)} of {len(SAMPLES)} right, from_edge: true")

    def _kill_in_mid_read(self, what: str) -> None:
        """Read the largest file; its worker is killed on the way, and its successor goes on."""
        largest = max(self.mountpoint.glob("hub/*/blobs/*"), key=lambda p: p.stat().st_size)
        with self._step(what) as said:
            digest = hashlib.sha256()
            worker = self._worker_pid()
            with largest.open("rb", buffering=0) as reader:
                digest.update(reader.read(1 << 17))
                os.kill(worker, signal.SIGKILL)
                while piece := reader.read(1 << 20):
                    digest.update(piece)
            if digest.hexdigest() != largest.name or self._worker_pid() == worker:
                raise MountError(f"After the kill, {largest.name} read as {digest.hexdigest()}.")
            said.append("the reader got its bytes")
        self.outcome.read_bytes += largest.stat().st_size

    def _worker_pid(self) -> int:
        pid: int = json.loads((self.mountpoint / ".hardtack").read_text())["worker"]
        return pid

    def _mount(self) -> None:
        self._hardtack(
            "mount", self.source, str(self.mountpoint), "--cache", str(self.cache),
            "--keep-free", "0",
        )  # fmt: skip

    def _hardtack(self, *arguments: str) -> str:
        environment = os.environ | self.server.environment(self.wire.port)
        environment |= {"HARDTACK_CACHE": str(self.cache), "HARDTACK_LOG_LEVEL": "warning"}
        environment.pop("AWS_CA_BUNDLE", None)
        done = subprocess.run(
            [*HARDTACK, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise MountError(f"`hardtack {' '.join(arguments)}` failed:\n{done.stderr.strip()}")
        return done.stdout


def forget_caches() -> bool:
    """Drop the kernel's page cache, as a reboot would; False when we may not."""
    try:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


def tell(keep: bool, report: Callable[[Step], None]) -> Outcome:
    """Run the story in a new directory; with `keep` mount and endpoint are left running."""
    directory = Path(tempfile.mkdtemp(prefix=leftovers.PREFIX))
    story = Story(directory, report)
    try:
        leftovers.own(directory)
        outcome = story.run()
    except BaseException:  # an interrupt and a signal to end among them
        story.close()
        leftovers.remove(directory)  # what an interrupted step had begun, and told nobody
        raise
    if not keep:
        story.close()
        return outcome
    leftovers.own(directory, kept=True)
    outcome.kept = {
        "mountpoint": str(story.mountpoint),
        "cache": str(story.cache),
        "endpoint": story.edge.url,
        "endpoint_pid": str(story.edge.pid),
        "directory": str(story.directory),
    }
    return outcome


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as plain data."""
    return asdict(outcome)
