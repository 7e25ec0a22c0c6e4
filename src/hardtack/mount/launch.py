"""Mounting, unmounting, replacing, and asking after a mount's health."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardtack.cache import owner
from hardtack.cache.api import Options
from hardtack.core.errors import (
    CacheBusy,
    CacheError,
    ConfigError,
    MountError,
    MountpointError,
    MountUnhealthy,
    SourceUnreachable,
)
from hardtack.core.files import write_atomically
from hardtack.core.units import format_count
from hardtack.mount import device, fdstore, handover, keeper, mountinfo, shared
from hardtack.mount.control import RemoteCache, connect
from hardtack.mount.handover import Living, in_turn
from hardtack.source.open import within
from hardtack.source.options import SourceOptions

RUN_FILE = "mount.json"
LOG_FILE = "hardtack.log"
_STACKED = 64
_PROBE_SECONDS = 3.0
_BY_ITSELF = 2.0
"""Seconds in which a worker finds the connection ended and closes the cache."""


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


def check_mountpoint(path: str) -> None:
    """Clear stale mounts at `path`, then raise MountpointError unless it is an empty directory."""
    clear_stale(path)
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        raise MountpointError(
            f"The mountpoint {path} does not exist.", remedy=f"Make it: mkdir -p {path}"
        ) from None
    except NotADirectoryError:
        raise MountpointError(f"The mountpoint {path} is not a directory.") from None
    except PermissionError:
        raise MountpointError(
            f"The mountpoint {path} may not be read by user {os.geteuid()}."
        ) from None
    except OSError as problem:
        raise MountpointError(f"The mountpoint {path} can't be read: {problem.strerror}.") from None
    if names:
        some = ", ".join(sorted(names)[:3])
        raise MountpointError(
            f"The mountpoint {path} is not empty: it holds {format_count(len(names), 'name')} "
            f"({some}).",
            remedy="Mount at an empty directory; a mount would hide them.",
        )


def clear_stale(path: str) -> int:
    """Detach dead FUSE mounts at `path`, however many are stacked; how many there were.

    Raises MountpointError when a living one is there.
    """
    for count in range(_STACKED):
        mounts = mountinfo.mounted_at(path)
        if not mounts or not mounts[-1].type.startswith("fuse"):
            return count
        top = mounts[-1]
        answer = mountinfo.ask(path, _PROBE_SECONDS)
        if answer.errno not in (errno.ENOTCONN, errno.ECONNABORTED):
            _refuse_living(path, top, hangs=answer.content is None and answer.errno is None)
        try:
            device.unmount(path, lazy=True)
        except OSError as problem:
            raise MountpointError(
                f"A dead mount at {path} can't be cleared: {problem.strerror}.",
                remedy=f"Clear it as its owner or root: umount -l {path}",
            ) from None
    raise MountpointError(f"More than {_STACKED} dead mounts are stacked at {path}.")


def _refuse_living(path: str, top: mountinfo.Mounted, *, hangs: bool) -> None:
    if not top.ours:
        raise MountpointError(
            f"Something else is mounted at {path}: {top.type} of {top.source}.",
            remedy=f"Unmount it (umount {path}) or choose another mountpoint.",
        )
    who = mountinfo.identity(path, _PROBE_SECONDS) or {}
    if hangs or not who:
        raise Living(
            f"hardtack's mount at {path} is there and does not answer.",
            remedy=f"{_see_log(path)} hardtack unmount --lazy {path} removes it.",
        )
    raise Living(
        f"{who['source']} is mounted at {path} already, by hardtack (keeper {who['keeper']}).",
        remedy="--replace puts a new worker on it; hardtack unmount ends it.",
    )


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
    if options.foreground:
        _make(path)
    held = fdstore.taken(run, cache_directory / RUN_FILE) or handover.taken(run, options.handover)
    if held is None:
        in_turn(lambda: check_mountpoint(path), options.handover, Living)
    in_turn(lambda: _first_listing(run, options.wait), options.handover, CacheBusy)
    run_file = cache_directory / RUN_FILE
    write_atomically(run_file, json.dumps(run, indent=1).encode(), mode=0o600)
    log_path = cache_directory / LOG_FILE
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


def _make(path: str) -> None:
    """The mountpoint, where there is none yet. Raises MountpointError."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
    except OSError as problem:
        what = "a file is in its way" if isinstance(problem, FileExistsError) else problem.strerror
        raise MountpointError(
            f"The mountpoint {path} can't be made: {what} ({problem.filename}).",
            remedy="Choose another one.",
        ) from None


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


