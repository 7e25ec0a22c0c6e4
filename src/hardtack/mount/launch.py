"""Mounting: a keeper is started, and later given a new worker."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardtack.cache.api import Options
from hardtack.core.errors import (
    CacheBusy,
    CacheError,
    ConfigError,
    MountError,
    MountpointError,
    MountUnhealthy,
)
from hardtack.core.files import write_atomically
from hardtack.mount import device, fdstore, handover, keeper, mountinfo, place, running, shared
from hardtack.mount.first_listing import first_listing
from hardtack.mount.handover import Living, in_turn
from hardtack.source.open import within
from hardtack.source.options import SourceOptions

RUN_FILE = "mount.json"
_ELSEWHERE = "Name a directory outside of it with --cache."


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How a mount looks and runs. `wait` for a first listing, for ever if need be; `ready`:
    seconds within which the mount must answer; `metrics_address`: `host:port` or empty;
    `opener`: the `module:function` that opens the cache in the worker; `hold`: the socket of a
    hold, or empty; `handover`: seconds in which a predecessor may end."""

    allow_other: bool = True
    uid: int = 0
    gid: int = 0
    file_mode: int = 0o444
    dir_mode: int = 0o555
    metrics_address: str | None = None
    foreground: bool = False
    wait: bool = False
    ready: float = 15.0
    log_level: str = "info"
    log_format: str = "text"
    opener: str = "hardtack.mount.worker:open_cache"
    hold: str = ""
    handover: float = 0.0


def mount(
    source_url: str,
    mountpoint: str | Path,
    source_options: SourceOptions,
    cache_directory: Path,
    cache_options: Options,
    options: MountOptions,
) -> int:
    """Mount `source_url`; the keeper's pid once the mount answers.

    In the foreground the mountpoint is made where there is none, and this process becomes the
    keeper and doesn't come back. Raises FuseMissing,
    MountpointError, SourceUnreachable (no listing yet and none to be had), CacheError's kinds.
    """
    path = mountinfo.absolute(os.fspath(mountpoint))
    device.check()
    cache_directory = cache_directory.absolute()
    _refuse_inside(source_url, path, cache_directory)
    run = _run(source_url, path, source_options, cache_directory, cache_options, options)
    with place.ready_made(path) if options.foreground else contextlib.nullcontext():
        held = fdstore.taken(run, cache_directory / RUN_FILE) or handover.taken(
            run, options.handover
        )
        if held is None:
            in_turn(lambda: place.check(path), options.handover, Living)
        in_turn(lambda: first_listing(run, options.wait), options.handover, CacheBusy)
    run_file = cache_directory / RUN_FILE
    write_atomically(run_file, json.dumps(run, indent=1).encode(), mode=0o600)
    log_path = cache_directory / running.LOG_FILE
    with contextlib.ExitStack() as ours:
        output = None
        if not options.foreground:  # before the mount: what can fail, fails here
            output = _open_log(log_path)
            ours.callback(os.close, output)
        if held is None:
            memory = shared.create()
            ours.callback(os.close, memory)
            fuse = device.mount(path, source_url, allow_other=options.allow_other)
        else:
            fuse, memory = held
            ours.callback(os.close, memory)
        ours.callback(os.close, fuse)
        try:
            process = _start(run_file, output, fuse, memory)
        except BaseException:
            if held is None:
                with contextlib.suppress(OSError):
                    device.unmount(path, lazy=True)
            raise
    try:
        _await_answer(path, process, log_path, options.ready)
    except (KeyboardInterrupt, SystemExit):  # nothing that nobody asked for any more stays behind
        _undo(path, process, ours=held is None)
        raise
    return process.pid


def _undo(path: str, process: subprocess.Popen[bytes], *, ours: bool) -> None:
    """End the keeper, and with it the mount; one that had not begun to listen leaves it to us."""
    process.terminate()
    process.wait(keeper.GRACE + 5)
    if ours and any(mounted.ours for mounted in mountinfo.mounted_at(path)):
        with contextlib.suppress(OSError):
            device.unmount(path, lazy=True)


def _run(
    source_url: str,
    path: str,
    source_options: SourceOptions,
    cache_directory: Path,
    cache_options: Options,
    options: MountOptions,
) -> dict[str, Any]:
    return {
        "worker": [sys.executable, "-P", "-m", "hardtack.mount.worker"],
        "mountpoint": path,
        "source": source_url,
        "source_options": dataclasses.asdict(source_options),
        "cache": str(cache_directory),
        "cache_options": dataclasses.asdict(cache_options),
        "look": {
            "uid": options.uid,
            "gid": options.gid,
            "file_mode": options.file_mode,
            "dir_mode": options.dir_mode,
        },
        "metrics": options.metrics_address or "",
        "log_level": options.log_level,
        "log_format": options.log_format,
        "opener": options.opener,
        "hold": options.hold,
    }


