"""How the kernel gives a process's threads their turns."""

from __future__ import annotations

import logging
import os

_log = logging.getLogger(__name__)


def wait_for_turns() -> None:
    """Have the calling thread, and the threads and processes that it starts from now on, wait when
    they wake until what runs has had its turn, in place of cutting it short (`SCHED_BATCH`).

    With all cores busy, several answers' work is then done at a time, while the processor's caches
    hold what it needs; with a core free nothing waits. Where the system doesn't allow it, all stays
    as it was.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as error:  # as a filter of system calls may have it
        _log.debug("no turns are waited for: %s", error)
