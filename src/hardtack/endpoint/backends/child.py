"""`python child.py PARENT MEMORY COMMAND…`: becomes COMMAND, which dies when PARENT does.

Run before hardtack is imported, by path, with `python -I -S`: the standard library only.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, memory, *command = sys.argv[1:]
    bind(int(parent))
    limit(int(memory))
    os.dup2(2, 1)  # what it prints goes into its log too
    os.execvp(command[0], command)


def bind(parent: int) -> None:
    """Die when the process `parent`, which started this one, does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked to be told
        sys.exit(1)


def limit(memory: int) -> None:
    """Have the kernel grant no more than `memory` bytes of data; 0: as much as there is."""
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


if __name__ == "__main__":
    main()
