"""FUSE's wire format: struct layouts, numbers, parsing and packing. Pure.

The authority is the kernel's `include/uapi/linux/fuse.h`; names follow it. Layouts are native
(the protocol is), so `=` without padding, with the fields in the header's order.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple

MAJOR, MINOR = 7, 45
OLDEST_MINOR = 31
"""Linux 5.4: the oldest kernel whose replies have the layouts below."""
READ_BUFFER = 8192
"""FUSE_MIN_READ_BUFFER; enough for every request, as INIT says a `max_write` of one page."""
MAX_WRITE = 4096
MAX_READ = 1 << 20
UNIQUE_RESEND = 1 << 63
IN_HEADER = struct.Struct("=IIQQIIIHH")
OUT_HEADER = struct.Struct("=IiQ")


class Op(IntEnum):
    """The opcodes that are answered with something else than EROFS or ENOSYS."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    IOCTL = 39
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    COPY_FILE_RANGE = 47
    TMPFILE = 51


WRITES = frozenset(
    {
        Op.SETATTR, Op.SYMLINK, Op.MKNOD, Op.MKDIR, Op.UNLINK, Op.RMDIR, Op.RENAME, Op.LINK,
        Op.WRITE, Op.SETXATTR, Op.REMOVEXATTR, Op.CREATE, Op.FALLOCATE, Op.RENAME2,
        Op.COPY_FILE_RANGE, Op.TMPFILE,
    }
)  # fmt: skip
SILENT = frozenset({Op.FORGET, Op.BATCH_FORGET, Op.INTERRUPT})
"""Requests that have no reply."""


class Init(IntFlag):
    """Flags of INIT; those from bit 32 travel in `flags2`."""

    ASYNC_READ = 1 << 0
    DO_READDIRPLUS = 1 << 13
    PARALLEL_DIROPS = 1 << 18
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    INIT_EXT = 1 << 30
    PASSTHROUGH = 1 << 37
    HAS_RESEND = 1 << 39


class Open(IntFlag):
    """Flags of an OPEN reply."""

    DIRECT_IO = 1 << 0
    KEEP_CACHE = 1 << 1
    PASSTHROUGH = 1 << 7


