"""pip and uv, told as it happens, and what to do where it fails. Standard library only."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

_GOT = re.compile(
    r"\s*(?:Downloading|Using cached) (\S+?)-(\d\S*?)(?:-\S+\.whl|\.tar\.gz) \((.+)\)"
)
_UVS = re.compile(r"Downloading (\S+ \(.+\))")  # the large ones, many at a time
_LARGE = re.compile(r"MB|GB")

CAUSES = (
    (
        r"No space left on device|\[Errno 28\]",
        "the disk is full.",
        "Make room (.venv takes 250 MB for the demo, 1.5 GB for the tests; pip unpacks in TMPDIR "
        "or /tmp), and run it again.",
    ),
    (
        r"\[Errno 13\]|\[Errno 30\]|Permission denied|Read-only file system",
        "a file can't be written.",
        "Run it as the owner of the checkout, on a disk that can be written.",
    ),
    (
        r"DO NOT MATCH THE HASHES",
        "a package is not the one that the lock file names.",
        "Something between here and the package index changes files: try without it (proxy, "
        "mirror, pip's cache: pip cache purge).",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "the package index's certificate can't be verified.",
        "Where a proxy puts its own in its place: PIP_CERT=/path/to/its/ca.pem; and is the clock "
        "right?",
    ),
    (
        r"command '\S*(?:gcc|cc|g\+\+|clang|cargo|rustc)\S*' failed|error: Microsoft Visual|"
        r"No such file or directory: '(?:gcc|cc|cargo|rustc)'|Failed building wheel|"
        r"metadata-generation-failed|Failed to build",
        "a package would have to be compiled: it has no ready build for this Python and machine.",
        "CPython 3.11 to 3.14 on Linux, x86-64 or arm64 with glibc, needs no compiler: "
        "PYTHON=/path/to/python3.12 ./run …",
    ),
    (
        r"Retrying \(|Max retries|ConnectionError|NewConnectionError|Could not fetch URL|"
        r"ReadTimeoutError|ProxyError|Name or service not known|name resolution",
        "the package index can't be reached.",
        "Setting up takes a network, once. Behind a proxy: HTTPS_PROXY=http://proxy:port; another "
        "index: PIP_INDEX_URL. Then run it again: what has come is kept.",
    ),
    (
        r"No matching distribution|Could not find a version",
        "a locked package can't be had from this package index for this Python and machine.",
        "CPython 3.11 to 3.14 on Linux, x86-64 or arm64; PYTHON names another; PIP_INDEX_URL an "
        "index that has it.",
    ),
)
"""What pip's output holds, what it means, what helps; the first that is found."""


def explained(output: str) -> str:
    """What a failed step's output means and what to do, with its last lines."""
    last = [line for line in output.splitlines() if line.strip()][-6:]
    shown = "\n".join(f"    {line[:300]}" for line in last)
    for pattern, meaning, remedy in CAUSES:
        if re.search(pattern, output):
            return f"run: {meaning}\n  {remedy}\n{shown}"
    return f"run: setting up failed:\n{shown}"


def say(line: str) -> None:
    sys.stderr.write(f"run: {line}\n")  # at once: another thread may say something


def told(command: list[str], packages: int = 0) -> None:
    """Run a step of setting up, and tell of it; ends us, with the remedy, if it fails."""
    failed = run(command, packages)
    if failed is not None:
        sys.exit(explained(failed))


def run(
    command: list[str], packages: int = 0, environment: dict[str, str] | None = None
) -> str | None:
    """Run a step of setting up: of `packages`, each that comes is told. Its output if it fails."""
    lines: list[str] = []
    on_terminal = sys.stderr.isatty()
    count = 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env=environment,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            lines.append(line)
            if "Retrying (" in line:
                _show("  no answer from the package index; trying again", on_terminal, lasting=True)
            if line.startswith(("Installing collected packages", "Prepared ")) and packages:
                _show(f"  installing {'them' if packages > 1 else 'it'}", on_terminal, lasting=True)
            if coming := _UVS.match(line):
                _show(f"  {coming[1]}", on_terminal, lasting=True)
            got = _GOT.match(line)
            if got:
                count += 1
                what = f"  {count} of {packages}: {got[1]} {got[2]} ({got[3]})"
                _show(what, on_terminal, lasting=bool(_LARGE.search(got[3])))
    _show("", on_terminal, lasting=False)
    return "".join(lines) if process.returncode else None


def _show(line: str, on_terminal: bool, *, lasting: bool) -> None:
    """On a terminal what is small passes by in one line; elsewhere only what is large is told."""
    if on_terminal:
        end = "\n" if lasting else ""
        print(f"\r\x1b[2K{'run: ' if line else ''}{line}", file=sys.stderr, end=end, flush=True)
    elif lasting:
        say(line)


def wanted(lock: Path) -> int:
    """How many packages a lock file holds, at most."""
    return sum("==" in line for line in lock.read_text().splitlines())
