"""Our own image, built from the published Dockerfile over a Debian that is made here."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path

from hardtack.mount.mountinfo import all_mounts

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / ".drill"
TAG, NEXT = "1.0", "1.1"  # its version, and that of an upgrade
_BASE = "localhost/debian"


def archive() -> Path:
    """The image as an OCI archive; built when Dockerfile, lock or code are newer than the last."""
    made = KEPT / f"hardtack-{_stamp()}.tar"
    if not made.exists():
        KEPT.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="hardtack-image-") as scratch:
            try:
                _build(Path(scratch), made.with_suffix(".part"))
            finally:
                unmount(scratch)
        for old in KEPT.glob("hardtack-*.tar"):
            old.unlink()
        made.with_suffix(".part").replace(made)
    return made


def unmount(directory: str) -> None:
    """What buildah leaves mounted where it kept its layers."""
    for mounted in reversed(all_mounts()):
        if mounted.mountpoint.startswith(f"{directory}/"):
            subprocess.run(["umount", "--lazy", mounted.mountpoint], check=True)


def _stamp() -> str:
    files = [ROOT / name for name in ("Dockerfile", "pyproject.toml", "tools/sbom.py")]
    files += sorted((ROOT / "requirements").glob("*.txt"))
    files += sorted(f for f in (ROOT / "charts").rglob("*") if f.is_file())
    files += sorted(f for f in (ROOT / "src").rglob("*") if f.is_file() and f.suffix != ".pyc")
    return hashlib.sha256(b"\0".join(f.read_bytes() for f in files)).hexdigest()[:16]


def debian() -> Path:
    """Debian 12, as small as apt: what debian:bookworm-slim is."""
    made = KEPT / "debian.tar"
    if not made.exists():
        part = made.with_suffix(".part")
        _said("mmdebstrap", "--quiet", "--variant=minbase", "--format=tar",
              "--dpkgopt=path-exclude=/usr/share/locale/*",
              "--dpkgopt=path-exclude=/usr/share/man/*", "bookworm", str(part))  # fmt: skip
        part.replace(made)
    return made


def _build(scratch: Path, target: Path) -> None:
    buildah = ["buildah", "--root", f"{scratch}/store", "--runroot", f"{scratch}/run"]

    def run(*command: str) -> str:
        return _said(*buildah, *command)

    container = run("from", "scratch")
    run("add", "--quiet", container, str(debian()), "/")
    run("commit", "--quiet", container, _BASE)
    run("rm", container)
    trusted = []
    if certificates := os.environ.get("PIP_CERT"):
        trusted = ["--volume", f"{certificates}:/run/ca.crt:ro", "--build-arg",
                   "PIP_CERT=/run/ca.crt"]  # fmt: skip
    run("build", "--quiet", "--isolation", "chroot", "--pull-never", "--build-arg",
        f"BASE={_BASE}", *trusted, "--tag", "localhost/hardtack", ".")  # fmt: skip
    run("push", "--quiet", "localhost/hardtack", f"oci-archive:{target}")


def _said(*command: str) -> str:
    """The output of a command, which must end well; with us it ends, and what it has started."""
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as running:  # fmt: skip
        try:
            output, log = running.communicate()
        except BaseException:
            os.killpg(running.pid, signal.SIGTERM)
            running.communicate()
            raise
    if running.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{output}{log}")
    return output.strip()
