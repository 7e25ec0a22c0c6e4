"""A real containerd with its own configuration, root and socket, and a small CRI client."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from hardtack.images.wire import Message, decode, encode, encode_map

PAUSE = "localhost/pause:test"
_CONFIG = """
version = 2
root = "{root}"
state = "{state}"
oom_score = 0
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.internal.v1.restart"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_tcp_service = true
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{networks}"
"""


def configuration(
    *, root: Path, state: Path, socket: Path, pause: str, snapshotter: str, plugins: Path,
    networks: Path,
) -> str:  # fmt: skip
    """containerd's configuration; pods are networked by CNI's `plugins` as `networks` say."""
    return _CONFIG.format(**locals())


@dataclass
class ContainerdServer:
    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.directory / "containerd.sock"

    def blob(self, digest: str) -> Path:
        """The file of a blob in the store."""
        store = self.directory / "root/io.containerd.content.v1.content/blobs"
        return store / digest.replace(":", "/")

    def ctr(self, *arguments: str) -> str:
        done = subprocess.run(
            ["ctr", "-a", str(self.socket), "-n", "k8s.io", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def containerd(directory: Path) -> Iterator[ContainerdServer]:
    """A containerd that lives in `directory` (keep its path short: it holds sockets)."""
    config = directory / "config.toml"
    config.write_text(configuration(
        root=directory / "root", state=directory / "state", socket=directory / "containerd.sock",
        pause=PAUSE, snapshotter="native", plugins=directory / "cni/bin",
        networks=directory / "cni/conf",
    ))  # fmt: skip
    with (directory / "containerd.log").open("wb") as log:
        process = subprocess.Popen(["containerd", "--config", str(config)], stdout=log, stderr=log)
    server = ContainerdServer(directory, process)
    try:
        for _ in range(200):
            done = subprocess.run(
                ["ctr", "-a", str(server.socket), "version"], capture_output=True, check=False
            ) if server.socket.exists() else None  # fmt: skip
            if done is not None and done.returncode == 0:
                break
            time.sleep(0.1)
        else:
            raise AssertionError((directory / "containerd.log").read_text())
        yield server
    finally:
        process.terminate()
        process.wait(20)


class Cri:
    """As much of `runtime.v1` as it takes to run a pod to its end."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix://{socket}")

    def close(self) -> None:
        self._channel.close()

    def call(self, method: str, *fields: tuple[int, int | str | bytes]) -> Message:
        name = f"/runtime.v1.{method}"
        return decode(self._channel.unary_unary(name, None, None)(encode(fields), timeout=60))

    def has_image(self, name: str) -> bool:
        """Whether the CRI knows the image (it learns of new ones by events); waits a little."""
        for _ in range(100):
            if self.call("ImageService/ImageStatus", (1, encode([(1, name)]))).data(1):
                return True
            time.sleep(0.05)
        return False

    def run(self, image: str, logs: Path) -> str:
        """Run a pod with one container of `image` on the host's network; its output."""
        logs.mkdir(parents=True, exist_ok=True)
        host = encode([(1, 2), (2, 2), (3, 2)])  # network, pid, ipc: the node's
        linux = encode([(2, encode([(1, host)]))])
        uid = f"u{time.monotonic_ns()}"
        meta = encode([(1, "pod"), (2, uid), (3, "default")])
        config = encode([(1, meta), (3, str(logs)), (8, linux), *encode_map(6, {"test": "1"})])
        sandbox = self.call("RuntimeService/RunPodSandbox", (1, config)).text(1)
        try:
            container = encode(
                [(1, encode([(1, "main")])), (2, encode([(1, image)])), (11, "out.log")]
            )
            made = self.call(
                "RuntimeService/CreateContainer", (1, sandbox), (2, container), (3, config)
            ).text(1)
            self.call("RuntimeService/StartContainer", (1, made))
            for _ in range(200):
                status = self.call("RuntimeService/ContainerStatus", (1, made)).message(1)
                if status.number(3) == 2:  # exited
                    return (logs / "out.log").read_text()
                time.sleep(0.05)
            raise AssertionError("the container doesn't end")
        finally:
            self.call("RuntimeService/StopPodSandbox", (1, sandbox))
            self.call("RuntimeService/RemovePodSandbox", (1, sandbox))
