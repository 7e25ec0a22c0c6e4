"""The last verdict of `hardtack ready --watch`: would this box come up with no network?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(path: Path) -> dict[str, Any] | None:
    """`ready`, `at` (seconds since 1970) and what is `missing`; None where there is no verdict."""
    try:
        told = json.loads(path.read_bytes())
        return {
            "ready": bool(told["ready"]),
            "at": float(told["at"]),
            "missing": [str(name) for name in told.get("missing", [])],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
