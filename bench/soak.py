"""`python -m bench soak`: a busy mount for minutes; no wrong byte, no growing memory. Then as long
the tests' state machine, which does to a box whatever happens to one, with one seed after another.

Objects say in each block which object, version and block it is, so that a reader can tell a
wrong byte, and a mix of two versions, without knowing what the writer did meanwhile.
"""

from __future__ import annotations

import argparse
import collections
import errno
import mmap
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench import mounts
from bench.bucket import BUCKET, serving
from bench.ground import MIB, ground
from bench.link import Link

MACHINE = Path(__file__).parents[1] / "tests" / "box" / "test_machine.py"
BLOCK = 4096
OBJECTS = 40
LARGEST = 8 * MIB
READERS = 4
GROWTH = 8.0
"""MiB that the memory at the end may lie above that after the first quarter."""
EXPECTED = (errno.ENOENT, errno.ESTALE, errno.EHOSTUNREACH)
"""What a reader may meet when objects change and the link is cut."""


def block(key: str, version: int, number: int) -> bytes:
    """The content of one block."""
    return f"{key} {version} {number}\n".encode().ljust(64, b".") * (BLOCK // 64)


def check(key: str, pieces: dict[int, bytes]) -> None:
    """Raise ValueError unless the blocks (by number) are of `key` and of one version."""
    versions = set()
    for number, piece in pieces.items():
        version = int(piece[:64].split()[1]) if piece[:1] == b"o" else -1
        versions.add(version)
        if piece != block(key, version, number):
            raise ValueError(f"wrong bytes in block {number} of {key}")
    if len(versions) > 1:
        raise ValueError(f"a mix of versions {sorted(versions)} in one open file of {key}")


class Soak:
    """One run; `seed` decides what is done, the clock when."""

    def __init__(self, data: Path, at: Path, link: Link, seed: int) -> None:
        self._data, self._at, self._link = data, at, link
        self._seed = seed
        self.stop = threading.Event()
        self.done: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []

    def write(self) -> None:
        """Put, overwrite and delete objects."""
        chance = random.Random(self._seed)
        version = 0
        while not self.stop.wait(0.5):
            version += 1
            key = f"object-{chance.randrange(OBJECTS)}"
            if chance.random() < 0.1:
                (self._data / BUCKET / key).unlink(missing_ok=True)
                self.done["deleted"] += 1
                continue
            put(self._data, key, version, chance.randrange(1, LARGEST // BLOCK))
            self.done["put"] += 1

    def cut(self) -> None:
        """Pull the cable for 3 s now and then."""
        while not self.stop.wait(20):
            self._link.cut()
            self.stop.wait(3)
            self._link.mend()
            self.done["link cut"] += 1

    def read(self, number: int) -> None:
        """Read objects until the end, in one of three ways each."""
        chance = random.Random(self._seed + 1 + number)
        ways: list[Callable[[int, random.Random], dict[int, bytes]]] = [_whole, _pieces, _mapped]
        while not self.stop.is_set():
            key, way = f"object-{chance.randrange(OBJECTS)}", chance.choice(ways)
            try:
                fd = os.open(self._at / key, os.O_RDONLY)
                try:
                    check(key, way(fd, chance))
                finally:
                    os.close(fd)
                self.done[f"read {way.__name__.strip('_')}"] += 1
            except OSError as error:
                name = errno.errorcode.get(error.errno or 0, "?")
                self.done[name] += 1
                if error.errno not in EXPECTED:
                    self.wrong.append(f"{key}: {error}")
                time.sleep(0.02)
            except ValueError as error:
                self.wrong.append(str(error))


def _whole(fd: int, _: random.Random) -> dict[int, bytes]:
    size = os.fstat(fd).st_size
    return {n: os.pread(fd, BLOCK, n * BLOCK) for n in range(size // BLOCK)}


def _pieces(fd: int, chance: random.Random) -> dict[int, bytes]:
    blocks = os.fstat(fd).st_size // BLOCK
    places = [chance.randrange(blocks) for _ in range(20)]
    return {n: os.pread(fd, BLOCK, n * BLOCK) for n in places}


def _mapped(fd: int, chance: random.Random) -> dict[int, bytes]:
    blocks = os.fstat(fd).st_size // BLOCK
    os.pread(fd, BLOCK, (blocks - 1) * BLOCK)
    complete = os.getxattr(fd, "user.hardtack.state") == b"complete"
    if not complete:  # a fault on a hole that can't be fetched is SIGBUS, for any file system
        return _pieces(fd, chance)
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as view:
        return {n: view[n * BLOCK : (n + 1) * BLOCK] for n in range(0, blocks, 7)}


def put(data: Path, key: str, version: int, blocks: int) -> None:
    """Store a version of `key`, at once."""
    temporary = data.with_name("soak.tmp")
    temporary.write_bytes(b"".join(block(key, version, n) for n in range(blocks)))
    temporary.replace(data / BUCKET / key)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", file=sys.stderr)
    options = ("--refresh-interval", "2s", "--cache-size", "96MiB", "--progress-deadline", "2s")
    who = mounts.Hardtack(options=options)
    with ground(quick=True) as made:
        (made.data / BUCKET).mkdir(parents=True)
        for number in range(OBJECTS):
            put(made.data, f"object-{number}", 0, 100 + 50 * number)
        with serving(made.data, made.link) as endpoint:
            with mounts.mounted(who, endpoint, made.work) as at:
                soak = Soak(made.data, at, made.link, arguments.seed)
                memory = _run(soak, at, arguments.minutes * 60)
    return _report(soak, memory) or _machine(arguments.seed, arguments.minutes * 60)


def _machine(seed: int, seconds: float) -> int:
    """Exit code of the first run that fails; 0 when none does."""
    end, runs = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        number = seed + runs
        again = {"HARDTACK_MACHINE_SEED": str(number), "HARDTACK_MACHINE_STEPS": "50"}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(MACHINE)]
        done = subprocess.run(command, env=os.environ | again, check=False)
        if done.returncode:
            return done.returncode
        runs += 1
    print(f"state machine: {runs} runs, seeds {seed} to {seed + runs - 1}")
    return 0


def _run(soak: Soak, at: Path, seconds: float) -> list[float]:
    """Memory in MiB, sampled over the run."""
    threads = [threading.Thread(target=soak.read, args=(n,)) for n in range(READERS)]
    threads += [threading.Thread(target=soak.write), threading.Thread(target=soak.cut)]
    for thread in threads:
        thread.start()
    memory: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end and not soak.wrong:
        time.sleep(min(5.0, seconds / 40))
        memory.append(mounts.memory(at))
    soak.stop.set()
    for thread in threads:
        thread.join()
    return memory


def _report(soak: Soak, memory: list[float]) -> int:
    """Print what was done; the exit code."""
    quarter = max(1, len(memory) // 4)
    settled = statistics.median(memory[quarter : 2 * quarter] or memory)
    growth = statistics.median(memory[-quarter:]) - settled
    print(", ".join(f"{what}: {count}" for what, count in sorted(soak.done.items())))
    print(f"memory (PSS): {settled:.1f} MiB in the second quarter, {growth:+.1f} MiB in the last; "
          f"at most {max(memory):.1f}")  # fmt: skip
    for text in soak.wrong[:10]:
        print(f"WRONG: {text}")
    return 1 if soak.wrong or growth > GROWTH else 0
