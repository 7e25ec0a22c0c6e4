"""The command `hardtack`, run as a person runs it: a process of its own."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.s3 import S3Server

HARDTACK = [sys.executable, "-m", "hardtack"]


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would change what hardtack does."""
    left_out = ("AWS_", "AZURE_", "GOOGLE_", "HARDTACK_", "S3_", "MOUNT_PATH", "CACHE_PATH",
                "PYTHONUNBUFFERED")  # fmt: skip
    kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    return kept | dict(extra or {})


def run(*arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
        ) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """The finished process; its exit code is for the caller to judge."""
    return subprocess.run(
        [*HARDTACK, *map(str, arguments)],
        env=clean_environment(env), cwd=cwd, capture_output=True, text=True, check=False,
        timeout=280,
    )  # fmt: skip


def loaded(*modules: str, by: Sequence[str], code: int = 0, cwd: Path | None = None) -> list[str]:
    """Those of `modules` that the command `by`, which ends with `code`, loads; each must exist."""
    for module in modules:
        assert importlib.util.find_spec(module) is not None, module
    script = (
        "import atexit, sys\nfrom hardtack.__main__ import main\n"
        f"asked = {set(modules)!r}\n"
        "atexit.register(lambda: print(sorted(asked & set(sys.modules)), file=sys.stderr))\n"
        f"sys.argv[1:] = {list(by)!r}\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=clean_environment(), cwd=cwd, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    found: list[str] = ast.literal_eval(done.stderr.splitlines()[-1])
    return found


class Box:
    """A box that mounts a bucket of `server`: its mountpoint, its cache, its commands."""

    def __init__(self, directory: Path, server: S3Server, source: str = "s3://weights") -> None:
        self.server = server
        self.source = source
        self.cache = directory / "cache"
        self.point = directory / "mnt"
        self.point.mkdir()

    @property
    def env(self) -> dict[str, str]:
        return {
            **self.server.env,
            "HARDTACK_CACHE": str(self.cache),
            "HARDTACK_KEEP_FREE": "0",
            "HARDTACK_REFRESH_INTERVAL": "500ms",
        }

    def run(self, *arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
        return run(*arguments, env=self.env | extra)

    def ok(self, *arguments: str | Path, **extra: str) -> str:
        """Standard output of a command that must succeed."""
        done = self.run(*arguments, **extra)
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self.ok(*arguments, "--json"))

    @contextmanager
    def mounted(self, *options: str, **extra: str) -> Iterator[Path]:
        """The bucket, mounted; unmounted at the end."""
        self.ok("mount", self.source, self.point, *options, **extra)
        try:
            yield self.point
        finally:
            self.ok("unmount", self.point)


def forget_caches() -> None:
    """Let the kernel forget what it has read, as a reboot would."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
