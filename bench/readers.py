"""Readers as processes of their own: `python -m bench.readers HOW PATH …` prints seconds."""

from __future__ import annotations

import json
import mmap
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

BLOCK = 1 << 20
PAGE = 4096
SLICE = 64 << 10


def sequential(path: str) -> None:
    """Read from start to end, 1 MiB at a time."""
    buffer = bytearray(BLOCK)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def mapped(path: str) -> None:
    """Map the file and copy it out, 1 MiB at a time, as loaders of weights do."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        target = memoryview(bytearray(BLOCK))
        with memoryview(view) as source:
            for start in range(0, len(source), BLOCK):
                part = source[start : start + BLOCK]
                target[: len(part)] = part
                part.release()


def scattered(path: str) -> None:
    """20,000 reads of 4 KiB at random places."""
    _scatter(path, 20_000, PAGE)


def hundredth(path: str) -> None:
    """1 % of the file in pieces of 64 KiB at random places."""
    _scatter(path, max(1, os.stat(path).st_size // 100 // SLICE), SLICE)


def hundredth_mapped(path: str) -> None:
    """As `hundredth`, through a mapping."""
    size = os.stat(path).st_size
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        view.madvise(mmap.MADV_RANDOM)
        for start in places(size, max(1, size // 100 // SLICE), SLICE):
            view[start : start + SLICE]


def _scatter(path: str, count: int, length: int) -> None:
    buffer = bytearray(length)
    fd = os.open(path, os.O_RDONLY)
    for start in places(os.fstat(fd).st_size, count, length):
        os.preadv(fd, [buffer], start)
    os.close(fd)


def places(size: int, count: int, length: int) -> list[int]:
    """`count` aligned offsets at which `length` bytes of a file of `size` lie; always the same."""
    chance = random.Random(7)
    return [chance.randrange(max(1, size // length)) * length for _ in range(count)]


WAYS: dict[str, Callable[[str], None]] = {
    f.__name__: f for f in (sequential, mapped, scattered, hundredth, hundredth_mapped)
}


def seconds(way: Callable[[str], None], *paths: Path) -> float:
    """Seconds until a reader of its own process for each path is done, started together.

    The clock starts when all processes are up.
    """
    children = [start(way, path) for path in paths]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    spans = []
    for child in children:
        out, _ = child.communicate(timeout=600)
        if child.returncode:
            raise SystemExit(f"a reader of {paths[0]} failed with {child.returncode}")
        spans.append(json.loads(out))
    return float(max(end for _, end in spans) - min(begin for begin, _ in spans))


def start(way: Callable[[str], None], path: Path) -> subprocess.Popen[str]:
    """A reader that says `ready` and waits for a line on its stdin."""
    command: Sequence[str] = [sys.executable, "-m", "bench.readers", way.__name__, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main() -> None:
    way, path = WAYS[sys.argv[1]], sys.argv[2]
    print("ready", flush=True)
    sys.stdin.readline()
    begin = time.monotonic()
    way(path)
    print(json.dumps((begin, time.monotonic())))


if __name__ == "__main__":
    main()