def _first_listing(run: dict[str, Any], wait: bool) -> None:
    """See to it that there is a catalogue, before anything is mounted; a failure leaves no new
    cache directory behind."""
    import importlib

    directory = Path(run["cache"])
    new = not directory.exists()
    module, _, name = run["opener"].partition(":")
    cache = getattr(importlib.import_module(module), name)(run)
    delay = 1.0
    try:
        while not cache.has_listing():
            try:
                cache.refresh()
            except SourceUnreachable as problem:
                if not wait:
                    raise SourceUnreachable(
                        f"{run['source']} was never listed and can't be reached: {problem.message}",
                        remedy=f"{problem.remedy} --wait mounts as soon as it answers.".lstrip(),
                    ) from None
                time.sleep(delay)
                delay = min(30.0, delay * 2)
    finally:
        empty = new and not cache.has_listing()
        cache.source.close()
        cache.close()
        if empty:
            owner.discard(directory)


def _refuse_inside(source_url: str, path: str, cache_directory: Path) -> None:
    """A source that holds its own mount or cache would grow at each listing."""
    if within(source_url, Path(path)):
        raise MountpointError(
            f"The mountpoint {path} lies inside its own source, {source_url}.",
            remedy="Mount at a directory outside of it.",
        )
    if within(source_url, cache_directory):
        raise ConfigError(
            f"The cache {cache_directory} lies inside its own source, {source_url}.",
            remedy="Name a directory outside of it with --cache.",
        )


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


def _log_of(path: str) -> Path | None:
    """The log of the mount at `path`, as its keeper's command line says; None where none is found.

    A mount that answers says it itself; this is for one that doesn't.
    """
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
            if not any(word.endswith(b"/mount/keeper.py") for word in words[:5]):
                continue
            run_file = Path(os.fsdecode(next(word for word in words if word.endswith(b".json"))))
            if json.loads(run_file.read_bytes())["mountpoint"] == path:
                return run_file.with_name(LOG_FILE)
        except (OSError, StopIteration, ValueError, KeyError):
            continue
    return None


def _see_log(path: str) -> str:
    """What to say of the log of the mount at `path`."""
    log = _log_of(path)
    return f"See its log: {log}." if log else f"See {LOG_FILE} in its cache directory."


def _identity(path: str) -> dict[str, Any]:
    """Who serves the hardtack mount at `path`. Raises MountpointError, MountUnhealthy."""
    _require_ours(path)
    who = mountinfo.identity(path, _PROBE_SECONDS)
    if who is None:
        raise MountUnhealthy(
            f"The mount at {path} does not answer.",
            remedy=f"{_see_log(path)} hardtack unmount --lazy {path} removes it.",
        )
    return who


def _require_ours(path: str) -> None:
    mounts = mountinfo.mounted_at(path)
    if not mounts or not mounts[-1].ours:
        found = f"{mounts[-1].type} is" if mounts else "nothing is"
        others = ", ".join(str(point) for point in mountpoints()[:8])
        raise MountpointError(
            f"{path} is not a hardtack mount: {found} mounted there.",
            remedy=f"Mounts of hardtack are at {others}."
            if others
            else f"There is none on this box; hardtack mount SOURCE {path} makes one.",
        )


def unmount(mountpoint: str | Path, *, lazy: bool = False) -> None:
    """Unmount; returns when keeper and worker have ended, so that the cache is free.

    Copies of the mount in other mount namespaces (containers, `ip netns exec`) keep the connection
    alive; it ends for them too, as when the keeper is told to end.
    Lazily: the name goes now, keeper and worker when the last open file is closed. Raises
    MountpointError naming who uses the mount.
    """
    path = mountinfo.absolute(os.fspath(mountpoint))
    _require_ours(path)
    who = mountinfo.identity(path, _PROBE_SECONDS)
    try:
        device.unmount(path, lazy=lazy)
    except OSError as problem:
        if problem.errno in (errno.EPERM, errno.EACCES):
            raise _not_yours(path, "unmounted", problem) from None
        if problem.errno != errno.EBUSY:
            raise MountpointError(f"Unmounting {path} failed: {problem.strerror}.") from None
        users = ", ".join(f"{pid} ({name})" for pid, name in mountinfo.users(path)[:8])
        raise MountpointError(
            f"{path} is in use" + (f" by {users}." if users else "."),
            remedy="End them, or unmount with --lazy: open files go on until they are closed.",
        ) from None
    if who is not None and not lazy:
        _end_keeper(int(str(who["keeper"])))


