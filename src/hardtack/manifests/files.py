"""Text of a deployment file, or why it's left out."""

from __future__ import annotations

import codecs
from pathlib import Path

from hardtack.manifests.place import Place, Problem, Severity

MANIFESTS = (".yaml", ".yml", ".json")
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
    manifest = file.suffix.lower() in MANIFESTS
    encoding = "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell's `>` writes
        encoding = "utf-16"
    elif b"\0" in data[:8192]:
        if manifest:
            left_out("it can't be read: it holds zeros, as a power cut leaves them", Severity.ERROR)
        else:
            left_out("left out: it's a binary file", Severity.NOTE)
        return None
    try:
        # Docker and shells care for no bytes of comments; YAML has to be Unicode.
        text = data.decode(encoding, errors="strict" if manifest else "replace")
    except UnicodeDecodeError as error:
        which = "UTF-16" if encoding == "utf-16" else "UTF-8"
        left_out(f"left out: not {which} (byte {error.start})", Severity.ERROR)
        return None
    return text.replace("\r\n", "\n")
