"""The C library's memory in a server's process."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAPS = """
import ctypes, sys, threading
if sys.argv[1] == "kept":
    from hardtack.inference.allocator import keep_freed_memory
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
threads = [threading.Thread(target=libc.malloc, args=(2 << 20,)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
told = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, told)
libc.fflush(told)
"""


@pytest.mark.parametrize(("how", "shared"), [("kept", True), ("as it is", False)])
def test_all_threads_share_one_heap(how: str, shared: bool) -> None:
    """Otherwise each thread has one of its own."""
    command = [sys.executable, "-c", _HEAPS, how]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert (told.count("<heap nr=") == 1) is shared, told
