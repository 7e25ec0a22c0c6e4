"""A clock that starts in the past goes on from the time that was noted last."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from hardtack.deploy.facts import read
from hardtack.deploy.facts.read import KEPT, LATE
from hardtack.deploy.prepare.step import Change, Step, Target, gone

_OFTEN = 3600.0


def plan(target: Target) -> Iterable[Change]:
    clock = read.clock(target.root, target.now())
    kept = clock.kept or 0.0
    if kept - clock.now > LATE:
        day = datetime.fromtimestamp(kept, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        yield Change(f"set the clock to {day}, noted in {clock.keeper}",
                     lambda: target.set_clock(kept))  # fmt: skip
    path = target.path(KEPT)
    time = max(kept, clock.now)
    if not path.exists() or time - path.stat().st_mtime > _OFTEN:
        yield Change(f"note the time in {path}", lambda: note(target.root, time))


def note(root: Path, time: float) -> bool:
    """Note `time` in the file below `root`; False where a later one is noted: a clock that fell
    back doesn't make us forget what time it was at least."""
    path = root / KEPT
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        new = os.fstat(fd).st_size == 0
        if not new and os.fstat(fd).st_mtime > time:
            return False
        os.ftruncate(fd, 0)
        os.write(fd, datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S\n").encode())
        os.utime(fd, (time, time))
        os.fsync(fd)
    except OSError as error:
        error.filename = str(path)  # a write doesn't know what it writes
        raise
    finally:
        os.close(fd)
    return True


def undo(target: Target) -> Iterable[Change]:
    yield from gone(target, [KEPT])


STEP = Step("clock", "the last known time restored", plan, undo)
