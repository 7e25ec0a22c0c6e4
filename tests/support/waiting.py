"""Waiting for what must happen by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def until(
    true: Callable[[], Any],
    what: Callable[[], object] = lambda: "it did not happen",
    *,
    seconds: float = 60.0,
) -> Any:
    """The first true value. Raises TimeoutError with what is there in its place."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > deadline:
            raise TimeoutError(what())
        time.sleep(0.02)
    return found
