"""Text of a deployment file, or why it's left out."""

from __future__ import annotations

from pathlib import Path

from hardtack.manifests.place import Place, Problem, Severity

_MANIFESTS = (".yaml", ".yml", ".json")
LARGEST_FILE = 20 * 1024 * 1024  # bytes; Kubernetes takes objects of 1.5 MB


def read(file: Path, problems: list[Problem]) -> str | None:
    """The file's text with LF line ends; None, and an entry in `problems`, where it has none."""

    def left_out(message: str, severity: Severity) -> None:
        problems.append(Problem(Place(file, 1), message, severity))

    try:
        size = file.stat().st_size
        if size > LARGEST_FILE:
            left_out(f"left out: {size:,} bytes, more than {LARGEST_FILE:,}", Severity.WARNING)
            return None
        data = file.read_bytes()
    except OSError as error:
        left_out(f"it can't be read: {error.strerror}", Severity.ERROR)
        return None
    manifest = file.suffix in _MANIFESTS
    if b"\0" in data[:8192]:
        if manifest:
            left_out("it can't be read: it holds zeros, as a power cut leaves them", Severity.ERROR)
        else:
            left_out("left out: it's a binary file", Severity.NOTE)
        return None
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        severity = Severity.ERROR if manifest else Severity.WARNING
        left_out(f"left out: not UTF-8 (byte {error.start})", severity)
        return None