class Notify(IntEnum):
    """Codes of messages that the kernel didn't ask for."""

    INVAL_INODE = 2
    INVAL_ENTRY = 3
    RESEND = 7
    INC_EPOCH = 8


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `body` is what follows the header (and lives as long as the buffer)."""

    opcode: int
    unique: int
    nodeid: int
    body: memoryview


def parse(data: memoryview) -> Request:
    """The request at the start of `data`."""
    length, opcode, unique, nodeid, _uid, _gid, _pid, _ext, _ = IN_HEADER.unpack_from(data)
    return Request(opcode, unique, nodeid, data[IN_HEADER.size : length])


def name_of(body: memoryview) -> bytes:
    """A NUL-terminated name at the start of `body`."""
    return bytes(body).split(b"\0", 1)[0]


_READ_IN = struct.Struct("=QQI")
_RELEASE_IN = struct.Struct("=QI")
_FLAGS_IN = struct.Struct("=I")
_GETXATTR_IN = struct.Struct("=II")
_INIT_IN = struct.Struct("=IIII")


def read_in(body: memoryview) -> tuple[int, int, int]:
    """(handle, offset, size) of READ, READDIR and READDIRPLUS."""
    handle, offset, size = _READ_IN.unpack_from(body)
    return handle, offset, size


def release_in(body: memoryview) -> int:
    """The handle of RELEASE."""
    handle, _flags = _RELEASE_IN.unpack_from(body)
    return int(handle)


def open_in(body: memoryview) -> int:
    """The open(2) flags of OPEN."""
    return int(_FLAGS_IN.unpack_from(body)[0])


def getxattr_in(body: memoryview) -> tuple[int, bytes]:
    """(size of the caller's buffer, name); the name is empty for LISTXATTR."""
    return _GETXATTR_IN.unpack_from(body)[0], name_of(body[_GETXATTR_IN.size :])


def init_in(body: memoryview) -> tuple[int, int, int, Init]:
    """(major, minor, max_readahead, flags) of the kernel's INIT."""
    major, minor, readahead, flags = _INIT_IN.unpack_from(body)
    if flags & Init.INIT_EXT:
        flags |= _FLAGS_IN.unpack_from(body, _INIT_IN.size)[0] << 32
    return major, minor, readahead, Init(flags)


_INIT_OUT = struct.Struct("=IIIIHHIIHHIIH11H")


def init_out(flags: Init, *, readahead: int) -> bytes:
    """The reply to INIT: read-only, so a small `max_write`; reads of up to MAX_READ bytes."""
    stack_depth = 1 if flags & Init.PASSTHROUGH else 0
    low, high = flags & 0xFFFFFFFF, flags >> 32
    background = 64
    return _INIT_OUT.pack(
        MAJOR, MINOR, readahead, low, background, background * 3 // 4, MAX_WRITE, 1,
        MAX_READ // mmap.PAGESIZE, 0, high, stack_depth, 0, *[0] * 11,
    )  # fmt: skip


class Attributes(NamedTuple):
    """What stat(2) shows; `mode` with the file type, sizes in bytes."""

    ino: int
    size: int
    mtime_ns: int
    mode: int
    nlink: int
    uid: int
    gid: int


_ATTR = struct.Struct("=6Q10I")
_ATTR_OUT = struct.Struct("=QII")
_ENTRY_OUT = struct.Struct("=QQQQII")
_OPEN_OUT = struct.Struct("=QIi")
_STATFS_OUT = struct.Struct("=5Q4I6I")
_DIRENT = struct.Struct("=QQII")
_DIRENT_PLUS = struct.Struct("=" + "".join(s.format[1:] for s in (_ENTRY_OUT, _ATTR, _DIRENT)))


def _fields(attributes: Attributes) -> tuple[int, ...]:
    """Those of _ATTR; nothing is older than 1970."""
    ino, size, mtime_ns, mode, nlink, uid, gid = attributes
    seconds, nanoseconds = divmod(mtime_ns, 1_000_000_000) if mtime_ns > 0 else (0, 0)
    return (
        ino, size, -(-size // 512), seconds, seconds, seconds,
        nanoseconds, nanoseconds, nanoseconds, mode, nlink, uid, gid, 0, 4096, 0,
    )  # fmt: skip


def _attr(attributes: Attributes) -> bytes:
    return _ATTR.pack(*_fields(attributes))


def attr_out(attributes: Attributes, valid: int) -> bytes:
    """The reply to GETATTR; `valid` in seconds."""
    return _ATTR_OUT.pack(valid, 0, 0) + _attr(attributes)


def entry_out(attributes: Attributes, entry_valid: int, attr_valid: int) -> bytes:
    """The reply to LOOKUP; the node id is the inode number."""
    return _ENTRY_OUT.pack(attributes.ino, 0, entry_valid, attr_valid, 0, 0) + _attr(attributes)


def no_entry_out(entry_valid: int) -> bytes:
    """The reply to LOOKUP of a name that isn't there, to be remembered for `entry_valid` s."""
    return _ENTRY_OUT.pack(0, 0, entry_valid, 0, 0, 0) + bytes(_ATTR.size)


def open_out(handle: int, flags: Open, backing: int = 0) -> bytes:
    """The reply to OPEN and OPENDIR."""
    return _OPEN_OUT.pack(handle, flags, backing)


def statfs_out(files: int, size: int) -> bytes:
    """The reply to STATFS: `files` of `size` bytes together, nothing free, long names."""
    blocks = -(-size // 4096)
    return _STATFS_OUT.pack(blocks, 0, 0, files, 0, 4096, 255, 4096, 0, *[0] * 6)


def size_out(size: int) -> bytes:
    """The reply to GETXATTR and LISTXATTR with an empty buffer."""
    return _GETXATTR_IN.pack(size, 0)


def dirent(ino: int, cookie: int, type: int, name: bytes) -> bytes:
    """One record of READDIR; `type` is a file type of stat's mode, `cookie` where to go on after
    it."""
    return _padded(_DIRENT.pack(ino, cookie, len(name), type >> 12) + name)


def dirent_plus(
    attributes: Attributes, cookie: int, name: bytes, entry_valid: int, attr_valid: int
) -> bytes:
    """One record of READDIRPLUS, in which LOOKUP's reply goes before READDIR's: packed at once, as
    a big directory has a hundred thousand."""
    ino = attributes.ino
    return _padded(
        _DIRENT_PLUS.pack(
            ino, 0, entry_valid, attr_valid, 0, 0, *_fields(attributes),
            ino, cookie, len(name), attributes.mode >> 12,
        ) + name
    )  # fmt: skip


def dirent_unlinked(ino: int, cookie: int, type: int, name: bytes) -> bytes:
    """A record of READDIRPLUS without a node, which the kernel doesn't count: `.` and `..`."""
    return no_entry_out(0) + dirent(ino, cookie, type, name)


def _padded(record: bytes) -> bytes:
    lacking = -len(record) % 8
    return record + bytes(lacking) if lacking else record


def most_dirents(room: int, *, plus: bool) -> int:
    """How many records of READDIR or READDIRPLUS, with names of a byte, have room in so many
    bytes."""
    return room // (_DIRENT.size + 8 + (_ENTRY_OUT.size + _ATTR.size if plus else 0))


def invalidate_entry(parent: int, name: bytes) -> bytes:
    """Tell the kernel to forget one name."""
    return _notification(
        Notify.INVAL_ENTRY, struct.pack("=QII", parent, len(name), 0) + name + b"\0"
    )


def invalidate_inode(ino: int) -> bytes:
    """Tell the kernel to forget an inode's attributes, not its pages."""
    return _notification(Notify.INVAL_INODE, struct.pack("=Qqq", ino, -1, 0))


def resend() -> bytes:
    """Ask the kernel to send again what was not answered (7.40)."""
    return _notification(Notify.RESEND, b"")


def increment_epoch() -> bytes:
    """Tell the kernel to look up every name anew (7.44)."""
    return _notification(Notify.INC_EPOCH, b"")


def _notification(code: Notify, body: bytes) -> bytes:
    return OUT_HEADER.pack(OUT_HEADER.size + len(body), code, 0) + body


def ok_header(unique: int, length: int) -> bytes:
    """The header before `length` bytes of reply."""
    return OUT_HEADER.pack(OUT_HEADER.size + length, 0, unique)


def error(unique: int, number: int) -> bytes:
    """A reply that fails with errno `number`."""
    return OUT_HEADER.pack(OUT_HEADER.size, -number, unique)
