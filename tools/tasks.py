"""The tasks of a checkout, behind `./run`. Standard library only: nothing is set up yet."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import environment
import system
from environment import PYTHON, ROOT

DRILL = "tests/drill/test_drill.py"
WORKERS = "4"
"""Of tests, on the two processors of CI: tests wait for half of their time."""

# Tests start a thousand processes: with this set each would compile the checkout's code again.
UNCOMPILED = "PYTHONDONTWRITEBYTECODE"


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != UNCOMPILED}
    return inherited | {"PATH": f"{PYTHON.parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


def call(*command: str | Path, **extra: str) -> None:
    """Run a command in the checkout; end with its exit code if it fails."""
    code = subprocess.run(
        [str(c) for c in command], cwd=ROOT, env=_environment() | extra, check=False
    ).returncode
    if code:
        sys.exit(code)


@contextmanager
def beside(*command: str | Path) -> Iterator[None]:
    """Run a command in the checkout meanwhile; end with its exit code if it fails."""
    with subprocess.Popen([str(c) for c in command], cwd=ROOT, env=_environment()) as running:
        try:
            yield
        except BaseException:
            running.terminate()
            raise
        if running.wait():
            sys.exit(running.returncode)


def become(*command: str | Path) -> None:
    """Run a command in the checkout in this process's place: signals reach it."""
    os.chdir(ROOT)
    os.execve(command[0], [str(c) for c in command], _environment())


def set_up(parts: dict[str, str]) -> None:
    """The `.venv`, and `parts` of the system meanwhile; ends us where either fails."""
    with ThreadPoolExecutor(1) as beside_us:
        installed = beside_us.submit(system.install, parts)
        environment.ensure("dev")
        installed.result()


def setup(_: list[str]) -> None:
    """Set up everything that the other tasks need."""
    set_up(system.TEST_PARTS)


def demo(arguments: list[str]) -> None:
    """The main job: a bucket mounted, the network cut, the same answers."""
    environment.ensure("demo")
    call(PYTHON, "-m", "hardtack", "demo", *arguments)


def test(arguments: list[str]) -> None:
    """All tests, or those that pytest's arguments name."""
    setup([])
    if arguments:
        call(PYTHON, "-m", "pytest", *arguments)
        return
    with drill_meanwhile():
        # In the order of their names, files of many short tests don't come first, as they would.
        call(PYTHON, "-m", "pytest", "-q", "-n", WORKERS, "--dist", "loadfile",
             "--no-loadscope-reorder", f"--ignore={DRILL}")  # fmt: skip


@contextmanager
def drill_meanwhile() -> Iterator[None]:
    """The drill's tests run beside the others, in the time that both wait; what they say is told
    at the end. They are waited for also where others fail: a drill cleans up after itself."""
    command = [str(PYTHON), "-m", "pytest", "-q", DRILL]
    with tempfile.TemporaryFile() as said, subprocess.Popen(
        command, cwd=ROOT, env=_environment(), stdout=said, stderr=subprocess.STDOUT
    ) as drill:  # fmt: skip
        try:
            yield
        finally:
            code = drill.wait()
            said.seek(0)
            shutil.copyfileobj(said, sys.stdout.buffer)
            sys.stdout.flush()
    if code:
        sys.exit(code)


def check(_: list[str]) -> None:
    """Static checks: format, lint, types, imports, generated docs, the locks."""
    environment.ensure("dev")
    with beside(PYTHON, "-m", "mypy"):  # takes as long as all others
        call(PYTHON, "-m", "ruff", "format", "--check", "--quiet", ".")
        call(PYTHON, "-m", "ruff", "check", "--quiet", ".")
        call(PYTHON.parent / "lint-imports", "--no-logo")
        call(PYTHON, "tools/docs.py", "--check")
        call(PYTHON, "tools/lock.py", "--check")


def bench(arguments: list[str]) -> None:
    """Measured figures: `./run bench [NAME]`; `./run bench -h` says which there are."""
    set_up(system.TEST_PARTS | system.BENCH_PARTS)
    call(PYTHON, "-m", "bench", *arguments)


def drill(arguments: list[str]) -> None:
    """A box in namespaces: built, broken, cut off, brought up again (root; some minutes)."""
    set_up(system.TEST_PARTS)
    become(PYTHON, "-m", "drill", *arguments)  # who ends this ends the drill, in order


def lock(_: list[str]) -> None:
    """Write the lock files anew from pyproject.toml."""
    environment.ensure("dev")
    call(PYTHON, "tools/lock.py")


def docs(_: list[str]) -> None:
    """Write the generated parts of the docs anew."""
    environment.ensure("dev")
    call(PYTHON, "tools/docs.py")


TASKS: dict[str, Callable[[list[str]], None]] = {
    task.__name__: task for task in (demo, drill, test, check, bench, setup, lock, docs)
}


def main() -> None:
    name, *arguments = sys.argv[1:] or ["--help"]
    if name not in TASKS:
        lines = "\n".join(f"  ./run {task:6} {body.__doc__}" for task, body in TASKS.items())
        print(lines, file=sys.stdout if name in ("-h", "--help") else sys.stderr)
        sys.exit(0 if name in ("-h", "--help") else 2)
    TASKS[name](arguments)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("run: interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        sys.exit(f"run: {error.filename or 'this machine'}: {error.strerror}.")
