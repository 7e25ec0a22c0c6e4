"""What systemd does for a service with a store of descriptors, and no more: it is told things
through NOTIFY_SOCKET, keeps what it is given, and gives it back at the next start."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

_START = 'exec 3<&"$1" 4<&"$2"; shift 2; LISTEN_PID=$$; export LISTEN_PID; exec "$@"'
UNIT = "hardtack@mnt.service"


class ServiceManager:
    """Runs `command`; `jobs` is what its systemctl tells of the unit."""

    def __init__(self, directory: Path, command: list[str], env: Mapping[str, str]) -> None:
        self._command = command
        self._job = directory / "job"
        self._job.write_text("")
        tools = directory / "tools"
        tools.mkdir()
        (tools / "systemctl").write_text(f'#!/bin/sh\nexec cat "{self._job}"\n')
        (tools / "systemctl").chmod(0o755)
        self._address = f"\0hardtack-test-{os.getpid()}-{id(self)}"
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(self._address)
        self._env = dict(env) | {
            "NOTIFY_SOCKET": "@" + self._address[1:],
            "HARDTACK_UNIT": UNIT,
            "PATH": f"{tools}:{env['PATH']}",
        }
        self.store: dict[str, int] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the service, with what is in the store; returns when it says that it is ready."""
        if self.store:
            fds = [self.store[name] for name in sorted(self.store)]
            given = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": ":".join(sorted(self.store))}
            command = ["bash", "-c", _START, "bash", *map(str, fds), *self._command]
            self.process = subprocess.Popen(command, env=self._env | given, pass_fds=fds)
        else:
            self.process = subprocess.Popen(self._command, env=self._env)
        self._listen(until="READY=1")

    def stop(self) -> None:
        self._end("stop")
        assert self.store == {}, "the service must take back what it stored"

    def restart(self) -> None:
        self._end("restart")
        self.start()

    def _end(self, job: str) -> None:
        assert self.process is not None
        self._job.write_text(f"17 {UNIT} {job} running\n")
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        self._listen()
        self._job.write_text("")

    def kill(self) -> None:
        """The service's main process dies; those that it started see to it themselves."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self._listen()

    def _listen(self, until: str = "") -> None:
        """Take what was said so far, or all up to `until`."""
        while select.select([self._channel], [], [], 60 if until else 0)[0]:
            text, fds, _, _ = socket.recv_fds(self._channel, 4096, 4)
            said = dict(line.split("=", 1) for line in text.decode().splitlines())
            if "FDSTOREREMOVE" in said:
                os.close(self.store.pop(said["FDNAME"]))
            for fd in fds:
                if said["FDNAME"] in self.store:
                    os.close(fd)  # it holds that one already
                else:
                    self.store[said["FDNAME"]] = fd
            if until and until in text.decode():
                return
        assert not until, f"the service never said {until}"

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for fd in self.store.values():
            os.close(fd)
        self._channel.close()
