"""/dev/fuse, mount(2) and umount2(2), fusermount3, and the connection's ioctls."""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import socket
import stat
import struct
import subprocess
from pathlib import Path

from hardtack.core.errors import FuseMissing, MountError, MountpointError
from hardtack.mount.wire import MAX_READ

DEVICE = "/dev/fuse"
TYPE = "fuse.hardtack"
_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_BACKING_OPEN = 1 << 30 | 16 << 16 | 229 << 8 | 1
_BACKING_CLOSE = 1 << 30 | 4 << 16 | 229 << 8 | 2
_BACKING_MAP = struct.Struct("=iIQ")


def check() -> None:
    """Raise FuseMissing, with the remedy, where no mount can be made."""
    if not os.path.exists(DEVICE):
        raise FuseMissing(
            f"There is no {DEVICE}.",
            remedy="Load the kernel module (modprobe fuse); in a container pass the device "
            "(--device /dev/fuse, or a privileged pod).",
        )
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        raise FuseMissing(
            f"User {os.geteuid()} needs fusermount3 to mount, and it is not installed.",
            remedy="Install it (Debian: apt install fuse3), or mount as root.",
        )
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise FuseMissing(
            f"{DEVICE} may not be opened by user {os.geteuid()}.",
            remedy=f"Allow it (chmod 666 {DEVICE}), or mount as root.",
        )


def mount(mountpoint: str, source: str, *, allow_other: bool) -> int:
    """Mount read-only at `mountpoint`; the connection's descriptor. Raises MountError's kinds."""
    if os.geteuid() == 0:
        return _mount_as_root(mountpoint, source, allow_other=allow_other)
    return _mount_by_helper(mountpoint, source, allow_other=allow_other)


def _mount_as_root(mountpoint: str, source: str, *, allow_other: bool) -> int:
    fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    data = f"fd={fd},rootmode={stat.S_IFDIR:o},user_id=0,group_id=0,default_permissions"
    data += f",max_read={MAX_READ}" + (",allow_other" if allow_other else "")
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV
    arguments = (source.encode(), os.fsencode(mountpoint), TYPE.encode(), flags, data.encode())
    if libc.mount(*arguments) == 0:
        return fd
    number = ctypes.get_errno()
    os.close(fd)
    if number in (errno.EPERM, errno.EACCES):
        raise FuseMissing(
            f"The kernel refuses a mount at {mountpoint}: {os.strerror(number)}.",
            remedy="The container needs CAP_SYS_ADMIN (privileged: true).",
        )
    if number == errno.ENODEV:
        raise FuseMissing("The kernel has no FUSE.", remedy="Load it: modprobe fuse.")
    raise MountpointError(f"Mounting at {mountpoint} failed: {os.strerror(number)}.")


def _mount_by_helper(mountpoint: str, source: str, *, allow_other: bool) -> int:
    """fusermount3 mounts (setuid root) and sends the descriptor through a socket."""
    escaped = source.replace("\\", "\\\\").replace(",", "\\,")
    options = f"ro,nosuid,nodev,default_permissions,max_read={MAX_READ}"
    options += f",fsname={escaped},subtype=hardtack" + (",allow_other" if allow_other else "")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        helper = subprocess.run(
            ["fusermount3", "-o", options, "--", mountpoint],
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            check=False,
        )
        if helper.returncode != 0:
            raise FuseMissing(
                f"fusermount3 refuses a mount at {mountpoint}: {helper.stderr.strip()}.",
                remedy="The mountpoint must belong to you; --allow-other needs user_allow_other "
                "in /etc/fuse.conf.",
            )
        fds = array.array("i")
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(fds.itemsize))
        for _level, _type, content in ancillary:
            fds.frombytes(content[: fds.itemsize])
    return fds[0]


def unmount(mountpoint: str, *, lazy: bool) -> None:
    """Unmount the topmost mount at `mountpoint`. Raises OSError (EBUSY, EINVAL, EPERM)."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0)
        if libc.umount2(os.fsencode(mountpoint), flags) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), mountpoint)
        return
    if shutil.which("fusermount3") is None:
        raise MountError(
            f"User {os.geteuid()} needs fusermount3 to unmount {mountpoint}.",
            remedy="Install it (Debian: apt install fuse3), or unmount as root.",
        )
    command = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", mountpoint]
    helper = subprocess.run(command, capture_output=True, text=True, check=False)
    if helper.returncode != 0:
        number = errno.EBUSY if "busy" in helper.stderr else errno.EPERM
        raise OSError(number, helper.stderr.strip(), mountpoint)


def backing_open(fuse: int, fd: int) -> int:
    """Register `fd` for passthrough; its backing id. Raises OSError where the kernel won't."""
    backing: int = fcntl.ioctl(fuse, _BACKING_OPEN, bytearray(_BACKING_MAP.pack(fd, 0, 0)), True)
    return backing


def backing_close(fuse: int, backing: int) -> None:
    """Forget a backing id; one that is forgotten already is fine."""
    with contextlib.suppress(FileNotFoundError):
        fcntl.ioctl(fuse, _BACKING_CLOSE, bytearray(struct.pack("=I", backing)), True)


def raise_read_ahead(device: str, kib: int) -> None:
    """Let the kernel read ahead `kib` KiB in the mount with `device` (`major:minor`).

    Only root may; others keep the kernel's default of 128 KiB.
    """
    with contextlib.suppress(OSError):
        Path(f"/sys/class/bdi/{device}/read_ahead_kb").write_text(str(kib))