def _refuse_inside(source_url: str, path: str, cache_directory: Path) -> None:
    """A source that holds its own mount or cache would grow at each listing; a mount over its own
    cache would wait for itself, and who looks at it with it."""
    if within(source_url, Path(path)):
        raise MountpointError(
            f"The mountpoint {path} lies inside its own source, {source_url}.",
            remedy="Mount at a directory outside of it.",
        )
    if within(source_url, cache_directory):
        raise ConfigError(
            f"The cache {cache_directory} lies inside its own source, {source_url}.",
            remedy=_ELSEWHERE,
        )
    if _covers(path, cache_directory):
        raise ConfigError(
            f"The cache {cache_directory} lies inside the mountpoint {path}, which would hide it.",
            remedy=_ELSEWHERE,
        )


def _covers(path: str, directory: Path) -> bool:
    """As it is written first: what is mounted at `path` now may hang whoever looks there."""
    ways = (Path(each(os.fspath(directory))) for each in (os.path.abspath, mountinfo.absolute))
    return any(way.is_relative_to(path) for way in ways)


def _open_log(log: Path) -> int:
    """Raises CacheError."""
    try:
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise CacheError(
            f"The log {log} can't be written: {problem.strerror}.",
            remedy="Remove what is there, or name another --cache.",
        ) from None


def _start(run_file: Path, output: int | None, fuse: int, memory: int) -> subprocess.Popen[bytes]:
    """The keeper, logging to `output`; without one this process becomes it."""
    command = [sys.executable, "-I", "-S", keeper.__file__, str(run_file), str(fuse), str(memory)]
    for fd in (fuse, memory):
        os.set_inheritable(fd, True)
    if output is None:
        os.execv(command[0], command)
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=(fuse, memory),
    )


def _await_answer(path: str, process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Return when the mount answers; undo it and raise MountError when it doesn't in time."""
    start = log.stat().st_size
    began = time.monotonic()
    deadline = began + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if mountinfo.identity(path, max(0.1, deadline - time.monotonic())):
            process.returncode = 0  # it lives on without us: nobody is to wait for it
            return
        time.sleep(0.05)
    ended, waited = process.poll(), time.monotonic() - began
    process.terminate()
    process.wait(keeper.GRACE + 5)
    with log.open(errors="replace") as file:
        file.seek(start)
        last = file.read()[-2000:].strip().splitlines()[-3:]
    what = (
        f"did not answer within {seconds:.0f} s (its file {mountinfo.PROBE} could not be read)"
        if ended is None
        else f"ended with code {ended} after {waited:.1f} s, before it answered"
    )
    lines = "".join(f"\n    {line}" for line in last) or " nothing"
    raise MountError(
        f"The mount at {path} {what}, and was removed.",
        remedy=f"Its log is {log}; it ends with:{lines}",
    )


def replace(mountpoint: str | Path, seconds: float = 30.0) -> None:
    """Put a worker of this installation on a mount; open files live on.

    It goes on with the options that the mount was made with; other options need a new mount.
    Raises MountpointError, MountUnhealthy.
    """
    path = mountinfo.absolute(os.fspath(mountpoint))
    who = running.identity(path)
    run_file, pid = Path(str(who["run"])), int(str(who["keeper"]))
    try:
        os.kill(pid, 0)
        run = json.loads(run_file.read_text())
        worker = [sys.executable, "-P", "-m", "hardtack.mount.worker"]
        if run["worker"] != worker:  # else nothing is written, which a full disk wouldn't take
            run["worker"] = worker
            write_atomically(run_file, json.dumps(run, indent=1).encode(), mode=0o600)
        os.kill(pid, signal.SIGHUP)
    except PermissionError as problem:
        raise running.not_yours(path, "replaced", problem) from None
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        new = mountinfo.identity(path, max(0.1, deadline - time.monotonic()))
        if new is not None and new["worker"] != who["worker"]:
            return
        time.sleep(0.05)
    raise MountUnhealthy(
        f"No new worker answered at {path} within {seconds:.0f} s.", remedy=running.see_log(path)
    )
