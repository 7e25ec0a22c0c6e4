"""io_uring reads the same bytes (semantics § 7.1), by its system calls alone."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import struct

import pytest

from tests.support.commands import Box
from tests.support.s3 import S3Server

pytestmark = pytest.mark.needs("fuse", "root")

_SETUP, _ENTER = 425, 426
_SQ_RING, _SQES = 0, 0x10000000
_SINGLE_MMAP = 1 << 0
_GETEVENTS = 1
_READ = 22


class Ring:
    """A ring of one entry."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        parameters = bytearray(120)
        raw = (ctypes.c_char * 120).from_buffer(parameters)
        self.fd = self._libc.syscall(_SETUP, 1, raw)
        if self.fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        entries, completions = struct.unpack_from("II", parameters)
        assert struct.unpack_from("I", parameters, 20)[0] & _SINGLE_MMAP
        self.sq = struct.unpack_from(
            "7I", parameters, 40
        )  # head tail mask entries flags drop array
        self.cq = struct.unpack_from("6I", parameters, 80)  # head tail mask entries overflow cqes
        size = max(self.sq[6] + entries * 4, self.cq[5] + completions * 16)
        self.ring = mmap.mmap(self.fd, size, mmap.MAP_SHARED, offset=_SQ_RING)
        self.sqes = mmap.mmap(self.fd, entries * 64, mmap.MAP_SHARED, offset=_SQES)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        entry = struct.pack("BBHiQQI28x", _READ, 0, 0, fd, offset, ctypes.addressof(buffer), size)
        self.sqes[: len(entry)] = entry
        tail = struct.unpack_from("I", self.ring, self.sq[1])[0]
        struct.pack_into("I", self.ring, self.sq[6], 0)
        struct.pack_into("I", self.ring, self.sq[1], tail + 1)
        assert self._libc.syscall(_ENTER, self.fd, 1, 1, _GETEVENTS, None, 0) == 1
        head, mask = (struct.unpack_from("I", self.ring, self.cq[n])[0] for n in (0, 2))
        _, result = struct.unpack_from("Qi", self.ring, self.cq[5] + (head & mask) * 16)
        struct.pack_into("I", self.ring, self.cq[0], head + 1)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return buffer.raw[:result]

    def close(self) -> None:
        self.sqes.close()
        self.ring.close()
        os.close(self.fd)


def test_io_uring_reads_the_same(box: Box, server: S3Server) -> None:
    body = random.Random(3).randbytes(3_000_001)
    server.put("weights", "a.bin", body)
    try:
        ring = Ring()
    except OSError as problem:
        pytest.skip(f"needs io_uring, which this kernel refuses: {problem}")
    try:
        with box.mounted() as point:
            for _ in range(2):  # fetched, then kept
                fd = os.open(point / "a.bin", os.O_RDONLY)
                try:
                    found = bytearray()
                    while piece := ring.read(fd, 1 << 18, len(found)):
                        found += piece
                finally:
                    os.close(fd)
                assert found == body
    finally:
        ring.close()
