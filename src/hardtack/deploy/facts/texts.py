"""The text of a file that need not be there."""

from __future__ import annotations

from pathlib import Path


def of(file: Path) -> str:
    """Empty where there is none. Raises OSError for one that is there and may not be read."""
    try:
        return file.read_text(errors="replace")
    except FileNotFoundError:
        return ""
