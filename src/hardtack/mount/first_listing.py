"""The first listing of a source, which has to be there before anything is mounted."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

from hardtack.cache import owner
from hardtack.core.errors import SourceUnreachable


def first_listing(run: dict[str, Any], wait: bool) -> None:
    """See to it that there is a catalogue, before anything is mounted; a failure leaves no new
    cache directory behind."""
    directory = Path(run["cache"])
    new = not directory.exists()
    module, _, name = run["opener"].partition(":")
    cache = getattr(importlib.import_module(module), name)(run)
    delay = 1.0
    try:
        while not cache.has_listing():
            try:
                cache.refresh()
            except SourceUnreachable as problem:
                if not wait:
                    raise SourceUnreachable(
                        f"{run['source']} was never listed and can't be reached: {problem.message}",
                        remedy=f"{problem.remedy} --wait mounts as soon as it answers.".lstrip(),
                    ) from None
                time.sleep(delay)
                delay = min(30.0, delay * 2)
    finally:
        empty = new and not cache.has_listing()
        cache.source.close()
        cache.close()
        if empty:
            owner.discard(directory)
