"""Sizes and durations as people write and read them."""

from __future__ import annotations

import re

from hardtack.core.errors import ConfigError

_SIZE = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY = {"ki": 1024, "mi": 1024**2, "gi": 1024**3, "ti": 1024**4}
_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str) -> int:
    """Bytes of `text`: `500`, `10GB` (powers of 1000), `10GiB` (powers of 1024).

    Raises ConfigError.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text.lower())
    if match is None:
        raise ConfigError(f"{text!r} is not a size.", remedy="Write it like 500MB or 10GiB.")
    unit = match[2] or ""
    return int(float(match[1]) * (_BINARY.get(unit) or _SIZE[unit]))


def parse_duration(text: str) -> float:
    """Seconds of `text`: `250ms`, `90`, `90s`, `15m`, `6h`, `30d`. Raises ConfigError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", text.lower())
    if match is None:
        raise ConfigError(f"{text!r} is not a duration.", remedy="Write it like 90s, 15m or 30d.")
    return float(match[1]) * _SECONDS[match[2] or ""]


def format_count(count: int, one: str) -> str:
    """`count` things for people: `1 image`, `2 images`."""
    return f"{count:,} {one if count == 1 else one + 's'}"


def format_size(count: float) -> str:
    """`count` bytes for people, in powers of 1000: `16.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.95:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_duration(seconds: float) -> str:
    """`seconds` for people: `0.25 s`, `42 s`, `3 min 10 s`, `2 h 05 min`, `3 d 4 h`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
