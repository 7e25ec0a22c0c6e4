"""Says in the log what is waited for, where it takes long: a box that seems dead says why."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)

_AFTER = 2.0
_EVERY = 10.0


@contextmanager
def waiting_for(what: str, *, after: float = _AFTER, every: float = _EVERY) -> Iterator[None]:
    """While the body runs: `Waiting for WHAT, for N s already.`, after a while and again."""
    done = threading.Event()

    def tell() -> None:
        waited = after
        while not done.wait(after if waited == after else every):
            _log.warning("Waiting for %s, for %.0f s already.", what, waited)
            waited += every

    threading.Thread(target=tell, daemon=True, name="waiting").start()
    try:
        yield
    finally:
        done.set()