def _not_yours(path: str, what: str, why: OSError) -> MountpointError:
    return MountpointError(
        f"The mount at {path} can't be {what} by user {os.geteuid()}: {why.strerror}.",
        remedy="Run the command as the user who mounted it, or as root (sudo).",
    )


def _end_keeper(pid: int) -> None:
    """Wait until the keeper has ended by itself, or else tell it to."""
    if _ended(pid, _BY_ITSELF):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if not _ended(pid, keeper.GRACE + 5):
        raise MountUnhealthy(
            f"The keeper {pid} was told to end and did not within {keeper.GRACE + 5:.0f} s.",
            remedy=f"Its log is {LOG_FILE} in the cache directory; kill -9 {pid} ends it at once.",
        )


def _ended(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def replace(mountpoint: str | Path, seconds: float = 30.0) -> None:
    """Put a worker of this installation on a mount; open files live on.

    It goes on with the options that the mount was made with; other options need a new mount.
    Raises MountpointError, MountUnhealthy.
    """
    path = mountinfo.absolute(os.fspath(mountpoint))
    who = _identity(path)
    run_file, pid = Path(str(who["run"])), int(str(who["keeper"]))
    try:
        os.kill(pid, 0)
        run = json.loads(run_file.read_text())
        run["worker"] = [sys.executable, "-P", "-m", "hardtack.mount.worker"]
        write_atomically(run_file, json.dumps(run, indent=1).encode(), mode=0o600)
        os.kill(pid, signal.SIGHUP)
    except PermissionError as problem:
        raise _not_yours(path, "replaced", problem) from None
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        new = mountinfo.identity(path, max(0.1, deadline - time.monotonic()))
        if new is not None and new["worker"] != who["worker"]:
            return
        time.sleep(0.05)
    raise MountUnhealthy(
        f"No new worker answered at {path} within {seconds:.0f} s.", remedy=_see_log(path)
    )


def source_of(mountpoint: str | Path) -> str:
    """What the mount shows. Raises MountpointError, MountUnhealthy."""
    return str(_identity(mountinfo.absolute(os.fspath(mountpoint)))["source"])


def mountpoints() -> list[Path]:
    """Where hardtack mounts are."""
    return [Path(mounted.mountpoint) for mounted in mountinfo.all_mounts() if mounted.ours]


def sources() -> dict[Path, str]:
    """Where hardtack mounts are, and the source that each shows."""
    return {Path(m.mountpoint): m.source for m in mountinfo.all_mounts() if m.ours}


def cache_of(mountpoint: str | Path) -> Path | None:
    """The cache directory of the mount at `mountpoint`; None when it doesn't answer."""
    who = mountinfo.identity(mountinfo.absolute(os.fspath(mountpoint)), _PROBE_SECONDS)
    return Path(str(who["cache"])) if who else None


def remote(mountpoint: str | Path) -> RemoteCache:
    """The cache of the mount at `mountpoint`. Raises MountpointError, MountUnhealthy."""
    path = mountinfo.absolute(os.fspath(mountpoint))
    found = connect(Path(str(_identity(path)["cache"])))
    if found is None:
        raise MountUnhealthy(
            f"The mount at {path} answers, its control socket does not.",
            remedy=f"It is starting, or its log says why. {_see_log(path)}",
        )
    return found


def health(mountpoint: str | Path, timeout: float = 5.0) -> dict[str, Any]:
    """What the mount says of itself, when process, connection and answer are well.

    Raises MountpointError (no mount), MountUnhealthy (no answer within `timeout` seconds).
    """
    path = mountinfo.absolute(os.fspath(mountpoint))
    _require_ours(path)
    answer = mountinfo.ask(path, timeout, file=mountinfo.PROBE)
    if answer.content:
        document: dict[str, Any] = json.loads(answer.content)
        return document
    if answer.errno is not None:
        raise MountUnhealthy(
            f"The mount at {path} is dead: {os.strerror(answer.errno)}.",
            remedy="Mount again; what is stale is cleared.",
        )
    raise MountUnhealthy(f"The mount at {path} did not answer within {timeout:g} s.")
